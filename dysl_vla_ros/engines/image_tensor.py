"""Images on their way into the model.

One function, used when the policy is trained and when the robot runs: what the model sees on the
robot is what it was trained on, to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.banded import Banded, apply
from dysl_vla_ros.engines.openvla_image import lanczos_then_crop
from dysl_vla_ros.errors import InputError

WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """What of a camera's picture goes to the policy, where the user says so.

    Attributes:
        fit: Another way than the contract's to bring in a picture of another shape; '' is the
            contract's.
        region: Left, top, width and height of what is used, as shares of the picture.
    """

    fit: str = ''
    region: tuple[float, float, float, float] = WHOLE

    def check(self, rows: int, columns: int, camera: CameraSpec) -> None:
        """Refuse pictures that the policy would see blown up, by their size alone.

        Raises:
            InputError: Smaller than what the policy sees.
        """
        top, bottom, left, right = self._edges(rows, columns)
        check_size(bottom - top, right - left, camera, self.fit or camera.fitting)

    def apply(self, image: ImageArray, camera: CameraSpec) -> ImageArray:
        """The picture as the policy takes it; a view of the same pixels where nothing changes.

        Where ``fit`` is not the contract's, what comes out has the contract's shape, so that the
        contract's own rule has nothing left to do.
        """
        top, bottom, left, right = self._edges(*image.shape[:2])
        cut = image[top:bottom, left:right]
        if self.fit in ('', camera.fitting):
            return cut
        if self.fit != 'squash':
            return fitted(cut, camera.height, camera.width, self.fit)
        return _rounded(_scaled(cut, camera, area=1.0))

    def _edges(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        x, y, width, height = self.region
        top, bottom = _span(y, height, rows)
        left, right = _span(x, width, columns)
        return top, bottom, left, right


def image_to_tensor(image: Any, camera: CameraSpec) -> NDArray[np.float32]:
    """Turn, fit, crop, resize with anti-aliasing, and normalise one image.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        camera: The contract.

    Returns:
        Shape (1, 3, height, width), float32, contiguous.

    Raises:
        InputError: Not an RGB uint8 image, or smaller than the result.
    """
    return values_to_tensor(seen_values(image, camera), camera)


def values_to_tensor(values: NDArray[np.float32], camera: CameraSpec) -> NDArray[np.float32]:
    """Normalise what ``seen_values`` gave: (1, 3, height, width), float32, contiguous.

    Raises:
        InputError: Of another size than the model takes.
    """
    if values.shape != (camera.height, camera.width, 3):
        raise InputError(f'{camera.name}: a picture as a model saw it, shape {values.shape}: '
                         f'expected {(camera.height, camera.width, 3)}')  # fmt: skip
    std = np.asarray(camera.std, dtype=np.float32)
    gain = np.float32(1.0) / (np.float32(255.0) * std)
    offset = np.asarray(camera.mean, dtype=np.float32) / std
    normalised = values * gain - offset
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def as_seen(image: Any, camera: CameraSpec) -> ImageArray:
    """What ``image_to_tensor`` makes of an image, before it is normalised: for people.

    Returns:
        Shape (height, width, 3), uint8.

    Raises:
        InputError: As ``image_to_tensor``.
    """
    return _rounded(seen_values(image, camera))


def fitted_size(rows: int, columns: int, height: int, width: int, fit: str) -> tuple[int, int]:
    """Rows and columns of a picture once it has the shape ``width:height``, or would have it.

    Args:
        rows: Of the picture.
        columns: Of the picture.
        height: Of what the policy sees.
        width: Of what the policy sees.
        fit: ``squash`` keeps the size, ``crop`` takes away, ``pad`` adds.
    """
    if fit == 'squash' or columns * height == rows * width:
        return rows, columns
    too_wide = columns * height > rows * width
    if too_wide == (fit == 'crop'):
        return rows, max(1, round(rows * width / height))
    return max(1, round(columns * height / width)), columns


def fitted(image: ImageArray, height: int, width: int, fit: str) -> ImageArray:
    """A picture (H, W, 3) in the shape ``width:height``; arguments as ``fitted_size``.

    ``crop`` keeps the middle, ``pad`` puts the picture in the middle of black.
    """
    rows, columns = image.shape[:2]
    wanted = fitted_size(rows, columns, height, width, fit)
    if wanted == (rows, columns):
        return image
    down, across = abs(wanted[0] - rows) // 2, abs(wanted[1] - columns) // 2
    if fit == 'crop':
        return image[down : down + wanted[0], across : across + wanted[1]]
    canvas = np.zeros((*wanted, 3), dtype=np.uint8)
    canvas[down : down + rows, across : across + columns] = image
    return canvas


def check_size(rows: int, columns: int, camera: CameraSpec, fit: str = '') -> None:
    """Refuse an image that the policy would see blown up.

    Args:
        rows: Of the image.
        columns: Of the image.
        camera: What the policy sees.
        fit: How the image is brought in; '' is the contract's way.

    Raises:
        InputError: Smaller than what the policy sees.
    """
    height, width, fit = camera.height, camera.width, fit or camera.fitting
    found = fitted_size(rows, columns, height, width, fit)
    if found[0] < height or found[1] < width:
        used = '' if found == (rows, columns) else f', {found[1]}x{found[0]} by fit = {fit}'
        raise InputError(
            f'{camera.name}: {columns}x{rows} pixels{used}: expected at least {width}x{height}, '
            'the size that the policy sees'
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
    rows, columns = image.shape[:2]
    return apply(
        _filter(rows, height) if rows != height else None,
        _filter(columns, width) if columns != width else None,
        image,
    )


def seen_values(image: Any, camera: CameraSpec) -> NDArray[np.float32]:
    """Turned, fitted, cropped and resized: (height, width, 3), 0 to 255, fractions kept.

    Raises:
        InputError: As ``image_to_tensor``.
    """
    shape, dtype = getattr(image, 'shape', None), getattr(image, 'dtype', None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        found = type(image).__name__ if shape is None else f'shape {tuple(shape)} of {dtype}'
        raise InputError(
            f'{camera.name}: {found}: expected an RGB image, shape (height, width, 3) of uint8'
        )
    check_size(shape[0], shape[1], camera)
    if camera.rotate_180:
        image = image[::-1, ::-1]
    return _scaled(fitted(image, camera.height, camera.width, camera.fitting), camera)


def _scaled(image: ImageArray, camera: CameraSpec, area: float = 0.0) -> NDArray[np.float32]:
    """Cropped and resized by the contract's recipe; ``area`` replaces its crop."""
    kept = area or camera.crop_area
    if camera.recipe == 'openvla':
        return lanczos_then_crop(image, camera.height, camera.width, kept)
    return resize(centre_crop(image, kept), camera.height, camera.width)


def _rounded(values: NDArray[np.float32]) -> ImageArray:
    return np.clip(np.rint(values), 0.0, 255.0).astype(np.uint8)


def _span(start: float, share: float, size: int) -> tuple[int, int]:
    """First and last + 1 of the pixels of a share, at least one."""
    first = min(round(start * size), size - 1)
    return first, min(max(round((start + share) * size), first + 1), size)


@lru_cache(maxsize=32)
def _filter(old: int, new: int) -> Banded:
    """Weights (new, old) of a triangle filter; every row sums to 1."""
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centres[:, None]) / reach
    weights = np.maximum(1.0 - distance, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return Banded(weights)
