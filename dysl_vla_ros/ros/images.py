"""``sensor_msgs/Image`` -> RGB uint8 arrays of shape (height, width, 3).

One conversion, numpy's, on every machine: the same pixels on a robot and a workstation, and no
OpenCV, whose build for ROS and numpy's version often disagree. Reading is a view and one copy; no
loop over pixels. What an image may cost is bounded by its header, before a byte of it is touched.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros.pixels import from_bayer, from_yuv

Kind = Literal['plain', 'packed', 'planes', 'bayer']


@dataclass(frozen=True)
class Encoding:
    """How the pixels of an encoding lie in the data.

    Attributes:
        kind: ``plain`` channels; ``packed`` YUV 4:2:2; ``planes`` of Y, then of U and V mixed; a
            ``bayer`` mosaic.
        order: ``plain``: which channels are red, green, blue. ``packed``: where in four bytes the
            first Y, U and V are. ``planes``: 0, then where in a pair U and V are.
        channels: Numbers per pixel; of ``packed`` and ``planes``: bytes per pixel of a row.
        wide: Whether a number has two bytes; the upper one is kept.
        multiples: Of ``planes``: pixels that share a U and a V, down and across.
        pattern: Of ``bayer``.
    """

    kind: Kind = 'plain'
    order: tuple[int, int, int] = (0, 1, 2)
    channels: int = 1
    wide: bool = False
    multiples: tuple[int, int] = (1, 1)
    pattern: str = ''

    def row(self, width: int) -> int:
        """Bytes of a row without padding."""
        return width * self.channels * (2 if self.wide else 1)

    def rows(self, height: int) -> int:
        """Rows of ``step`` bytes that the data has."""
        if self.kind != 'planes':
            return height
        return height + 2 * height // (self.multiples[0] * self.multiples[1])


_GREY, _RGB, _BGR = (0, 0, 0), (0, 1, 2), (2, 1, 0)
_UYVY = Encoding('packed', (1, 0, 2), 2, multiples=(1, 2))
_YUYV = Encoding('packed', (0, 1, 3), 2, multiples=(1, 2))
_ENCODINGS: dict[str, Encoding] = {
    'rgb8': Encoding(order=_RGB, channels=3),
    'bgr8': Encoding(order=_BGR, channels=3),
    'rgba8': Encoding(order=_RGB, channels=4),
    'bgra8': Encoding(order=_BGR, channels=4),
    'mono8': Encoding(order=_GREY),
    # OpenCV's names put blue first.
    '8UC1': Encoding(order=_GREY),
    '8UC3': Encoding(order=_BGR, channels=3),
    '8UC4': Encoding(order=_BGR, channels=4),
    'rgb16': Encoding(order=_RGB, channels=3, wide=True),
    'bgr16': Encoding(order=_BGR, channels=3, wide=True),
    'rgba16': Encoding(order=_RGB, channels=4, wide=True),
    'bgra16': Encoding(order=_BGR, channels=4, wide=True),
    'mono16': Encoding(order=_GREY, wide=True),
    '16UC3': Encoding(order=_BGR, channels=3, wide=True),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': Encoding('planes', (0, 0, 1), multiples=(2, 2)),
    'nv21': Encoding('planes', (0, 1, 0), multiples=(2, 2)),
    'nv24': Encoding('planes', (0, 0, 1), multiples=(1, 1)),
    **{
        f'bayer_{pattern}{bits}': Encoding('bayer', pattern=pattern, wide=bits == 16)
        for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
        for bits in (8, 16)
    },
}
ENCODINGS = tuple(_ENCODINGS)
_DEPTH = ('16UC1', '16SC1', '32FC1', '64FC1')

MAX_PIXELS = 4096 * 4096
MAX_BYTES = 64 << 20
"""Of the data of one message, padding included."""
_SMALLEST_MOSAIC = 3


def check_image(stream: str, message: Any) -> None:
    """Refuse an image whose header contradicts its data; cheap, done on arrival.

    Raises:
        InputError: Unknown encoding, empty, too large, odd sides where pixels share a colour, or
            fewer bytes than step and height say.
    """
    name, height, width = message.encoding, message.height, message.width
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        hint = ' (distances are no picture; a grey one of 16 bits is mono16)'
        raise InputError(
            f'{stream}: encoding = {name[:40]!r}{hint if name in _DEPTH else ""}: expected one of '
            f'{", ".join(ENCODINGS)}'
        )
    check_pixels(stream, height, width)
    down, across = encoding.multiples
    if height % down or width % across:
        raise InputError(
            f'{stream}: height x width = {height} x {width}: expected multiples of {down} and '
            f'{across} in {name}, where that many pixels share a colour'
        )
    if encoding.kind == 'bayer' and min(height, width) < _SMALLEST_MOSAIC:
        raise InputError(
            f'{stream}: height x width = {height} x {width}: expected at least '
            f'{_SMALLEST_MOSAIC} x {_SMALLEST_MOSAIC} of {name}'
        )
    row, rows = encoding.row(width), encoding.rows(height)
    if message.step < row:
        raise InputError(
            f'{stream}: step = {message.step} bytes: expected at least {row} for '
            f'{width} pixels of {name}'
        )
    size = max(len(message.data), message.step * rows)
    if size > MAX_BYTES:
        raise InputError(
            f'{stream}: step x height = {message.step} x {height}, {len(message.data)} bytes: '
            f'expected at most {MAX_BYTES} bytes'
        )
    if len(message.data) < message.step * (rows - 1) + row:
        raise InputError(
            f'{stream}: data has {len(message.data)} bytes: expected {message.step * rows} '
            f'(step {message.step} x height {height}'
            f'{"" if rows == height else f", and the colours of {name}"})'
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


def to_rgb(message: Any) -> ImageArray:
    """Convert a ``sensor_msgs/Image`` that passed ``check_image``.

    Honours row padding and byte order.
    """
    encoding = _ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    count = step * encoding.rows(height)
    flat = np.frombuffer(message.data, dtype=np.uint8)
    missing = count - flat.size
    if missing > 0:  # the last row may come without its padding
        flat = np.concatenate([flat, np.zeros(missing, dtype=np.uint8)])
    flat = flat[:count]
    if encoding.kind == 'planes':
        return _planes(flat, encoding, height, width, step)
    rows = flat.reshape(height, step)[:, : encoding.row(width)]
    if encoding.wide:
        rows = rows[:, 0 if message.is_bigendian else 1 :: 2]
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


def rgb_message(image: ImageArray, frame_id: str, stamp: Any) -> Any:
    """An rgb8 ``sensor_msgs/Image``; through ``array``, since a numpy array takes rclpy 100 ms."""
    message = Image(height=image.shape[0], width=image.shape[1], encoding='rgb8')
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    message.step = 3 * image.shape[1]
    data = array('B')
    data.frombytes(np.ascontiguousarray(image).tobytes())
    message.data = data
    return message


def _planes(
    flat: NDArray[np.uint8], encoding: Encoding, height: int, width: int, step: int
) -> ImageArray:
    down, across = encoding.multiples
    _, u, v = encoding.order
    brightness = flat[: step * height].reshape(height, step)[:, :width]
    colours = flat[step * height :].reshape(height // down, 2 * step // across)
    colours = colours[:, : 2 * width // across]
    return from_yuv(brightness, colours[:, u::2], colours[:, v::2])
