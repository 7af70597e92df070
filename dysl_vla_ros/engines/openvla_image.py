"""How OpenVLA's fine-tuning prepared an image, step by step and rounding by rounding.

The other order, crop before resizing, gives the network other pixels than it was trained on.
Upstream (``experiments/robot/openvla_utils.py`` of OpenVLA-OFT) uses TensorFlow; what its calls
compute is written out here. One step is left out: a round trip through JPEG.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.banded import Banded, apply

_LOBES = 3
"""Of the Lanczos filter."""


def lanczos_then_crop(
    image: ImageArray, height: int, width: int, area: float
) -> NDArray[np.float32]:
    """Resize with an anti-aliased Lanczos filter, then enlarge the middle to the same size.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        height: Rows of the result.
        width: Columns of the result.
        area: Share of the area that the centre crop keeps; 1.0 for no crop.

    Returns:
        Shape (height, width, 3), whole numbers from 0 to 255.
    """
    rows, columns = image.shape[:2]
    resized = apply(_lanczos(rows, height), _lanczos(columns, width), image)
    whole = np.clip(np.rint(resized), 0.0, 255.0)
    if area < 1.0:
        enlarged = apply(_crop(height, area), _crop(width, area), whole)
        # TensorFlow's float -> uint8 multiplies by 255.5 and cuts off.
        whole = np.floor(np.clip(enlarged, 0.0, 255.0) * (255.5 / 255.0))
    return whole.astype(np.float32)


@lru_cache(maxsize=16)
def _lanczos(old: int, new: int) -> Banded:
    """Weights (new, old); as wide as the reduction, every row sums to 1."""
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = (np.arange(old)[None, :] + 0.5 - centres[:, None]) / reach
    weights = np.where(
        np.abs(distance) < _LOBES, np.sinc(distance) * np.sinc(distance / _LOBES), 0.0
    )
    return Banded(weights / weights.sum(axis=1, keepdims=True))


@lru_cache(maxsize=16)
def _crop(size: int, area: float) -> Banded:
    """Weights (size, size) of ``tf.image.crop_and_resize`` on a centred box.

    Corner pixels of the result lie on the corners of the box; neighbours are mixed linearly.
    """
    margin = (1.0 - math.sqrt(area)) / 2.0
    places = np.linspace(margin, 1.0 - margin, size) * (size - 1)
    return Banded(np.maximum(1.0 - np.abs(places[:, None] - np.arange(size)[None, :]), 0.0))
