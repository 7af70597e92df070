"""What ``image.fit`` and ``image.roi`` say, ``CAMERA=value``, judged without the cameras."""

from __future__ import annotations

from collections.abc import Sequence

from dysl_vla_ros.data_types import FITS, Fit
from dysl_vla_ros.errors import ConfigError

Region = tuple[float, float, float, float]
"""left, top, width, height as shares of the picture."""
_ROUNDING = 1e-6


def fits(entries: Sequence[str]) -> list[tuple[str, Fit]]:
    """Camera, '' for every one, and how its pictures are brought in; that of all comes first.

    Raises:
        ConfigError: A value is wrong, or a camera stands twice.
    """
    found: list[tuple[str, Fit]] = []
    for entry in sorted(entries, key=lambda entry: '=' in entry):
        camera, equals, given = entry.rpartition('=')
        fit = next((one for one in FITS if one == given), None)
        if fit is None or bool(equals) != bool(camera):
            raise ConfigError('image.fit', entry, f'{", ".join(FITS)}, or CAMERA=one of these')
        found.append((camera, fit))
    if sum(not camera for camera, _ in found) > 1:
        raise ConfigError('image.fit', list(entries), 'one that is meant for every camera')
    _check_once('image.fit', [camera for camera, _ in found])
    return found


def regions(entries: Sequence[str]) -> list[tuple[str, Region]]:
    """Camera, and what of its picture is used.

    Raises:
        ConfigError: A value is wrong, or a camera stands twice.
    """
    found = [_region(entry) for entry in entries]
    _check_once('image.roi', [camera for camera, _ in found])
    return found


def _region(entry: str) -> tuple[str, Region]:
    camera, _, numbers = entry.partition('=')
    try:
        left, top, width, height = (float(number) for number in numbers.split(','))
    except ValueError:
        left = top = width = height = -1.0
    inside = 0 <= left < 1 and 0 <= top < 1 and 0 < width <= 1 and 0 < height <= 1
    if not camera or not inside or left + width > 1 + _ROUNDING or top + height > 1 + _ROUNDING:
        raise ConfigError(
            'image.roi', entry, 'CAMERA=left,top,width,height as shares of the picture, inside '
            'it: image=0.125,0,0.75,1 is the middle square of 640x480',
        )  # fmt: skip
    return camera, (left, top, width, height)


def _check_once(parameter: str, cameras: Sequence[str]) -> None:
    for camera in cameras:
        if cameras.count(camera) > 1:
            raise ConfigError(parameter, camera, 'every camera once')
