"""Pictures of the training data for the bundle: as the model sees them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny_dataset import episode, stage_episode, writer

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines.image_tensor import as_seen
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.references import from_dataset, from_file
from dysl_vla_ros.pictures.files import decode_file

CAMERA = CameraSpec('image', 96, 96)


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / 'data'
    writer(folder).append([stage_episode(tmp_path / 'one', seed=3)])
    return folder


def test_the_first_picture_of_each_camera_is_taken_as_the_model_sees_it(dataset):
    small = replace(CAMERA, height=32, width=32, rotate_180=True)
    other = CameraSpec('third_image', 32, 32)
    found = from_dataset(dataset, (small, other))
    assert set(found) == {'image'}
    first = episode(3, 5)[0].images['image']
    np.testing.assert_array_equal(decode_file('reference', found['image']), as_seen(first, small))
    same = from_dataset(dataset, (CAMERA,))['image']
    np.testing.assert_array_equal(decode_file('reference', same), first)


def test_a_dataset_without_these_cameras_is_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match='observation.images.hand'):
        from_dataset(dataset, (CameraSpec('hand', 96, 96),))
    with pytest.raises(ConfigError, match='LeRobot'):
        from_dataset(tmp_path, (CAMERA,))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_a_file_is_brought_in_as_the_camera_of_the_contract_is(tmp_path, kind):
    path, data = tmp_path / 'picture', io.BytesIO()
    Image.new('RGB', (160, 120), (200, 30, 60)).save(data, kind)
    path.write_bytes(data.getvalue())
    found = decode_file('reference', from_file(path, CAMERA))
    assert found.shape == (96, 96, 3) and abs(found.astype(int) - (200, 30, 60)).max() < 4


@pytest.mark.parametrize('content', [b'', b'no picture', None, 'small'])
def test_what_is_no_picture_of_the_camera_is_refused_by_name(tmp_path, content):
    path = tmp_path / 'picture.png'
    if content == 'small':
        Image.new('RGB', (60, 60)).save(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r'reference.image = .*picture.png.*a picture: '):
        from_file(path, CAMERA)
