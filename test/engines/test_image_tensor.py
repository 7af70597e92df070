from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines import image_tensor
from dysl_vla_ros.errors import InputError

GENERATOR = np.random.default_rng(0)


def photo(rows, columns):
    return GENERATOR.integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_only_scaled():
    image = photo(8, 6)
    tensor = image_tensor.image_to_tensor(image, CameraSpec('image', 8, 6))
    assert tensor.shape == (1, 3, 8, 6) and tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    expected = (image / 255.0 - 0.5) / 0.5
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), expected, atol=2e-7)


def test_mean_and_standard_deviation_are_per_channel():
    image = np.full((4, 4, 3), 255, np.uint8)
    tensor = image_tensor.image_to_tensor(
        image, CameraSpec('image', 4, 4, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    )
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
    turned = image_tensor.image_to_tensor(image, CameraSpec('image', 4, 6, rotate_180=True))
    straight = image_tensor.image_to_tensor(image, CameraSpec('image', 4, 6))
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
        (np.zeros((480, 90, 3), np.uint8), ['wrist', '90x480', '90x90 by fit = crop', '96x96']),
    ],
)
def test_a_wrong_image_is_refused_with_the_camera_the_value_and_what_would_be_right(image, words):
    with pytest.raises(InputError) as caught:
        image_tensor.image_to_tensor(image, CameraSpec('wrist', 96, 96))
    for word in words:
        assert word in str(caught.value)


# ---- pictures of another shape -----------------------------------------------------------------

COLUMNS = np.zeros((48, 64, 3), np.uint8)
COLUMNS[:, :, 0] = 4 * np.arange(64)  # red says which column a pixel came from
COLUMNS[:, :, 1] = 5 * np.arange(48)[:, np.newaxis]
COLUMNS[:, :, 2] = 255


def camera(fit, height=48, width=48, **others):
    return CameraSpec('image', height, width, fit=fit, **others)


def test_a_wide_picture_is_squashed_cropped_or_padded_as_the_contract_says():
    seen = {fit: image_tensor.as_seen(COLUMNS, camera(fit)) for fit in ('squash', 'crop')}
    assert {fit: image.shape for fit, image in seen.items()} == dict.fromkeys(seen, (48, 48, 3))
    assert seen['squash'][0, 0, 0] < 8 and seen['squash'][0, -1, 0] > 240  # all columns
    np.testing.assert_array_equal(seen['crop'], COLUMNS[:, 8:56])
    padded = image_tensor.as_seen(COLUMNS, camera('pad', 64, 64))
    np.testing.assert_array_equal(padded[8:56], COLUMNS)
    assert not padded[:8].any() and not padded[56:].any()


def test_a_tall_picture_is_cropped_above_and_below_and_padded_beside():
    tall = np.ascontiguousarray(COLUMNS.transpose(1, 0, 2))
    np.testing.assert_array_equal(image_tensor.as_seen(tall, camera('crop')), tall[8:56])
    padded = image_tensor.as_seen(tall, camera('pad', 64, 64))
    np.testing.assert_array_equal(padded[:, 8:56], tall)
    assert not padded[:, :8].any() and not padded[:, 56:].any()


def test_a_bundle_that_does_not_say_how_means_what_its_training_did():
    assert camera('').fitting == 'crop'
    assert camera('', recipe='openvla').fitting == 'squash'
    assert camera('pad', recipe='openvla').fitting == 'pad'


@given(st.integers(4, 90), st.integers(4, 90), st.integers(4, 30), st.integers(4, 30),
       st.sampled_from(['squash', 'crop', 'pad']))  # fmt: skip
def test_a_fitted_picture_has_the_size_that_was_foretold_and_the_shape_that_is_wanted(
    rows, columns, height, width, fit
):
    image = np.full((rows, columns, 3), 9, np.uint8)
    found = image_tensor.fitted(image, height, width, fit)
    size = image_tensor.fitted_size(rows, columns, height, width, fit)
    assert found.shape[:2] == size
    if fit != 'squash':
        # At most half a pixel beside the shape.
        assert (
            abs(size[1] * height - size[0] * width) <= max(height, width) / 2 + 1e-9
            or min(size) == 1
        )
    assert (found == 9).sum() == 3 * min(rows, size[0]) * min(columns, size[1])


OTHERS = [(one, two) for one in ('squash', 'crop', 'pad') for two in ('squash', 'crop', 'pad')]


@pytest.mark.parametrize('recipe', ['crop_resize', 'openvla'])
@pytest.mark.parametrize(('contract', 'asked'), OTHERS)
def test_another_fit_gives_what_a_contract_of_that_fit_would(contract, asked, recipe):
    spec = camera(contract, 24, 24, recipe=recipe)
    through = image_tensor.View(asked).apply(COLUMNS, spec)
    expected = image_tensor.as_seen(COLUMNS, camera(asked, 24, 24, recipe=recipe))
    found = image_tensor.as_seen(through, spec)
    assert abs(found.astype(int) - expected).max() <= (1 if recipe == 'crop_resize' else 0)


def test_a_region_is_cut_out_before_the_picture_is_fitted():
    view = image_tensor.View(region=(0.25, 0.5, 0.5, 0.5))
    found = view.apply(COLUMNS, camera('crop', 8, 8))
    np.testing.assert_array_equal(found, COLUMNS[24:, 16:48])


@pytest.mark.parametrize(
    ('view', 'words'),
    [
        (image_tensor.View(), ''),
        (image_tensor.View(region=(0.0, 0.0, 0.5, 1.0)), '32x48 pixels.*at least 48x48'),
        (image_tensor.View('pad', (0.0, 0.0, 0.5, 1.0)), ''),  # 48x48 with its bars
    ],
)
def test_a_region_too_small_is_refused_by_its_size_alone(view, words):
    if not words:
        return view.check(48, 64, camera('crop'))
    with pytest.raises(InputError, match=words):
        view.check(48, 64, camera('crop'))
