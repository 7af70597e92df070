"""What the robot would refuse is refused, or left out, wherever a recording is read."""

from __future__ import annotations

import numpy as np
import picture_bag
import pytest
import tiny_bundle
import yaml

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.lab.data.bag_import import BagChoice, BagEpisodes, pictures
from dysl_vla_ros.lab.data.bags.bag import open_bag
from dysl_vla_ros.lab.evaluation.film_bag import film_of
from dysl_vla_ros.lab.replay.topics import TopicSteps, Wishes
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.pictures.messages import rgb_of

TOPIC = '/cell/image'


def unknown():
    message = picture_bag.noise('rgb8')
    message.encoding = 'h264'
    return message


def broken_off():
    """A JPEG whose header is whole."""
    message = picture_bag.noise('jpeg')
    message.data = message.data[:-400]
    return message


WRONG = {'distances': picture_bag.distances, 'of no known encoding': unknown,
         'broken off': broken_off}  # fmt: skip


# Of the same type of message.
GOOD = {picture_bag.distances: ('rgb8', 'yuyv'), unknown: ('nv12', 'bgr8'),
        broken_off: ('jpeg', 'png')}  # fmt: skip


@pytest.fixture(params=WRONG)
def wrong(request):
    return WRONG[request.param]


def words_of_the_node(message):
    with pytest.raises(InputError) as caught:
        rgb_of(TOPIC, message)
    return str(caught.value)


@pytest.fixture
def steps(tmp_path):
    path = tmp_path / 'arm.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'gripper.joint': 'gripper_finger', 'gripper.open_value': 1.0, 'gripper.closed_value': 0.0,
    }}}))  # fmt: skip
    manifest = open_bundle(tiny_bundle.write_tiny_bundle(tmp_path / 'bundle')).manifest

    def read(bag):
        found = TopicSteps(bag, manifest, load_yaml(path), Wishes({'image': TOPIC}, every=0.05))
        return found, list(found)

    return read


def test_a_recording_of_nothing_else_is_refused_in_the_words_of_the_node(
    tmp_path, wrong, steps, capsys
):
    bag = picture_bag.write(tmp_path / 'bag', {TOPIC: wrong()})
    said = words_of_the_node(wrong())
    with open_bag(bag) as opened, pytest.raises(InputError) as caught:
        steps(opened)
    assert str(caught.value) == said
    with pytest.raises(InputError) as caught:
        film_of(bag)
    assert str(caught.value) == said
    assert main(['import', str(bag), str(tmp_path / 'set')]) != 0
    assert capsys.readouterr().err == f'dysl import: {said}\n'
    assert not (tmp_path / 'set').exists()


def test_a_wrong_picture_among_good_ones_is_left_out_and_said(tmp_path, wrong, steps):
    good = [picture_bag.noise(name) for name in GOOD[wrong]]
    bag = picture_bag.write(tmp_path / 'bag', {TOPIC: [
        good[0], wrong(), wrong(), good[1], good[1], good[1]]})  # fmt: skip
    note = f'2 pictures are left out: {words_of_the_node(wrong())}'
    before, after = (rgb_of(TOPIC, message) for message in good)
    read = BagEpisodes(bag, BagChoice(cameras={'image': TOPIC}, fps=10))
    (episode,) = read.episodes()
    assert note in read.notes
    shown = list(pictures(episode.pictures['image']))
    # The newest that can be used, as on the robot.
    np.testing.assert_array_equal(shown[1], before)
    np.testing.assert_array_equal(shown[2], before)
    np.testing.assert_array_equal(shown[3], after)
    with open_bag(bag) as opened:
        found, made = steps(opened)
    assert note in found.notes
    np.testing.assert_array_equal(made[0].observation.images['image'], before)
    np.testing.assert_array_equal(made[-1].observation.images['image'], after)
    assert len(film_of(bag).frames) >= 4


def test_a_camera_that_begins_with_wrong_pictures_is_not_lost(tmp_path, wrong):
    good = picture_bag.noise(GOOD[wrong][0])
    bag = picture_bag.write(tmp_path / 'bag', {TOPIC: [wrong(), wrong(), *[good] * 4]})
    (episode,) = BagEpisodes(bag, BagChoice(fps=10)).episodes()
    assert len(episode.state) == 4


def test_a_picture_smaller_than_the_model_sees_is_left_out_as_on_the_robot(tmp_path, steps):
    small, large = picture_bag.noise('rgb8', 60, 80), picture_bag.noise('rgb8')
    bag = picture_bag.write(tmp_path / 'small', {TOPIC: small})
    with open_bag(bag) as opened, pytest.raises(InputError, match='80x60 pixels.*at least'):
        steps(opened)
    bag = picture_bag.write(tmp_path / 'mixed', {TOPIC: [large, small, *[large] * 4]})
    with open_bag(bag) as opened:
        found, made = steps(opened)
    assert [note.partition(':')[0] for note in found.notes] == ['1 picture is left out']
    assert len(made) == 5
