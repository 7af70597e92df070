"""The arrays of a ``.npz`` of observations: as long as its pictures, numbers that an arm has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.bundle.ranges import PLACE
from dysl_vla_ros.engines.remote.request import BEYOND
from dysl_vla_ros.errors import InputError

_OPENING = 'a measured opening, 0 closed to 1 open'


def check_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> int:
    """Refuse arrays that cannot be what a robot saw.

    Args:
        path: Of the file, for the message.
        arrays: By name; those of the cameras, ``joints``, ``instruction`` and, where the bundle
            has one, ``gripper`` are there.
        manifest: Of the bundle that is to see them.

    Returns:
        How many observations there are.

    Raises:
        InputError: Names file, array and length, or row, value and what would be right.
    """
    body = manifest.proprioception.body
    cameras = [camera.name for camera in manifest.cameras]
    gripper = ['gripper'] if manifest.proprioception.gripper else []
    count = _check_lengths(path, arrays, cameras, gripper)
    _check_shape(path, arrays, 'joints', (count, body))
    largest, words = PLACE
    _check_numbers(path, arrays, 'joints', -largest, largest, words)
    for name in gripper:
        _check_shape(path, arrays, name, (count,))
        _check_numbers(path, arrays, name, -BEYOND, 1.0 + BEYOND, _OPENING)
    if 'stamp' in arrays:
        _check_shape(path, arrays, 'stamp', (count,))
        _check_numbers(path, arrays, 'stamp', -np.inf, np.inf, 'a finite number of seconds')
    return count


def _check_lengths(
    path: Path, arrays: Mapping[str, NDArray[Any]], cameras: list[str], gripper: list[str]
) -> int:  # fmt: skip
    """As many rows in each as there are pictures; one instruction may stand for all."""
    first = cameras[0]
    count = _rows(arrays[first])
    if not count:
        raise InputError(f'{path}: {first} has no rows: expected a picture or more')
    told = [name for name in ('stamp', 'episode') if name in arrays]
    texts = ['instruction'] if arrays['instruction'].size != 1 else []
    for name in (*cameras, 'joints', *gripper, *told, *texts):
        if _rows(arrays[name]) != count:
            raise InputError(f'{path}: {name} has {_rows(arrays[name])} rows: expected {count}, '
                             f'as the pictures {first} has')  # fmt: skip
    return count


def _check_shape(
    path: Path, arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> None:  # fmt: skip
    found = arrays[name]
    if found.dtype.kind not in 'fiu':
        raise InputError(f'{path}: {name} is of {found.dtype}: expected numbers')
    if found.shape != shape:
        raise InputError(f'{path}: {name} is of shape {found.shape}: expected {shape}')


def _check_numbers(
    path: Path, arrays: Mapping[str, NDArray[Any]], name: str, low: float, high: float, words: str
) -> None:  # fmt: skip
    """The first number that is none, or that no arm has."""
    found = arrays[name].astype(np.float64)
    wrong = np.argwhere(~(np.isfinite(found) & (found >= low) & (found <= high)))
    if len(wrong):
        place = tuple(int(one) for one in wrong[0])
        raise InputError(f'{path}: {name}[{", ".join(map(str, place))}] = {found[place]:g}: '
                         f'expected {words}')  # fmt: skip


def _rows(array: NDArray[Any]) -> int:
    return len(array) if array.ndim else 0
