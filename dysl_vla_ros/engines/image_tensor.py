"""Images on their way into the model.

One function, used when the policy is trained and when the robot runs: what the model sees on the
robot is what it was trained on, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.engines.openvla_image import lanczos_then_crop
from dysl_vla_ros.errors import InputError

_ASPECT_TOLERANCE = 0.02
"""Relative; 2 % covers a row or column more or less, not 4:3 against 1:1."""
ImageRecipe = Literal['crop_resize', 'openvla']


def image_to_tensor(
    image: Any,
    height: int,
    width: int,
    *,
    name: str = 'image',
    rotate_180: bool = False,
    crop_area: float = 1.0,
    recipe: ImageRecipe = 'crop_resize',
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
) -> NDArray[np.float32]:
    """Turn, crop, resize with anti-aliasing, and normalise one image.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        height: Rows of the result.
        width: Columns of the result.
        name: The camera, for messages.
        rotate_180: Turn by 180 degrees first.
        crop_area: Share of the area kept by a centre crop, within (0, 1].
        recipe: ``crop_resize``, or ``openvla``: resize first, as its fine-tuning did.
        mean: Per channel, subtracted after scaling to [0, 1].
        std: Per channel, divided by.

    Returns:
        Shape (1, 3, height, width), float32, contiguous.

    Raises:
        InputError: Not an RGB uint8 image, smaller than the result, or of another aspect ratio.
    """
    _check_image(image, height, width, name)
    if rotate_180:
        image = image[::-1, ::-1]
    if recipe == 'openvla':
        scaled = lanczos_then_crop(image, height, width, crop_area)
    else:
        scaled = resize(centre_crop(image, crop_area), height, width)
    gain = np.float32(1.0) / (np.float32(255.0) * np.asarray(std, dtype=np.float32))
    offset = np.asarray(mean, dtype=np.float32) / np.asarray(std, dtype=np.float32)
    normalised = scaled * gain - offset
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def check_size(rows: int, columns: int, height: int, width: int, name: str = 'image') -> None:
    """Refuse an image that the policy would see distorted or blown up.

    Args:
        rows: Of the image.
        columns: Of the image.
        height: Rows that the policy sees.
        width: Columns that the policy sees.
        name: The camera, for messages.

    Raises:
        InputError: Smaller than what the policy sees, or of another aspect ratio.
    """
    if rows < height or columns < width:
        raise InputError(
            f'{name}: {columns}x{rows} pixels: expected at least {width}x{height}, '
            'the size that the policy sees'
        )
    wanted, found_ratio = width / height, columns / rows
    if abs(found_ratio / wanted - 1.0) > _ASPECT_TOLERANCE:
        fitting = min(columns / width, rows / height)
        raise InputError(
            f'{name}: {columns}x{rows} pixels: expected the aspect ratio {width}:{height} that '
            f'the policy was trained on; crop it to {int(width * fitting)}x{int(height * fitting)}'
        )


def centre_crop(image: NDArray[Any], area: float) -> NDArray[Any]:
    """The middle of an image (H, W, C), ``area`` of its area, same aspect ratio; a view."""
    if area == 1.0:
        return image
    side = math.sqrt(area)
    rows, columns = (max(1, round(size * side)) for size in image.shape[:2])
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return image[top : top + rows, left : left + columns]


def resize(image: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Resize (H, W, C) with a triangle filter as wide as the reduction; float32.

    The filter of Pillow's ``BILINEAR``: anti-aliased when shrinking, bilinear when growing, and
    exactly the identity when the size already fits.
    """
    values = np.asarray(image, dtype=np.float32)
    rows, columns, channels = values.shape
    if rows != height:
        values = (_filter(rows, height) @ values.reshape(rows, -1)).reshape(height, columns, -1)
    if columns != width:
        values = np.matmul(_filter(columns, width), values)
    return values.reshape(height, width, channels)


def _check_image(image: Any, height: int, width: int, name: str) -> None:
    shape, dtype = getattr(image, 'shape', None), getattr(image, 'dtype', None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        found = type(image).__name__ if shape is None else f'shape {tuple(shape)} of {dtype}'
        raise InputError(
            f'{name}: {found}: expected an RGB image, shape (height, width, 3) of uint8'
        )
    check_size(shape[0], shape[1], height, width, name)


@lru_cache(maxsize=32)
def _filter(old: int, new: int) -> NDArray[np.float32]:
    """Weights (new, old) of a triangle filter; every row sums to 1."""
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centres[:, None]) / reach
    weights = np.maximum(1.0 - distance, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = weights.astype(np.float32)
    fixed.setflags(write=False)
    return fixed
