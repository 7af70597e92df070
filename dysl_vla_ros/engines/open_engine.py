"""From two parameters, ``engine.path`` and ``engine.backend``, to a running engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dysl_vla_ros.engines.bundle import MANIFEST_NAME, Bundle, Manifest, open_bundle
from dysl_vla_ros.engines.engine import Engine
from dysl_vla_ros.engines.fake_bundle import FAKE_TOKENIZER, Sweep, fake_manifest
from dysl_vla_ros.engines.fake_engine import FakeEngine
from dysl_vla_ros.errors import BundleError, EngineError

_SHARE = Path('share', 'dysl_vla_ros', 'models')
_SOURCE = Path('resource', 'models')


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


def open_engine(path: str = '', backend: str = 'auto', threads: int = 1) -> OpenedEngine:
    """Open a bundle on this machine.

    Args:
        path: Folder of the bundle; '' = the bundled model, ``'fake'`` = no model.
        backend: As ``engine.backend``; never falls back from what was asked for, since a slow
            robot is a different robot.
        threads: CPU threads of ONNX Runtime.

    Raises:
        BundleError: No bundle there, or one that is altered.
        EngineError: The back end is not available, or cannot run the bundle.
    """
    if path == 'fake' or backend == 'fake':
        if backend not in ('auto', 'fake'):
            raise EngineError(
                f"engine.backend = {backend!r}: expected 'auto' with the path 'fake'"
            )
        return _open_fake()
    bundle = open_bundle(Path(path).expanduser() if path else bundled_model())
    tokenizer = bundle.path(bundle.manifest.instruction.tokenizer).read_text(encoding='utf-8')
    return OpenedEngine(_open_on(bundle, backend, threads), bundle.manifest, tokenizer)


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


def _open_on(bundle: Bundle, backend: str, threads: int) -> Engine:
    if backend in ('auto', 'onnxruntime'):
        try:
            from dysl_vla_ros.engines.onnx_engine import OnnxEngine
        except ImportError as error:
            raise EngineError(
                f'onnxruntime cannot be imported ({error}): pip install onnxruntime'
            ) from None
        return OnnxEngine(bundle, threads)
    if backend == 'tensorrt':
        raise EngineError(
            "engine.backend = 'tensorrt': this release has no TensorRT back end; "
            "expected 'auto' or 'onnxruntime'"
        )
    if backend == 'cuda':
        raise EngineError(
            "engine.backend = 'cuda': it runs a torch checkpoint, not an exported bundle; "
            "expected 'auto' or 'onnxruntime'"
        )
    raise EngineError(f"engine.backend = {backend!r}: expected 'auto', 'onnxruntime' or 'fake'")


def _open_fake() -> OpenedEngine:
    manifest = fake_manifest()
    action = manifest.action
    engine = FakeEngine(
        manifest.layout,
        action.horizon,
        action.dim,
        actions=Sweep(action),
        gates={layer: 1.0 for layer in manifest.layout.dynamic_layers},
    )
    return OpenedEngine(engine, manifest, FAKE_TOKENIZER)
