"""A picture as the model saw it, in one PNG that loses nothing.

After a resize the values of pixels are no whole numbers. The PNG holds them rounded, so that any
viewer shows it; what is left of each lies in a chunk of our own, which viewers pass over: 32-bit
floats, their bytes sorted by weight and deflated. Where every value is whole there is none.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pictures.files import decode_file, encode_png, kind_of_file

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_REST = b'vlRs'
"""Ancillary, private, not safe to copy after an edit: PNG 1.2, 3.3."""
_END = b'IEND'
_LEVEL = 1


def encode(values: NDArray[np.float32]) -> bytes:
    """A PNG of (height, width, 3) values from 0 to 255.

    Raises:
        InputError: Not such values, or Pillow is not installed.
    """
    if values.ndim != 3 or values.shape[2] != 3 or not values.size:
        raise InputError(f'a picture of shape {values.shape}: expected (height, width, 3)')
    values = np.ascontiguousarray(values, dtype=np.float32)
    whole = np.rint(values)
    if not (whole >= 0).all() or not (whole <= 255).all():  # NaN is neither
        raise InputError(
            f'a picture of values from {values.min()} to {values.max()}: expected 0 to 255'
        )
    picture = encode_png(whole.astype(np.uint8))
    rest = values - whole  # exact, and so is the sum of both
    if not rest.any():
        return picture
    planes = rest.view(np.uint8).reshape(-1, 4).T.tobytes()
    body = struct.pack('>II', *values.shape[:2]) + zlib.compress(planes, _LEVEL)
    named = _REST + body
    chunk = struct.pack('>I', len(body)) + named + struct.pack('>I', zlib.crc32(named))
    end = len(picture) - 12
    return picture[:end] + chunk + picture[end:]


def decode(data: bytes) -> NDArray[np.float32]:
    """What ``encode`` was given, to the bit.

    Raises:
        InputError: No PNG of three colours, or one that is damaged.
    """
    try:
        if kind_of_file(data) != 'png':
            raise ValueError(f'they begin with {data[:8]!r}')
        whole = decode_file('a picture as the model saw it', data).astype(np.float32)
        body = _chunk(data, _REST)
        if body is None:
            return whole
        rows, columns = struct.unpack('>II', body[:8])
        if (rows, columns) != whole.shape[:2]:
            raise ValueError(f'the rest of {columns}x{rows} pixels')
        size = 4 * whole.size
        unpacked = zlib.decompressobj()
        planes = unpacked.decompress(body[8:], size)
        rest = np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view(np.float32)
        return whole + rest.reshape(whole.shape)
    except InputError:
        raise
    except Exception as error:  # of zlib, struct and numpy
        raise InputError(f'{len(data)} bytes: {error}: expected a PNG image') from None


def _chunk(data: bytes, name: bytes) -> bytes | None:
    """Content of a chunk; None where there is none.

    Raises:
        ValueError: It is damaged.
    """
    place = len(_SIGNATURE)
    while place + 12 <= len(data):
        (size,) = struct.unpack('>I', data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        if kind == name:
            (sum_,) = struct.unpack('>I', data[place + 8 + size : place + 12 + size])
            if zlib.crc32(kind + body) != sum_:
                raise ValueError('the rest of the values is damaged')
            return body
        if kind == _END:
            return None
        place += 12 + size
    return None
