"""What ``dysl doctor`` says of driver, TensorRT and plans; TensorRT itself loads nothing here."""

from __future__ import annotations

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.engines.tensorrt.api import load_tensorrt
from dysl_vla_ros.engines.tensorrt.cuda_driver import Driver, NoDriverError, open_driver
from dysl_vla_ros.engines.tensorrt.plans import (
    build_command,
    find_plans,
    has_plans,
    plans_root,
    target_of,
)
from dysl_vla_ros.errors import EngineError

_PLANS = 'TensorRT plans'
_BACKEND = 'engine.backend: tensorrt'


def driver_finding() -> tuple[Finding, Driver | None]:
    """Ask the driver itself: TensorRT's runtime crashes the process where there is none."""
    part, needed = 'NVIDIA driver', 'the TensorRT and cuda engines'
    try:
        driver = open_driver()
    except NoDriverError as error:
        fix = 'flash JetPack on a Jetson; install the driver elsewhere'
        return Finding(part, 'missing', _first(error), needed, fix), None
    except EngineError as error:
        fix = 'nvidia-smi tells more; a reboot often helps'
        return Finding(part, 'broken', str(error), needed, fix), None
    gpu = driver.gpu
    found = f'{gpu.name}, compute capability {gpu.compute_capability}, CUDA {gpu.cuda}'
    return Finding(part, 'ok', found, needed), driver


def plans_finding(bundle: Bundle, driver: Driver | None, plans: str = '') -> Finding:
    """Whether the plans of a bundle fit this machine, checksums included.

    Args:
        bundle: Verified bundle.
        driver: None where there is none.
        plans: As ``engine.plans``.
    """
    root, command = plans_root(bundle, plans), build_command(bundle, plans_root(bundle, plans))
    if not has_plans(root):
        return Finding(
            _PLANS, 'missing', f'none in {root}; engine.backend: auto runs on ONNX Runtime',
            _BACKEND, f'on the machine with the GPU: {command}',
        )  # fmt: skip
    if driver is None:
        return Finding(
            _PLANS, 'broken', f'there are plans in {root}, and no GPU to run them: '
            'engine.backend: auto refuses to start on the CPU', _BACKEND,
            'engine.backend: onnxruntime runs this bundle here, slowly; or get the driver, above',
        )  # fmt: skip
    try:
        trt = load_tensorrt()
    except EngineError as error:
        return Finding(_PLANS, 'broken', str(error), _BACKEND, 'apt install python3-libnvinfer')
    try:
        target = target_of(driver.gpu, str(trt.__version__), bundle.manifest)
        folder = find_plans(bundle, root, target)
        folder.verify()
    except EngineError as error:
        return Finding(_PLANS, 'broken', str(error), _BACKEND, command)
    entries = folder.manifest.plans.values()
    count, size = len(entries), sum(entry.bytes for entry in entries) / 1e6
    found = f'{folder.folder.name}: {count} plans, {size:.1f} MB, checksums fit'
    return Finding(_PLANS, 'ok', found, _BACKEND)


def _first(error: Exception) -> str:
    """The first part of a message; the advice that follows has a column of its own."""
    return str(error).partition(';')[0]
