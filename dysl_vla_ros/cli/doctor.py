"""``dysl doctor``: what is installed, what is missing, and the command that gets it."""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dysl_vla_ros.cli.report import write_json
from dysl_vla_ros.errors import DyslError


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        part: What was looked at.
        state: ``ok``, ``missing`` (an optional part is not there) or ``broken``.
        found: Version, or what is wrong.
        needed_for: What does not work without it.
        fix: The command that gets or mends it; '' when nothing is to be done.
    """

    part: str
    state: str
    found: str
    needed_for: str = ''
    fix: str = ''


_PIP = 'python -m pip install'
_MODULES = (
    # module, distribution, needed for, fix
    ('numpy', 'numpy', 'everything', f"{_PIP} 'numpy>=1.24,<3'"),
    ('yaml', 'PyYAML', 'parameter files', f'{_PIP} PyYAML'),
    ('transforms3d', 'transforms3d', 'rotations', f"{_PIP} 'transforms3d>=0.4,<0.5'"),
    ('tokenizers', 'tokenizers', 'instructions', f'{_PIP} tokenizers'),
    ('onnxruntime', 'onnxruntime', 'the CPU engine', f'{_PIP} onnxruntime'),
    ('pinocchio', 'pin', 'kinematics of the arm',
     f"{_PIP} '.[kinematics]', or apt install ros-$ROS_DISTRO-pinocchio"),
    ('mujoco', 'mujoco-core', 'the simulated arm', f"{_PIP} '.[sim]'"),
    ('torch', 'torch', 'training, export, and the cuda engine (offline)', f"{_PIP} '.[train]'"),
    ('tensorrt', 'tensorrt', 'the TensorRT engine on a Jetson',
     'comes with JetPack: apt install python3-libnvinfer'),
    ('cv_bridge', '', 'image conversion by OpenCV (the node has its own without it)',
     'apt install ros-$ROS_DISTRO-cv-bridge'),
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--json', type=Path, help='write the findings here')
    parser.add_argument(
        '--engine', default='', help='a bundle to verify; default: the bundled one'
    )


def run(given: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when something needed for the node is broken."""
    found = findings(given.engine)
    table = Table(show_lines=False)
    for title in ('', 'part', 'found', 'needed for', 'to get it'):
        table.add_column(title, overflow='fold')
    marks = {'ok': '[green]ok[/]', 'missing': '[yellow]--[/]', 'broken': '[red]!![/]'}
    for item in found:
        cells = (item.part, item.found, item.needed_for, item.fix)
        table.add_row(marks[item.state], *map(Text, cells))
    Console().print(table)
    if given.json is not None:
        write_json(given.json, [asdict(item) for item in found])
    return 1 if any(item.state == 'broken' for item in found) else 0


def findings(engine: str = '') -> list[Finding]:
    """Look at everything; never raises.

    Args:
        engine: Folder of a bundle to verify; '' = the bundled model.
    """
    found = [_python(), *(_module(*row) for row in _MODULES), _ros(), _driver()]
    return [*found, _bundle(engine)]


def _python() -> Finding:
    version = platform.python_version()
    fits = (3, 10) <= sys.version_info[:2] <= (3, 12)
    return Finding(
        'Python', 'ok' if fits else 'broken', f'{version} on {platform.machine()}', 'everything',
        '' if fits else 'use Python 3.10 to 3.12',
    )  # fmt: skip


def _module(module: str, distribution: str, needed_for: str, fix: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(module, 'missing', 'not installed', needed_for, fix)
    try:
        version = importlib.metadata.version(distribution) if distribution else 'found'
    except importlib.metadata.PackageNotFoundError:
        version = 'found (version unknown)'
    return Finding(module, 'ok', version, needed_for)


def _ros() -> Finding:
    distro = os.environ.get('ROS_DISTRO', '')
    if importlib.util.find_spec('rclpy') is None:
        fix = (
            'source /opt/ros/<distro>/setup.bash, or (x86-64, no ROS) ' + f"{_PIP} '.[ros-jazzy]'"
        )
        return Finding('rclpy', 'missing', 'not importable', 'the node', fix)
    return Finding('rclpy', 'ok', f'ROS {distro}' if distro else 'from wheels', 'the node')


def _driver() -> Finding:
    """Ask the driver itself: TensorRT's runtime crashes the process where there is none."""
    name = 'NVIDIA driver'
    needed = 'the TensorRT and cuda engines'
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return Finding(name, 'missing', 'libcuda.so.1 cannot be loaded', needed,
                       'flash JetPack on a Jetson; install the driver elsewhere')  # fmt: skip
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return Finding(name, 'broken', 'the driver does not answer', needed,
                       'nvidia-smi tells more; a reboot often helps')  # fmt: skip
    driver.cuDriverGetVersion(ctypes.byref(version))
    major, minor = version.value // 1000, version.value % 1000 // 10
    return Finding(name, 'ok', f'{count.value} device(s), CUDA {major}.{minor}', needed)


def _bundle(engine: str) -> Finding:
    part = f'bundle {engine}' if engine else 'bundled model'
    needed = 'the node'
    try:
        from dysl_vla_ros.engines.bundle import open_bundle
        from dysl_vla_ros.engines.open_engine import bundled_model

        folder = Path(engine).expanduser() if engine else bundled_model()
        manifest = open_bundle(folder).manifest
    except (DyslError, OSError) as error:
        return Finding(part, 'broken', str(error), needed, 'export or copy the bundle again')
    except ImportError as error:
        return Finding(part, 'broken', f'cannot be checked: {error}', needed, 'see above')
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    found = f'{manifest.name}: {manifest.layers_total} layers, {size:.1f} MB, checksums fit'
    return Finding(part, 'ok', found, needed)
