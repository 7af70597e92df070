"""What stopped a command -> one line that says what to do, and the exit code."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Collection
from importlib.metadata import entry_points
from itertools import chain

from dysl_vla_ros.errors import ConfigError, DyslError

WRONG_CALL, FAILED, INTERRUPTED = 2, 1, 130
_TRACEBACK = 'DYSL_TRACEBACK'
_GROUPS = tuple(f'dysl_vla_ros.{kind}' for kind in ('engines', 'families', 'worlds'))
"""Entry points by which other packages take part."""
_EXTRAS = {
    'mujoco': 'sim', 'pinocchio': 'kinematics', 'coal': 'kinematics', 'PIL': 'compressed',
    'rclpy': 'ros-jazzy', 'torch': 'train', 'accelerate': 'train', 'safetensors': 'train',
    'onnx': 'train', 'onnxscript': 'train', 'onnx_ir': 'train', 'matplotlib': 'train',
    'pyarrow': 'train', 'av': 'film', 'rosbags': 'bags', 'mcap': 'bags', 'aiohttp': 'view',
    'websockets': 'remote', 'msgpack': 'remote',
}  # fmt: skip
_ADVICE = {
    errno.ENOSPC: 'make room, or name a place on another disk',
    errno.EDQUOT: 'your quota of this disk is used up: make room, or name another place',
    errno.EFBIG: 'files may not become this large here (ulimit -f)',
    errno.EROFS: 'this disk is read-only: name another place',
    errno.EACCES: 'your user may not: name another place, or change its rights',
    errno.EPERM: 'your user may not: name another place, or change its rights',
    errno.ENOENT: 'is the name right?',
    errno.EISDIR: 'this is a folder, a file is needed',
    errno.ENOTDIR: 'a part of this path is a file, not a folder',
    errno.ENAMETOOLONG: 'name a shorter one',
    errno.EMFILE: 'too many files are open (ulimit -n)',
    errno.ENOMEM: 'close something else, or take less at a time',
}  # fmt: skip


def explain(error: BaseException, options: Collection[str] = ()) -> tuple[str, int]:
    """One line without the command's name, and the exit code.

    Args:
        error: What a command raised. Of faults of our own the line says how to see more.
        options: Of the command, as ``--time-limit``: a field of that name is called so.
    """
    if os.environ.get(_TRACEBACK):
        traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, ConfigError):
        return one_line(_wrong(error, options)), WRONG_CALL
    if isinstance(error, DyslError):
        return one_line(str(error)), FAILED
    if isinstance(error, ImportError) and not (error.name or '').startswith('dysl_vla_ros'):
        return _missing(error), FAILED
    if isinstance(error, OSError):
        return _system(error), FAILED
    if isinstance(error, MemoryError):
        return f'not enough memory{_detail(error)}: {_ADVICE[errno.ENOMEM]}', FAILED
    what, where = f'{type(error).__name__}{_detail(error)}', 'this should not happen'
    if package := _of_another_package(error):
        what, where = f'{package} fails: {what}', 'it is a package beside this one'
    return f'{what}; {where}: {_TRACEBACK}=1 before the command shows where', FAILED


def _of_another_package(error: BaseException) -> str:
    """Whose engine, family or world raised it, by its module; '' where none of them did."""
    points = chain.from_iterable(entry_points(group=group) for group in _GROUPS)
    packages = {point.module.split('.')[0] for point in points}
    passed = [str(frame.f_globals.get('__name__', '')).split('.')[0]
              for frame, _ in traceback.walk_tb(error.__traceback__)]  # fmt: skip
    return next((name for name in reversed(passed) if name in packages), '')


def _wrong(error: ConfigError, options: Collection[str]) -> str:
    """The field as the user wrote it, and the value without Python's brackets."""
    option, value = '--' + error.field.replace('_', '-'), error.value
    name = option if option in options else error.field
    if value is None or value == []:
        return f'{name} is missing: expected {error.expected}'
    if isinstance(value, (list, tuple)):
        between = ' ' if name.startswith('--') else ', '  # of an option as it was typed
        return f'{name} = {between.join(map(str, value))}: expected {error.expected}'
    return f'{name} = {value!r}: expected {error.expected}'


def one_line(text: str) -> str:
    """Line breaks, and the indentation after them, become spaces."""
    return ' '.join(text.split())


def _missing(error: ImportError) -> str:
    top = (error.name or '').split('.')[0]
    if not isinstance(error, ModuleNotFoundError):
        return f'{top or "a library"} cannot be loaded{_detail(error)}; dysl doctor says more'
    extra = _EXTRAS.get(top)
    how = 'dysl doctor says how to get it'
    if top == 'rclpy':
        how = ('source /opt/ros/<distro>/setup.bash, or without ROS, from the source folder: '
               "python -m pip install -e '.[ros-jazzy]'")  # fmt: skip
    elif extra is not None:
        how = pip_line(extra)
    return f'needs {top}, which is not installed; {how}'


def pip_line(extra: str) -> str:
    """The command that brings an extra of setup.py."""
    cpu = '-c constraints-cpu.txt ' if extra == 'train' else ''  # else torch with CUDA, 6.5 GB
    return f"from the source folder: python -m pip install {cpu}-e '.[{extra}]'"


def _system(error: OSError) -> str:
    what = error.strerror or one_line(str(error)) or type(error).__name__
    place = f'{error.filename}: ' if error.filename else ''
    advice = _ADVICE.get(error.errno or 0)
    return one_line(f'{place}{what}') + (f': {advice}' if advice else '')


def _detail(error: BaseException) -> str:
    said = one_line(str(error))[:300]
    return f' ({said})' if said else ''
