"""The encodings of raw pictures: how their pixels lie in the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dysl_vla_ros.errors import InputError

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


def encoding_of(name: str, encoding: str) -> Encoding:
    """The encoding of this name.

    Args:
        name: Of the picture, for the message.
        encoding: As ``sensor_msgs/image_encodings`` spells it.

    Raises:
        InputError: Not one that is read; lists those that are.
    """
    found = _ENCODINGS.get(encoding)
    if found is None:
        hint = ' (distances are no picture; a grey one of 16 bits is mono16)'
        raise InputError(
            f'{name}: encoding = {encoding[:40]!r}{hint if encoding in _DEPTH else ""}: expected '
            f'one of {", ".join(ENCODINGS)}'
        )
    return found
