"""``dysl doctor --cameras`` says what comes, how, and whether it is what training saw."""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest
from camera_drivers import Driver, scene
from conftest import DOMAIN
from fakes import FakeRobot

from dysl_vla_ros.cli.main import main

pytestmark = pytest.mark.ros

SECONDS = '2'
"""Long enough for a rate; a publisher whose first word was missed is waited for 3 s before."""


class Robot:
    """What ``Driver`` needs of a rig, without the node."""

    def __init__(self, graph):
        from rclpy.node import Node

        self.graph = graph
        self.robot = FakeRobot(graph.add(Node('robot', context=graph.context)))


@pytest.fixture
def robot(graph):
    return Robot(graph)


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Run it in an empty folder; returns exit code, findings by part, and what stands there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, 'ROS_DOMAIN_ID', str(DOMAIN))

    def run(*words):
        code = main(['doctor', '--cameras', '--seconds', SECONDS, '--json', 'found.json', *words])
        error = capsys.readouterr().err
        found = []
        if (tmp_path / 'found.json').exists():
            found = json.loads((tmp_path / 'found.json').read_text())
            found = found['findings'] if isinstance(found, dict) else found
        return code, {item['part']: item for item in found}, error

    return run


def read(path):
    from PIL import Image

    with Image.open(path) as picture:
        return np.array(picture.convert('RGB'))


def test_a_camera_that_fits_is_described_and_laid_over_the_picture_of_training(
    robot, doctor, tmp_path
):
    Driver(robot, 'JPEG', reliable=True, hz=20.0)
    code, found, _ = doctor()
    item = found['camera image on /image']
    assert (code, item['state']) == (0, 'ok'), item
    for words in ('640x480 jpeg', 'Hz', 'compressed, reliable', '% lost', 'brightness'):
        assert words in item['found']
    tiles = read(tmp_path / 'camera_check' / 'overlay_image.png')
    assert tiles.shape == (96, 3 * 96, 3) and 'overlay_image.png' in item['fix']
    before, now, both = (tiles[:, k * 96 : (k + 1) * 96].astype(int) for k in range(3))
    assert abs(2 * both - before - now).max() <= 1
    assert abs(now[24, 24] - scene()[120, 200]).max() < 20


@pytest.mark.parametrize(
    ('seconds', 'begins', 'what'),
    [('0.5', 2.5, 'a publisher that is heard late'), ('2', 5.5, 'a gap when the listening ends')],
)
def test_a_camera_that_is_silent_for_a_moment_is_waited_for(robot, doctor, seconds, begins, what):
    driver = Driver(robot)
    driver.on = False
    waited = threading.Timer(begins, lambda: setattr(driver, 'on', True))
    waited.start()
    code, found, _ = doctor('--seconds', seconds)
    waited.cancel()
    item = found['camera image on /image']
    assert (code, item['state']) == (0, 'ok'), item


def test_topic_and_parameters_are_those_of_the_node(robot, doctor, tmp_path):
    (tmp_path / 'arm.yaml').write_text(
        "vla_node:\n  ros__parameters:\n    armed: false\n    image.roi: ['image=0,0,0.125,1']\n"
    )
    Driver(robot, 'bgr8', topic='hand/colour')
    code, found, _ = doctor('--camera', 'image=/hand/colour', '--params-file', 'arm.yaml')
    item = found['camera image on /hand/colour']
    assert code == 1 and item['state'] == 'broken'
    assert 'image: 80x480 pixels, 80x80 by fit = crop: expected at least 96x96' in item['found']


def test_a_topic_of_compressed_pictures_comes_with_the_advice_to_leave_the_suffix_away(
    robot, doctor
):
    Driver(robot, 'JPEG', topic='hand/colour')
    code, found, _ = doctor('--camera', 'image=/hand/colour/compressed')
    item = found['camera image on /hand/colour/compressed']
    assert code == 1
    assert 'expected its name without /compressed, /hand/colour' in item['found']
    assert '/compressed/compressed' not in item['found']


def test_a_wrong_parameter_file_is_told_before_any_camera_is_listened_to(doctor, tmp_path):
    (tmp_path / 'arm.yaml').write_text('vla_node:\n  ros__parameters:\n    comand.rate_hz: 30.0\n')
    code, found, _ = doctor('--params-file', 'arm.yaml')
    assert code == 1 and list(found) == ['parameters arm.yaml']


def test_a_camera_that_is_silent_and_one_in_another_light_are_told_apart(robot, doctor):
    code, found, _ = doctor('--camera', 'image=/nowhere')
    assert code == 1
    assert 'nothing received yet' in found['camera image on /nowhere']['found']
    Driver(robot, picture=np.zeros((96, 96, 3), np.uint8))
    code, found, _ = doctor()
    assert code == 0 and found['camera image on /image']['state'] == 'missing'
    assert 'darker than in training' in found['camera image on /image']['found']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--camera', 'hand=/x'], "--camera = 'hand=/x': expected CAMERA=TOPIC, of image"),
        (['--camera', 'image'], 'expected CAMERA=TOPIC'),
        (['--camera', 'image=/a b'], 'expected CAMERA=TOPIC'),
        (['--seconds', '0'], '--seconds = 0.0'),
        (['--engine', 'nowhere'], 'no manifest.json'),
        (['--overlays', 'precious'], 'there is letter.png in this one'),
    ],
)
def test_a_wrong_call_is_refused_and_nothing_is_written(doctor, tmp_path, words, message):
    (tmp_path / 'precious').mkdir()
    (tmp_path / 'precious' / 'letter.png').write_text('mine')
    code, found, error = doctor(*words)
    assert found == {} and message in error
    assert code == (1 if '--engine' in words else 2)  # a bundle is a state of things
    assert sorted(path.name for path in tmp_path.iterdir()) == ['precious']
