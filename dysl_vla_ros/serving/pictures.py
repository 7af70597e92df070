"""Pictures that come as files, PNG or JPEG: measured before they are decoded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.engines.remote.protocol import ProtocolError

_MOST_PIXELS = 16 << 20


def read_picture(data: bytes) -> NDArray[np.uint8]:
    """RGB, shape (height, width, 3).

    Raises:
        ProtocolError: Neither PNG nor JPEG, too large, broken, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ProtocolError('a picture as a file needs Pillow: pip install pillow') from None
    try:
        with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError(f'{picture.width}x{picture.height} pixels')
            return np.array(picture.convert('RGB'), dtype=np.uint8)
    except Exception as error:  # the decoder raises all kinds, SyntaxError among them
        raise ProtocolError(
            f'a picture of {len(data)} bytes: expected PNG or JPEG of at most {_MOST_PIXELS} '
            f'pixels: {error}'
        ) from None
