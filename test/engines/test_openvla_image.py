"""The image of OpenVLA's fine-tuning: resize first, then crop, with its rounding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines import image_tensor
from dysl_vla_ros.engines.openvla_image import lanczos_then_crop

GENERATOR = np.random.default_rng(0)
OPENVLA = CameraSpec('image', 224, 224, rotate_180=True, crop_area=0.9, recipe='openvla',
                     mean=(0.0,) * 3, std=(1.0,) * 3)  # fmt: skip


def photo(rows, columns):
    """Smooth and noisy parts, so that rounding and ringing both show."""
    image = GENERATOR.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    image[: rows // 2] = np.linspace(0, 255, columns, dtype=np.uint8)[None, :, None]
    return image


@pytest.mark.parametrize('size', [(256, 256), (224, 224), (480, 480)])
def test_the_resize_agrees_with_pillow_to_its_rounding(size):
    pillow = pytest.importorskip('PIL.Image', reason='Pillow is the reference here')
    # In the middle of the range: Pillow clips between its two passes, TensorFlow does not.
    image = (90 + photo(*size) * 0.3).astype(np.uint8)
    expected = pillow.fromarray(image).resize((224, 224), pillow.Resampling.LANCZOS)
    found = lanczos_then_crop(image, 224, 224, 1.0)
    assert np.abs(found - np.asarray(expected, np.float32)).max() <= 1.0


def crop_and_resize(image, area):
    """``tf.image.crop_and_resize`` as its documentation has it, pixel by pixel."""
    size, _, channels = image.shape
    start = (1 - math.sqrt(area)) / 2
    found = np.zeros(image.shape)
    for row in range(size):
        for column in range(size):
            place = [
                start * (size - 1) + index * math.sqrt(area) * (size - 1) / (size - 1)
                for index in (row, column)
            ]
            top, left = (min(int(p), size - 2) for p in place)
            down, right = place[0] - top, place[1] - left
            upper = image[top, left] * (1 - right) + image[top, left + 1] * right
            lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
            found[row, column] = upper * (1 - down) + lower * down
    return found


def test_the_crop_is_tensorflows_crop_and_resize():
    image = photo(40, 40)
    found = lanczos_then_crop(image, 40, 40, 0.9)
    expected = np.floor(crop_and_resize(image.astype(np.float64), 0.9) * 255.5 / 255)
    assert np.abs(found - expected).max() <= 1.0  # a value on the border of two integers
    assert (found != expected).mean() < 1e-3


def test_the_other_order_gives_other_pixels():
    image = photo(256, 256)
    right = image_tensor.image_to_tensor(image, OPENVLA)
    other = image_tensor.image_to_tensor(image, replace(OPENVLA, recipe='crop_resize'))
    assert right.shape == other.shape == (1, 3, 224, 224)
    assert np.abs(right - other).max() > 0.2


def test_the_recipe_turns_crops_and_scales_to_one():
    image = photo(256, 256)
    found = image_tensor.image_to_tensor(image, OPENVLA)
    expected = lanczos_then_crop(image[::-1, ::-1], 224, 224, 0.9) / 255
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), expected, atol=1e-6)
    assert found.min() >= 0.0 and found.max() <= 1.0
