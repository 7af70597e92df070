"""From two parameters, ``engine.path`` and ``engine.backend``, to a running engine."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.folder import Bundle, open_bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.bundle.no_files import COUNTS_WORDS
from dysl_vla_ros.engines.engine import Engine
from dysl_vla_ros.engines.fake.arm import FAKE, JointSweep, arm_of, is_fake_path, no_model
from dysl_vla_ros.engines.fake.bundle import Sweep
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.engines.packages import PREFIX, open_installed
from dysl_vla_ros.engines.tensorrt.cuda_driver import open_driver
from dysl_vla_ros.engines.tensorrt.plans import build_command, has_compiled, has_plans, plans_root
from dysl_vla_ros.errors import BundleError, EngineError

_SHARE = Path('share', 'dysl_vla_ros', 'models')
_SOURCE = Path('resource', 'models')
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedEngine:
    """An engine with what is needed to feed it.

    Attributes:
        engine: Owns sessions and buffers; one thread.
        manifest: The contract of its bundle.
        tokenizer: JSON text of the ``tokenizers`` library.
    """

    engine: Engine
    manifest: Manifest
    tokenizer: str


def open_engine(
    path: str = '', backend: str = 'auto', threads: int = 1, plans: str = ''
) -> OpenedEngine:
    """Open a bundle on this machine.

    Args:
        path: Folder of the bundle; '' = the bundled model, ``'fake'`` = no model, and
            ``FakeArm.path`` = none either, made for an arm.
        backend: As ``engine.backend``; never falls back from what was asked for, since a slow
            robot is a different robot.
        threads: CPU threads of ONNX Runtime.
        plans: Folder given to ``dysl build --plans``; '' = ``plans/`` in the bundle.

    Raises:
        BundleError: No bundle there, or one that is altered.
        EngineError: The back end is not available, or cannot run the bundle.
    """
    if is_fake_path(path) or backend == 'fake':
        if backend not in ('auto', 'fake'):
            raise EngineError(
                f"engine.backend = {backend!r}: expected 'auto' with the path 'fake'"
            )
        return _open_fake(path if is_fake_path(path) else FAKE)
    bundle = open_bundle(folder_of(path))
    tokenizer = bundle.path(bundle.manifest.instruction.tokenizer).read_text(encoding='utf-8')
    chosen = choose_backend(bundle, backend, plans)
    if (backend, chosen) == ('auto', 'onnxruntime'):
        _warn_of_idle_gpu(bundle)
    engine = _open_on(bundle, chosen, threads, plans)
    return OpenedEngine(engine, bundle.manifest, tokenizer)


def choose_backend(bundle: Bundle, backend: str, plans: str = '') -> str:
    """The back end that ``engine.backend`` means for a bundle.

    ``auto`` is decided by what lies in the folder, never by what fails: whoever built plans wants
    them used, so from then on it is TensorRT or an error, and where only the cuda back end was
    built for, that one. Without either it is ONNX Runtime.
    """
    if backend != 'auto':
        return backend
    root = plans_root(bundle, plans)
    if has_compiled(root) and not has_plans(root):
        return 'cuda'
    return 'tensorrt' if plans or has_plans(root) else 'onnxruntime'


def folder_of(path: str) -> Path:
    """The folder that ``engine.path`` means; '' = the bundled model.

    Raises:
        BundleError: As ``bundled_model``.
    """
    return Path(path).expanduser() if path else bundled_model()


def bundled_model() -> Path:
    """Folder of the model that comes with the package: first in the source tree, then in share.

    Raises:
        BundleError: Neither has one; the message lists the places.
    """
    places = _model_places()
    for place in places:
        if place.is_dir():
            for folder in sorted(place.iterdir()):
                if (folder / MANIFEST_NAME).is_file():
                    return folder
    listed = ', '.join(str(place) for place in places)
    raise BundleError(f"engine.path = '': no bundled model found in {listed}; name a folder")


def _model_places() -> list[Path]:
    """The source tree, then share/ beside lib/ (venv, colcon, /opt/ros), then sourced prefixes."""
    package = Path(__file__).resolve().parent.parent
    installed = [parent / _SHARE for parent in package.parents[1:5]]
    prefixes = [part for part in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if part]
    candidates = [package.parent / _SOURCE, *installed, *(Path(p) / _SHARE for p in prefixes)]
    return list(dict.fromkeys(candidates))


def _open_on(bundle: Bundle, backend: str, threads: int, plans: str) -> Engine:
    if backend == 'onnxruntime':
        try:
            from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
        except ImportError as error:
            raise EngineError(
                f'onnxruntime cannot be imported ({error}): pip install onnxruntime'
            ) from None
        return OnnxEngine(bundle, threads)
    if backend == 'tensorrt':
        from dysl_vla_ros.engines.tensorrt.engine import open_tensorrt_engine

        return open_tensorrt_engine(bundle, plans)
    if backend == 'cuda':
        try:
            from dysl_vla_ros.engines.cuda.bundle import open_cuda_engine
        except ImportError as error:
            raise EngineError(
                f"engine.backend = 'cuda': {error}; it runs the bundle's graphs from torch: "
                "pip install 'dysl_vla_ros[cuda]', with the torch that fits your driver"
            ) from None
        return open_cuda_engine(bundle, plans=plans)
    if backend.startswith(PREFIX):
        return open_installed(backend, bundle, threads)
    raise EngineError(
        f"engine.backend = {backend!r}: expected 'auto', 'onnxruntime', 'tensorrt', 'cuda', "
        f"'fake' or '{PREFIX}NAME'"
    )


def _warn_of_idle_gpu(bundle: Bundle) -> None:
    """A robot on the CPU beside an idle GPU is a slow robot, and may not know."""
    try:
        gpu = open_driver().gpu
    except EngineError:
        return
    _log.warning(
        '%s runs on the CPU although there is a GPU (%s): %s, then engine.backend = tensorrt',
        bundle.manifest.name, gpu.name, build_command(bundle),
    )  # fmt: skip


def _open_fake(path: str) -> OpenedEngine:
    arm, manifest = arm_of(path), no_model(path)
    action = manifest.action
    engine = FakeEngine(
        manifest.layout,
        action.horizon,
        action.dim,
        actions=Sweep(action) if arm is None else JointSweep(arm, action.horizon),
        gates={layer: 1.0 for layer in manifest.layout.dynamic_layers},
    )
    return OpenedEngine(engine, manifest, COUNTS_WORDS)
