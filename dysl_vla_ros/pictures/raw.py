"""Raw pictures -> RGB uint8 arrays of shape (height, width, 3).

One conversion, numpy's, on every machine: the same pixels on a robot and a workstation, and no
OpenCV, whose build for ROS and numpy's version often disagree. Reading is a view and one copy; no
loop over pixels. What a picture may cost is bounded by its header, before a byte of it is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pictures.encodings import Encoding, encoding_of
from dysl_vla_ros.pictures.pixels import from_bayer, from_yuv
from dysl_vla_ros.pictures.size import MAX_BYTES, check_pixels

_SMALLEST_MOSAIC = 3


@dataclass(frozen=True)
class RawPicture:
    """What a ``sensor_msgs/Image`` says of its pixels, and the pixels.

    Attributes:
        encoding: Name of the encoding, one of ``encodings.ENCODINGS``.
        height: Rows.
        width: Columns.
        step: Bytes from one row to the next.
        big_endian: Whether the upper byte of 16 bits comes first.
        data: The bytes: anything that numpy reads as a buffer of bytes.
    """

    encoding: str
    height: int
    width: int
    step: int
    big_endian: bool
    data: Any


def check_raw(name: str, picture: RawPicture) -> Encoding:
    """Refuse a picture whose header contradicts its data; cheap, done on arrival.

    Args:
        name: Of the picture, in front of what is wrong.
        picture: As it came.

    Returns:
        How its pixels lie.

    Raises:
        InputError: Unknown encoding, empty, too large, odd sides where pixels share a colour, or
            fewer bytes than step and height say.
    """
    encoding = encoding_of(name, picture.encoding)
    height, width, step, length = picture.height, picture.width, picture.step, len(picture.data)
    check_pixels(name, height, width)
    down, across = encoding.multiples
    if height % down or width % across:
        raise InputError(
            f'{name}: height x width = {height} x {width}: expected multiples of {down} and '
            f'{across} in {picture.encoding}, where that many pixels share a colour'
        )
    if encoding.kind == 'bayer' and min(height, width) < _SMALLEST_MOSAIC:
        raise InputError(
            f'{name}: height x width = {height} x {width}: expected at least '
            f'{_SMALLEST_MOSAIC} x {_SMALLEST_MOSAIC} of {picture.encoding}'
        )
    row, rows = encoding.row(width), encoding.rows(height)
    if step < row:
        raise InputError(
            f'{name}: step = {step} bytes: expected at least {row} for '
            f'{width} pixels of {picture.encoding}'
        )
    if max(length, step * rows) > MAX_BYTES:
        raise InputError(
            f'{name}: step x height = {step} x {height}, {length} bytes: '
            f'expected at most {MAX_BYTES} bytes'
        )
    if length < step * (rows - 1) + row:
        raise InputError(
            f'{name}: data has {length} bytes: expected {step * rows} (step {step} x height '
            f'{height}{"" if rows == height else f", and the colours of {picture.encoding}"})'
        )
    return encoding


def raw_to_rgb(name: str, picture: RawPicture) -> ImageArray:
    """Convert a picture; honours row padding and byte order.

    Args:
        name: Of the picture, in front of what is wrong.
        picture: As it came.

    Raises:
        InputError: As ``check_raw``.
    """
    encoding = check_raw(name, picture)
    height, width, step = picture.height, picture.width, picture.step
    count = step * encoding.rows(height)
    flat = np.frombuffer(picture.data, dtype=np.uint8)
    missing = count - flat.size
    if missing > 0:  # the last row may come without its padding
        flat = np.concatenate([flat, np.zeros(missing, dtype=np.uint8)])
    flat = flat[:count]
    if encoding.kind == 'planes':
        return _planes(flat, encoding, height, width, step)
    rows = flat.reshape(height, step)[:, : encoding.row(width)]
    if encoding.wide:
        rows = rows[:, 0 if picture.big_endian else 1 :: 2]
    if encoding.kind == 'packed':
        first, u, v = encoding.order
        return from_yuv(rows[:, first::2], rows[:, u::4], rows[:, v::4])
    if encoding.kind == 'bayer':
        return from_bayer(rows, encoding.pattern)
    pixels = rows.reshape(height, width, encoding.channels)
    image = np.empty((height, width, 3), np.uint8)
    for channel, source in enumerate(encoding.order):
        image[:, :, channel] = pixels[:, :, source]
    return image


def _planes(
    flat: NDArray[np.uint8], encoding: Encoding, height: int, width: int, step: int
) -> ImageArray:
    down, across = encoding.multiples
    _, u, v = encoding.order
    brightness = flat[: step * height].reshape(height, step)[:, :width]
    colours = flat[step * height :].reshape(height // down, 2 * step // across)
    colours = colours[:, : 2 * width // across]
    return from_yuv(brightness, colours[:, u::2], colours[:, v::2])
