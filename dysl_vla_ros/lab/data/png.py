"""Pictures as PNG and back: of data sets, recordings and references."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """An RGB picture (height, width, 3) as PNG: lossless, fast."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'PNG', compress_level=1)
    return stream.getvalue()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The picture, (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'), dtype=np.uint8)
