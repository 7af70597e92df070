"""ROS images -> RGB uint8 arrays of shape (height, width, 3).

On a robot ``cv_bridge`` does it; without it numpy does, for the encodings that cameras send.
Both paths give the same array. Reading is a view and one copy; no loop over pixels. What an image
may cost is bounded by its header, before a byte of it is touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import InputError

try:
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

_CHANNELS: dict[str, tuple[int, tuple[int, int, int]]] = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    'mono8': (1, (0, 0, 0)),
    '8UC1': (1, (0, 0, 0)),
    '8UC3': (3, (2, 1, 0)),
    '8UC4': (4, (2, 1, 0)),
}
"""Encoding -> bytes per pixel, and which of them are red, green, blue; OpenCV's put blue first."""

MAX_PIXELS = 4096 * 4096
MAX_BYTES = 64 << 20
"""Of the data of one message, padding included."""
_WIDE = 'mono16'
ENCODINGS = (*_CHANNELS, _WIDE)


def check_image(stream: str, message: Any) -> None:
    """Refuse an image whose header contradicts its data; cheap, done on arrival.

    Raises:
        InputError: Unknown encoding, empty, too large, or fewer bytes than step and height say.
    """
    encoding, height, width = message.encoding, message.height, message.width
    if encoding not in ENCODINGS:
        raise InputError(
            f'{stream}: encoding = {encoding[:40]!r}: expected one of {", ".join(ENCODINGS)}'
        )
    check_pixels(stream, height, width)
    row = width * (2 if encoding == _WIDE else _CHANNELS[encoding][0])
    if message.step < row:
        raise InputError(
            f'{stream}: step = {message.step} bytes: expected at least {row} for '
            f'{width} pixels of {encoding}'
        )
    size = max(len(message.data), message.step * height)
    if size > MAX_BYTES:
        raise InputError(
            f'{stream}: step x height = {message.step} x {height}, {len(message.data)} bytes: '
            f'expected at most {MAX_BYTES} bytes'
        )
    if len(message.data) < message.step * (height - 1) + row:
        raise InputError(
            f'{stream}: data has {len(message.data)} bytes: expected {message.step * height} '
            f'(step {message.step} x height {height})'
        )


def check_pixels(stream: str, height: int, width: int) -> None:
    """Refuse a picture of no pixels, or of too many.

    Raises:
        InputError: Names both sizes.
    """
    if height < 1 or width < 1:
        raise InputError(f'{stream}: height x width = {height} x {width}: expected at least 1 x 1')
    if height * width > MAX_PIXELS:
        raise InputError(
            f'{stream}: height x width = {height} x {width}: expected at most {MAX_PIXELS} pixels'
        )


def to_rgb(stream: str, message: Any) -> ImageArray:
    """Convert a ``sensor_msgs/Image`` that passed ``check_image``.

    Raises:
        InputError: The image cannot be converted.
    """
    if CvBridge is not None:
        return _with_cv_bridge(stream, message)
    return with_numpy(message)


def with_numpy(message: Any) -> ImageArray:
    """The conversion without ``cv_bridge``; honours row padding and byte order."""
    height, width, step = message.height, message.width, message.step
    flat = np.frombuffer(message.data, dtype=np.uint8)
    missing = step * height - flat.size
    if missing > 0:  # the last row may come without its padding
        flat = np.concatenate([flat, np.zeros(missing, dtype=np.uint8)])
    rows = flat[: step * height].reshape(height, step)
    if message.encoding == _WIDE:
        high_byte = 0 if message.is_bigendian else 1
        grey = rows[:, high_byte : 2 * width : 2]
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    channels, order = _CHANNELS[message.encoding]
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    return np.ascontiguousarray(pixels[:, :, order])


def _with_cv_bridge(stream: str, message: Any) -> ImageArray:
    wanted = 'passthrough' if message.encoding.startswith('8UC') else 'rgb8'
    try:
        array = np.asarray(CvBridge().imgmsg_to_cv2(message, desired_encoding=wanted))
    except Exception as error:  # cv_bridge raises its own and OpenCV's errors
        raise InputError(
            f'{stream}: cv_bridge cannot convert {message.encoding!r}: {error}'
        ) from None
    if wanted == 'passthrough':
        channels, order = _CHANNELS[message.encoding]
        array = array.reshape(message.height, message.width, channels)[:, :, order]
    return np.ascontiguousarray(array, dtype=np.uint8)
