"""Messages of a recording as numbers and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.png import decode_png

IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
JOINTS = 'sensor_msgs/msg/JointState'
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
TEXT = 'std_msgs/msg/String'
_ARRAYS = ('std_msgs/msg/Float64MultiArray', 'std_msgs/msg/Float32MultiArray')
_NUMBERS = tuple(f'std_msgs/msg/{name}' for name in ('Float64', 'Float32', 'Int32', 'Bool'))
_TWISTS = ('geometry_msgs/msg/TwistStamped', 'geometry_msgs/msg/Twist')
NUMERIC = (JOINTS, TRAJECTORY, *_ARRAYS, *_NUMBERS, *_TWISTS)
_TWIST_NAMES = ('dx', 'dy', 'dz', 'drx', 'dry', 'drz')

CHANNELS = {'rgb8': (3, (0, 1, 2)), 'bgr8': (3, (2, 1, 0)), 'rgba8': (4, (0, 1, 2)),
             'bgra8': (4, (2, 1, 0)), 'mono8': (1, (0, 0, 0)), '8UC3': (3, (2, 1, 0)),
             '8UC1': (1, (0, 0, 0))}  # fmt: skip
"""Encoding -> bytes per pixel, and which of them are red, green and blue."""


def stamp_ns(message: Any) -> int:
    """Stamp of the header [ns]; 0 where there is none."""
    stamp = getattr(getattr(message, 'header', None), 'stamp', None)
    return 0 if stamp is None else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def numbers_of(kind: str, message: Any) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and values; names are empty where the message has none.

    Raises:
        ConfigError: The type holds no numbers that are known here.
    """
    if kind == JOINTS:
        return tuple(message.name), np.asarray(message.position, np.float64)
    if kind == TRAJECTORY:
        # Of a window, the last point: where the arm is sent.
        last = message.points[-1].positions if len(message.points) else ()
        return tuple(message.joint_names), np.asarray(last, np.float64)
    if kind in _ARRAYS:
        return (), np.asarray(message.data, np.float64).reshape(-1)
    if kind in _NUMBERS:
        return (), np.array([float(message.data)])
    if kind in _TWISTS:
        twist = getattr(message, 'twist', message)
        parts = [getattr(part, axis) for part in (twist.linear, twist.angular) for axis in 'xyz']
        return _TWIST_NAMES, np.array(parts, np.float64)
    raise ConfigError('type', kind, f'one of {", ".join(NUMERIC)}')


def picture_of(kind: str, message: Any) -> NDArray[np.uint8]:
    """The picture (rows, columns, 3), RGB.

    Raises:
        ConfigError: An encoding that is not read.
    """
    data = np.asarray(message.data, np.uint8)
    if kind == IMAGES[1]:
        return decode_png(data.tobytes())
    rows, columns = int(message.height), int(message.width)
    encoding = str(message.encoding)
    if encoding in ('yuv422_yuy2', 'yuyv', 'yuv422', 'uyvy'):
        return _yuv(data.reshape(rows, -1)[:, : 2 * columns], encoding)
    if encoding not in CHANNELS:
        raise ConfigError('encoding', encoding, f'one of {", ".join(CHANNELS)}, yuyv, uyvy; '
                          'depth and Bayer pictures are not read')  # fmt: skip
    step = int(message.step) or columns * CHANNELS[encoding][0]
    return unpacked(data, encoding, rows, columns, step)


def unpacked(
    data: NDArray[np.uint8], encoding: str, rows: int, columns: int, step: int
) -> NDArray[np.uint8]:
    """Bytes of a picture as (rows, columns, 3), RGB.

    Args:
        data: At least ``rows * step`` bytes.
        encoding: One of ``CHANNELS``.
        rows: Of the picture.
        columns: Of the picture.
        step: Bytes of a row, with what lies behind its pixels.
    """
    size, order = CHANNELS[encoding]
    used = data[: rows * step].reshape(rows, step)[:, : columns * size]
    return np.ascontiguousarray(used.reshape(rows, columns, size)[..., list(order)])


def _yuv(data: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """4:2:2, full range, BT.601."""
    pairs = data.reshape(data.shape[0], -1, 4)
    at = (1, 0, 3, 2) if encoding in ('yuv422', 'uyvy') else (0, 1, 2, 3)
    first, u, second, v = (pairs[..., n].astype(np.float32) for n in at)
    light = np.stack([first, second], -1)
    blue, red = u[..., None] - 128.0, v[..., None] - 128.0
    rgb = np.stack([light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red,
                    light + 1.772 * blue], -1)  # fmt: skip
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8).reshape(data.shape[0], -1, 3)


def by_name(
    wanted: Sequence[str], names: Sequence[str], values: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Values in the order of ``wanted``; None where one is missing (another arm's message)."""
    if not names:
        return values if len(values) == len(wanted) else None
    places = {name: place for place, name in enumerate(names)}
    if len(values) < len(names) or not all(name in places for name in wanted):
        return None
    return values[[places[name] for name in wanted]]
