from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.engines import image_tensor
from dysl_vla_ros.errors import InputError

GENERATOR = np.random.default_rng(0)


def photo(rows, columns):
    return GENERATOR.integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_only_scaled():
    image = photo(8, 6)
    tensor = image_tensor.image_to_tensor(image, 8, 6)
    assert tensor.shape == (1, 3, 8, 6) and tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    expected = (image / 255.0 - 0.5) / 0.5
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), expected, atol=2e-7)


def test_mean_and_standard_deviation_are_per_channel():
    image = np.full((4, 4, 3), 255, np.uint8)
    tensor = image_tensor.image_to_tensor(image, 4, 4, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    np.testing.assert_allclose(tensor[0, :, 0, 0], [1.0, 1.0, 0.0], atol=1e-6)


def test_resizing_to_the_same_size_changes_no_bit():
    image = photo(9, 7)
    np.testing.assert_array_equal(image_tensor.resize(image, 9, 7), image.astype(np.float32))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_resizing_keeps_a_plain_colour(rows, columns, height, width):
    image = np.full((rows, columns, 3), 77, np.uint8)
    np.testing.assert_allclose(image_tensor.resize(image, height, width), 77.0, rtol=1e-5)


def test_resizing_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(image_tensor.resize(stripes, 8, 8)[:, 1:-1], 127.5, atol=4.0)


def test_resizing_agrees_with_pillow_to_its_rounding():
    pillow = pytest.importorskip('PIL.Image', reason='Pillow is the reference here')
    image = photo(120, 160)
    for height, width in ((48, 64), (240, 320)):
        expected = pillow.fromarray(image).resize((width, height), pillow.Resampling.BILINEAR)
        found = image_tensor.resize(image, height, width)
        assert np.abs(found - np.asarray(expected, np.float32)).max() < 1.5


def test_turning_by_180_degrees_moves_the_first_pixel_to_the_last():
    image = photo(4, 6)
    turned = image_tensor.image_to_tensor(image, 4, 6, rotate_180=True)
    straight = image_tensor.image_to_tensor(image, 4, 6)
    np.testing.assert_array_equal(turned, straight[:, :, ::-1, ::-1])


def test_a_centre_crop_keeps_its_share_of_the_area_and_the_middle():
    image = np.zeros((100, 200, 3), np.uint8)
    image[50, 100] = 255
    cropped = image_tensor.centre_crop(image, 0.81)
    assert cropped.shape == (90, 180, 3)
    assert cropped[45, 90, 0] == 255


@pytest.mark.parametrize(
    ('image', 'words'),
    [
        (np.zeros((96, 96), np.uint8), ['wrist', '(96, 96)', '(height, width, 3)']),
        (np.zeros((96, 96, 4), np.uint8), ['wrist', '(96, 96, 4)']),
        (np.zeros((96, 96, 3), np.float32), ['wrist', 'float32', 'uint8']),
        (None, ['wrist', 'NoneType', 'RGB image']),
        (np.zeros((60, 80, 3), np.uint8), ['wrist', '80x60', 'at least 96x96']),
        (np.zeros((480, 640, 3), np.uint8), ['wrist', '640x480', '96:96', 'crop it to 480x480']),
    ],
)
def test_a_wrong_image_is_refused_with_the_camera_the_value_and_what_would_be_right(image, words):
    with pytest.raises(InputError) as caught:
        image_tensor.image_to_tensor(image, 96, 96, name='wrist')
    for word in words:
        assert word in str(caught.value)


