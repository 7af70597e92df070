"""``dysl doctor``: what is installed, what is missing, and the command that gets it."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dysl_vla_ros.cli import doctor_cameras
from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.hardware import realtime

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
     'comes with JetPack: apt install python3-libnvinfer, and a venv with --system-site-packages'),
)  # fmt: skip

_REALTIME_FIX = (
    "in /etc/security/limits.d/: '@realtime - rtprio 99' and '@realtime - memlock unlimited', "
    'yourself in the group realtime, and log in again; in a container --cap-add SYS_NICE '
    '--cap-add IPC_LOCK; of a systemd unit LimitRTPRIO=99 and LimitMEMLOCK=infinity'
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--json', type=Path, help='write the findings here')
    parser.add_argument(
        '--engine', default='', help='a bundle to verify; default: the bundled one'
    )
    parser.add_argument('--plans', default='', help='its TensorRT plans, as engine.plans')
    doctor_cameras.add_options(parser)


def run(given: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when something needed for the node is broken."""
    check_json(given.json)
    found = (
        doctor_cameras.findings(given) if given.cameras else findings(given.engine, given.plans)
    )
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


def findings(engine: str = '', plans: str = '') -> list[Finding]:
    """Look at everything; never raises.

    Args:
        engine: Folder of a bundle to verify; '' = the bundled model.
        plans: As ``engine.plans``.
    """
    found = [_python(), *(_module(*row) for row in _MODULES), _ros(), _realtime()]
    return [*found, *_bundle_and_gpu(engine, plans)]


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


def _realtime() -> Finding:
    """Whether this user may do what the node's command thread asks for."""
    part, needed_for = 'real-time commands', 'a steady command rate beside other work'
    obtained = realtime.try_out()
    if not obtained.problems:
        return Finding(part, 'ok', obtained.text, needed_for)
    return Finding(part, 'missing', '; '.join(obtained.problems), needed_for, _REALTIME_FIX)


def _bundle_and_gpu(engine: str, plans: str) -> list[Finding]:
    part = f'bundle {engine}' if engine else 'bundled model'
    needed = 'the node'
    try:
        from dysl_vla_ros.bundle.folder import open_bundle
        from dysl_vla_ros.cli.doctor_tensorrt import driver_finding, plans_finding
        from dysl_vla_ros.engines.open_engine import bundled_model
    except ImportError as error:
        return [Finding(part, 'broken', f'cannot be checked: {error}', needed, 'see above')]
    driver_line, driver = driver_finding()
    try:
        bundle = open_bundle(Path(engine).expanduser() if engine else bundled_model())
    except (DyslError, OSError) as error:
        fix = 'export or copy the bundle again'
        return [driver_line, Finding(part, 'broken', str(error), needed, fix)]
    manifest = bundle.manifest
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    found = f'{manifest.name}: {manifest.layers_total} layers, {size:.1f} MB, checksums fit'
    return [driver_line, Finding(part, 'ok', found, needed), plans_finding(bundle, driver, plans)]
