"""Every picture of a set has a name of its own, or the option that gives it one is shown."""

from __future__ import annotations

import numpy as np
import pytest
from robot_files import robot_set

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures
from dysl_vla_ros.lab.data.references import from_dataset
from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.pictures.files import decode_file

J = ('j1', 'j2')


def refused(folder, **choice):
    with pytest.raises(ConfigError) as caught:
        read_set(str(folder), SetChoice(image_size=32, **choice))
    return str(caught.value)


def test_pictures_that_would_share_a_name_are_both_named_with_the_option_that_settles_it(tmp_path):
    folder = robot_set(tmp_path / 'set', J, cameras=('a-b', 'a.b', 'top'))
    text = refused(folder)
    assert "cameras = ['a-b', 'a.b']" in text and text.endswith(
        '--cameras a_b_1=a-b a_b_2=a.b top')  # fmt: skip
    assert "cameras = ['a-b', 'top']" in refused(folder, cameras=('x=a-b', 'x=top'))
    data, reading, rows = read_set(str(folder), SetChoice(
        image_size=32, cameras=('left=a-b', 'right=a.b')))  # fmt: skip
    assert dict(reading.columns) == {'left': 'observation.images.a-b',
                                     'right': 'observation.images.a.b'}  # fmt: skip
    images = load_robot_samples(data, reading, rows).training.images
    assert not np.array_equal(images['left'], images['right'])
    # The same set again, by the checkpoint's names.
    assert dict(read_set(str(folder), SetChoice(), reading)[1].columns) == dict(reading.columns)


def test_a_camera_that_was_renamed_has_the_picture_of_its_own_column_in_a_bundle(tmp_path):
    folder = robot_set(tmp_path / 'set', J, cameras=('a-b', 'a.b'))
    data, reading, rows = read_set(str(folder), SetChoice(
        image_size=32, cameras=('left=a-b', 'right=a.b')))  # fmt: skip
    cameras = [CameraSpec(name, 32, 32) for name in ('left', 'right')]
    found = from_dataset(folder, cameras, reading.columns)
    for camera in ('left', 'right'):
        (first,) = read_pictures(data, rows[0], reading.columns[camera], [0])
        np.testing.assert_array_equal(decode_file('x', found[camera]), first)
