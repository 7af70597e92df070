"""What the model saw comes back to the bit, and any viewer shows it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines.image_tensor import image_to_tensor, seen_values, values_to_tensor
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.lossless_picture import decode, encode

Image = pytest.importorskip('PIL.Image', reason='Pillow is not installed')


def camera_picture(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', [(96, 96), (133, 201), (480, 640)])
@pytest.mark.parametrize('recipe', ['triangle', 'openvla'])
def test_the_models_input_is_made_again_from_the_png_to_the_bit(size, recipe):
    camera = CameraSpec('image', 96, 96, recipe=recipe)
    image = camera_picture(*size)
    values = decode(encode(seen_values(image, camera)))
    assert (values_to_tensor(values, camera) == image_to_tensor(image, camera)).all()


def test_the_png_shows_the_picture_rounded_to_whoever_knows_nothing_of_us():
    values = seen_values(camera_picture(133, 201), CameraSpec('image', 96, 96))
    with Image.open(io.BytesIO(encode(values))) as picture:
        shown = np.asarray(picture)
    assert (shown == np.rint(values)).all()


def test_whole_numbers_take_no_more_than_a_png():
    values = camera_picture(96, 96).astype(np.float32)
    assert b'vlRs' not in encode(values)
    assert b'vlRs' in encode(values * np.float32(0.999))


@pytest.mark.parametrize(
    'values',
    [
        np.full((4, 4, 3), np.nan, np.float32),
        np.full((4, 4, 3), 300, np.float32),
        np.full((4, 4, 3), -2, np.float32),
        np.zeros((4, 4), np.float32),
        np.zeros((0, 4, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_refused(values):
    with pytest.raises(InputError, match='expected'):
        encode(values)


def test_a_damaged_picture_is_refused_not_shown_otherwise():
    whole = encode(seen_values(camera_picture(133, 201), CameraSpec('image', 96, 96)))
    place = whole.index(b'vlRs') + 200
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for broken in (flipped, whole[:100], b'', b'\x89PNG'):
        with pytest.raises(InputError):
            decode(broken)
