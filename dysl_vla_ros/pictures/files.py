"""JPEG and PNG -> RGB and back: told by their bytes, measured before they are decoded.

One decoder, Pillow, so that a robot and a workstation see the same pixels: it is a rosdep key
(``python3-pil``) and a tenth of OpenCV's size. Pixels are as the camera sent them: transparency is
dropped, a rotation noted beside the picture is not applied, and of 16 bits the upper eight are
kept. The ``format`` field, into which drivers write all sorts, is asked one thing: whether 16 bits
of grey are distances.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pictures.size import MAX_BYTES, check_pixels

_DISTANCES = ('16UC1', '16SC1', '32FC1')
"""How the ``format`` of a depth camera begins."""
_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8\xff'
_MARKERS = 1000
"""Of a JPEG, before its size is known; cameras send ten."""
_LEVEL = 1
"""Of deflate: the fastest."""
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_NOT_A_FRAME = {0xC4, 0xC8, 0xCC}


def check_file(name: str, data: Any, written: str = '') -> tuple[int, int]:
    """Height and width by the header; cheap.

    Args:
        name: Of the picture, in front of what is wrong.
        data: The bytes: ``bytes``, an ``array``, or an array of uint8.
        written: What stands beside it in the field ``format``.

    Raises:
        InputError: Neither JPEG nor PNG, too large, or a header that makes no sense.
    """
    size = len(data)
    if size > MAX_BYTES:
        raise InputError(f'{name}: {size} bytes: expected at most {MAX_BYTES}')
    view = memoryview(data)
    if bytes(view[:8]) == _PNG:
        found = _png_size(name, bytes(view[:33]), written)
    elif bytes(view[:3]) == _JPEG:
        found = _jpeg_size(view)
    else:
        raise InputError(
            f'{name}: {size} bytes that begin with {bytes(view[:8])!r}: expected a JPEG or PNG '
            'image'
        )
    if found is None:
        raise InputError(f'{name}: {size} bytes without a size: expected a JPEG or PNG image')
    check_pixels(name, *found)
    return found


def kind_of_file(data: Any) -> str:
    """``jpeg``, ``png``, or ``?``, by the first bytes."""
    head = bytes(memoryview(data)[:8])
    return 'png' if head == _PNG else 'jpeg' if head.startswith(_JPEG) else '?'


def decode_file(name: str, data: Any, written: str = '') -> ImageArray:
    """The picture, (height, width, 3); arguments as ``check_file``.

    Raises:
        InputError: As ``check_file``; or the data cannot be decoded, or Pillow is not installed.
    """
    library = _pillow(name)
    size = check_file(name, data, written)
    try:
        with library.open(io.BytesIO(bytes(data)), formats=('JPEG', 'PNG')) as picture:
            if (picture.height, picture.width) != size:
                raise ValueError(f'{picture.width}x{picture.height} pixels inside')
            if picture.mode.startswith('I'):  # grey of 16 bits
                grey = (np.asarray(picture) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
            return np.array(picture.convert('RGB'), dtype=np.uint8)
    except Exception as error:  # the decoder raises all kinds, SyntaxError among them
        raise InputError(
            f'{name}: {len(data)} bytes: expected a JPEG or PNG image: {error}'
        ) from None


def encode_png(image: ImageArray) -> bytes:
    """An RGB picture (height, width, 3) as PNG: lossless, fast.

    Raises:
        InputError: Pillow is not installed.
    """
    stream = io.BytesIO()
    _pillow('a picture').fromarray(image).save(stream, 'PNG', compress_level=_LEVEL)
    return stream.getvalue()


def to_jpeg(image: ImageArray, quality: int = 90) -> bytes:
    """An RGB picture (height, width, 3) as JPEG.

    Raises:
        InputError: Pillow is not installed.
    """
    stream = io.BytesIO()
    _pillow('a picture').fromarray(image).save(stream, 'JPEG', quality=quality)
    return stream.getvalue()


def _pillow(name: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise InputError(
            f'{name}: compressed images need Pillow: apt install python3-pil, or pip install '
            'pillow'
        ) from None
    return Image


def _png_size(name: str, head: bytes, written: str) -> tuple[int, int] | None:
    if len(head) < 33 or head[12:16] != b'IHDR':
        return None
    if head[24] > 8 and written.startswith(_DISTANCES):
        raise InputError(
            f'{name}: format = {written[:40]!r}, a PNG of distances: expected a picture'
        )
    return int.from_bytes(head[20:24], 'big'), int.from_bytes(head[16:20], 'big')


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """From the first frame header; None where there is none."""
    place = 2
    for _ in range(_MARKERS):
        if place + 9 > len(data) or data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # padding, or a marker alone
            place += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME:
            height, width = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(height, 'big'), int.from_bytes(width, 'big')
        place += 2 + max(int.from_bytes(data[place + 2 : place + 4], 'big'), 2)
    return None
