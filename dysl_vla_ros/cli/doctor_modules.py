"""What ``dysl doctor`` says of libraries and ROS packages; the standard library alone.

Each library is imported in a process of its own: one that is found and cannot be loaded (a binary
for another numpy, a missing system library) is no use, and may take the process with it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from dysl_vla_ros import ros_packages
from dysl_vla_ros.cli.finding import Finding

_PATIENCE_S = 60.0
_CODE = (
    'import importlib, json, sys\n'
    'for name in sys.argv[1:]:\n'
    '    try:\n'
    '        importlib.import_module(name)\n'
    '        said = ""\n'
    '    except BaseException as error:\n'
    '        said = f"{type(error).__name__}: {error}"\n'
    '    print("\\n" + json.dumps([name, said]), flush=True)\n'
)


@dataclass(frozen=True)
class Library:
    """A Python library.

    Attributes:
        module: What is imported.
        distribution: Its name on PyPI; '' where it comes from ROS or the system alone.
        needed_for: What does not work without it.
        apt: Package of Debian and Ubuntu; '' without one.
        required: Whether the node cannot run without it.
        low: Lowest version, inclusive.
        high: First version that is too new.
        heavy: Not imported, only looked for.
    """

    module: str
    distribution: str
    needed_for: str
    apt: str = ''
    required: bool = False
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    heavy: bool = False

    @property
    def fix(self) -> str:
        """The command, or commands, that get it."""
        ways = []
        if self.apt:
            ways.append(f'sudo apt install {self.apt}')
        if self.distribution:
            bounds = ','.join(
                sign + '.'.join(map(str, version))
                for sign, version in (('>=', self.low), ('<', self.high)) if version
            )  # fmt: skip
            ways.append(f"python3 -m pip install '{self.distribution}{bounds}'")
        return ', or '.join(ways)


_SIM = 'the simulated arm: robot:=sim, dysl demo'
_MUJOCO = (
    Library('mujoco', 'mujoco-core', _SIM, '', False, (4, 0), (4, 1))
    if sys.version_info >= (3, 11)
    else Library('mujoco', 'mujoco', _SIM, '', False, (3, 3), (4,))  # no wheel of the other one
)
LIBRARIES = (
    Library('numpy', 'numpy', 'everything', 'python3-numpy', True, (1, 24), (3,)),
    Library('yaml', 'PyYAML', 'parameter files', 'python3-yaml', True, (5, 4), (7,)),
    Library('transforms3d', 'transforms3d', 'rotations', 'python3-transforms3d', True,
            (0, 3), (0, 5)),
    Library('pinocchio', 'pin', 'kinematics of the arm', 'ros-$ROS_DISTRO-pinocchio', True,
            (2, 6), (5,)),
    Library('onnxruntime', 'onnxruntime', 'the CPU engine, and so the bundled model', '', True,
            (1, 17), (2,)),
    Library('tokenizers', 'tokenizers', 'bundles whose instruction is more than a list of words '
            '(OpenVLA-OFT; not the bundled model)', '', False, (0, 15), (1,)),
    _MUJOCO,
    Library('rich', 'rich', 'the live view of dysl demo, progress bars', 'python3-rich', False,
            (10,), (16,)),
    Library('PIL', 'Pillow', 'compressed images', 'python3-pil', False, (9,)),
    Library('mcap', 'mcap', 'record:=true; recordings of it', '', False, (1, 5), (2,)),
    Library('aiohttp', 'aiohttp', 'dysl view', 'python3-aiohttp', False, (3, 8), (4,)),
    Library('websockets', 'websockets', 'policy servers: engine.backend = remote, dysl serve', '',
            False, (15,), (18,)),
    Library('msgpack', 'msgpack', 'policy servers', 'python3-msgpack', False, (1, 0, 3), (2,)),
    Library('cv_bridge', '', 'image conversion by OpenCV (the node has its own without it)',
            'ros-$ROS_DISTRO-cv-bridge', heavy=True),
    Library('torch', 'torch', 'training, export, and the cuda engine (offline); without a GPU '
            'with -c constraints-cpu.txt from the source folder, else pip takes gigabytes of CUDA',
            '', False, (2, 6), (3,), heavy=True),
    Library('tensorrt', '', 'the TensorRT engine on a Jetson', 'python3-libnvinfer (JetPack), '
            'and a venv with --system-site-packages', heavy=True),
)  # fmt: skip

_INTERFACES = (
    'builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'rcl_interfaces',
    'sensor_msgs', 'std_msgs', 'std_srvs', 'trajectory_msgs',
)  # fmt: skip
_OPTIONAL_INTERFACES = {
    'control_msgs': 'grippers that are an action',
    'controller_manager_msgs': "whether the arm's controller runs (else: unknown)",
}
_PACKAGES = {
    'ros2launch': 'ros2 launch dysl_vla_ros manipulation.launch.py',
    'robot_state_publisher': 'TF of the simulated arm',
    'rviz2': 'rviz:=true',
    'foxglove_bridge': 'foxglove:=true',
}


def library_findings() -> list[Finding]:
    """One line per library; never raises."""
    there = [library for library in LIBRARIES if _is_there(library.module)]
    broken = _broken([library.module for library in there if not library.heavy])
    return [_library(library, library in there, broken) for library in LIBRARIES]


def ros_findings() -> list[Finding]:
    """rclpy, interfaces, and packages of other people; never raises."""
    distro = os.environ.get('ROS_DISTRO', '')
    source = 'source /opt/ros/<distro>/setup.bash, or (x86-64, no ROS) pip install ".[ros-jazzy]"'
    if not _is_there('rclpy'):
        return [Finding('rclpy', 'broken', 'not importable', 'the node', source)]
    missing = [name for name in _INTERFACES if not _is_there(name)]
    broken = _broken(['rclpy', *(name for name in _INTERFACES if name not in missing)])
    if 'rclpy' in broken:
        return [Finding('rclpy', 'broken', broken['rclpy'], 'the node', source)]
    wheels = 'from wheels' if ros_packages.prefix_of('rclpy') is None else 'from AMENT_PREFIX_PATH'
    found = [Finding('rclpy', 'ok', f'ROS {distro}' if distro else wheels, 'the node')]
    for name in missing:
        fix = ros_packages.how_to(name)
        found.append(Finding(name, 'broken', 'not installed', 'the node', fix))
    for name, said in broken.items():
        found.append(Finding(name, 'broken', said, 'the node', ros_packages.how_to(name)))
    for name, needed_for in _OPTIONAL_INTERFACES.items():
        found.append(_optional(name, needed_for, _is_there(name)))
    for name, needed_for in _PACKAGES.items():
        found.append(_optional(name, needed_for, _is_package(name)))
    return found


def _optional(name: str, needed_for: str, there: bool) -> Finding:
    if there:
        return Finding(name, 'ok', 'found', needed_for)
    return Finding(name, 'missing', 'not installed', needed_for, ros_packages.how_to(name))


def _library(library: Library, there: bool, broken: dict[str, str]) -> Finding:
    part, needed = library.module, library.needed_for
    lacks = 'broken' if library.required else 'missing'
    if not there:
        return Finding(part, lacks, 'not installed', needed, library.fix)
    if part in broken:
        return Finding(part, 'broken', f'cannot be imported: {broken[part]}', needed, library.fix)
    version = _version(library.distribution)
    if version and not _fits(version, library):
        return Finding(part, 'broken', f'{version} does not fit', needed, library.fix)
    return Finding(part, 'ok', version or 'found (version unknown)', needed)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution) if distribution else ''
    except importlib.metadata.PackageNotFoundError:
        return ''


def _fits(version: str, library: Library) -> bool:
    numbers = tuple(int(number) for number in re.findall(r'\d+', version.partition('+')[0])[:3])
    return numbers >= library.low and (not library.high or numbers < library.high)


def _is_there(module: str) -> bool:
    """A folder of that name without code (``launch/`` of this package) is no module."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _is_package(name: str) -> bool:
    return ros_packages.prefix_of(name) is not None or _is_there(name)


def _broken(modules: Iterable[str]) -> dict[str, str]:
    """Module -> why it cannot be imported."""
    waiting, found = list(modules), {}
    while waiting:
        said, end = _import(waiting)
        found.update({name: text for name, text in said.items() if text})
        waiting = [name for name in waiting if name not in said]
        if waiting:  # the next one took the process with it
            found[waiting.pop(0)] = end
    return found


def _import(modules: list[str]) -> tuple[dict[str, str], str]:
    """What each import said, as far as the process got, and how it ended."""
    try:
        done = subprocess.run(
            [sys.executable, '-c', _CODE, *modules], capture_output=True, text=True, check=False,
            timeout=_PATIENCE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        output, end = done.stdout, f'importing it ends the process with code {done.returncode}'
    except subprocess.TimeoutExpired as error:
        caught = error.stdout or b''
        output = caught if isinstance(caught, str) else caught.decode(errors='replace')
        end = f'importing it takes more than {_PATIENCE_S:g} s'
    except OSError as error:
        return {}, f'no process can be started: {error}'
    said: dict[str, str] = {}
    for line in output.splitlines():
        try:
            pair = json.loads(line)
        except ValueError:
            continue
        if isinstance(pair, list) and len(pair) == 2 and pair[0] in modules:
            said[pair[0]] = ' '.join(str(pair[1]).split())[:300]
    return said, end
