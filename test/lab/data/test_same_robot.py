"""A checkpoint is trained further, distilled and calibrated on its own robot's sets only."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from robot_files import robot_set

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.robot_reading import reading_from
from dysl_vla_ros.lab.data.robot_samples import read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice

J = ('j1', 'j2', 'j3', 'gripper')


def degrees(kind, values):
    return np.concatenate([np.rad2deg(values[:, :3]), values[:, 3:]], axis=1)


def trained(folder, **choice):
    """How a checkpoint's set was read, as its card has it."""
    _, reading, _ = read_set(str(folder), SetChoice(image_size=32, **choice))
    return reading_from(json.loads(json.dumps(reading.as_json())))


def again(folder, known):
    return read_set(str(folder), SetChoice(), known)


def refused(folder, known):
    with pytest.raises(ConfigError) as caught:
        again(folder, known)
    return str(caught.value)


@pytest.fixture
def own(tmp_path):
    return robot_set(tmp_path / 'own', J)


def test_another_order_of_the_same_names_is_read_by_name_and_told(tmp_path, own):
    known = trained(own)
    other = robot_set(tmp_path / 'other', ('gripper', 'j3', 'j1', 'j2'), ('j3', 'j2', 'j1',
                                                                          'gripper'))  # fmt: skip
    _, reading, rows = again(other, known)
    wanted = again(own, known)[2]
    for side, first in ((reading.state, known.state), (reading.action, known.action)):
        assert side.names == J
        np.testing.assert_allclose(side.read(rows[0].numbers), first.read(wanted[0].numbers),
                                   atol=1e-5)  # fmt: skip
    assert any('gripper, j3, j1, j2 read by name, as j1, j2, j3' in t for t in reading.told)


def test_the_own_set_is_read_again_as_it_was_whatever_was_chosen(tmp_path):
    folder = robot_set(
        tmp_path / 'set',
        ('v1', 'gripper', *J[:3]),
        ('a1', 'a2', 'grip', 'a3'),
        true_names={'a1': 'j1', 'a2': 'j2', 'a3': 'j3', 'grip': 'gripper'},
    )
    choice = {'only': J, 'action_names': ('j1', 'j2', 'gripper', 'j3'),
              'joint_names': ('hip', 'knee', 'toe')}  # fmt: skip
    known = trained(folder, **choice)
    _, reading, _ = again(folder, known)
    assert replace(reading, told=()) == replace(known, told=())


@pytest.mark.parametrize('named', [(False, False), (True, False), (False, True)])
def test_a_set_without_names_is_read_again_and_another_size_is_not(tmp_path, named):
    known = trained(robot_set(tmp_path / 'set', J, named=named))
    assert replace(again(tmp_path / 'set', known)[1], told=()) == replace(known, told=())
    larger = robot_set(tmp_path / 'larger', ('j0', *J), named=(False, False))
    text = refused(larger, known)
    assert 'joint_5' in text and 'the 4 of the robot that the checkpoint was trained for' in text


def test_names_of_another_robot_are_refused_with_both_lists(tmp_path, own):
    known = trained(own)
    text = refused(robot_set(tmp_path / 'set', ('hip', 'knee', 'toe', 'gripper')), known)
    assert "names of observation.state = ['hip', 'knee', 'toe', 'gripper']" in text
    assert "['j1', 'j2', 'j3', 'gripper']" in text
    assert 'names of observation.state' in refused(robot_set(tmp_path / 'few', J[1:]), known)
    once = replace(known, state=replace(known.state, stored=(), farthest=(), order=()))
    assert 'names of observation.state' in refused(tmp_path / 'set', once)


def test_a_set_of_the_names_that_the_robot_was_given_is_its_own(tmp_path, own):
    known = trained(own, joint_names=('hip', 'knee', 'toe'))
    reading = again(robot_set(tmp_path / 'set', ('hip', 'knee', 'toe', 'gripper')), known)[1]
    assert reading.state.stored == ('hip', 'knee', 'toe', 'gripper')


def test_degrees_for_radians_are_refused_with_how_far_both_go(tmp_path, own):
    known, turned = trained(own), robot_set(tmp_path / 'turned', J, edit=degrees)
    text = refused(turned, known)
    for words in ('observation.state (j1, j2, j3)', 'read as radians', 'up to about 0.',
                  f'dysl import {turned} FOLDER --units degrees'):  # fmt: skip
        assert words in text, text
    text = refused(own, trained(turned))
    assert 'read as degrees' in text and 'with dysl import' in text
    before = replace(known.state, farthest=(), stored=(), order=())
    assert 'up to about 6.28, read as radians' in refused(turned, replace(known, state=before))


@pytest.mark.parametrize('kind', ['state', 'action'])
def test_one_side_in_other_units_is_refused_by_its_column(tmp_path, own, kind):
    folder = robot_set(tmp_path / 'set', J,
                       edit=lambda k, v: degrees(k, v) if k == kind else v)  # fmt: skip
    column = 'observation.state' if kind == 'state' else 'action'
    assert f'{column} (j1, j2, j3)' in refused(folder, trained(own))


def test_a_gripper_up_to_100_is_not_read_as_one_up_to_1(tmp_path, own):
    folder = robot_set(tmp_path / 'set', J, edit=lambda kind, v: v * (1, 1, 1, 100))
    assert 'observation.state (gripper)' in refused(folder, trained(own))


def test_another_rate_and_other_pictures_are_named(tmp_path, own):
    known = trained(own)
    text = refused(robot_set(tmp_path / 'fast', J, fps=20), known)
    assert 'fps = 20.0: expected 10' in text
    text = refused(robot_set(tmp_path / 'seen', J, cameras=('top',)), known)
    assert "['top']" in text and 'observation.images.front' in text


@pytest.mark.timeout(900)
def test_no_command_reads_another_robots_set_by_a_checkpoint(tmp_path, own, capsys):
    out = tmp_path / 'dense'
    words = ['--out', str(out), '--preset', 'toy', '--image-size', '32']
    assert main(['train', str(own), *words]) == 0
    dense = str(out / 'dense.safetensors')
    other = robot_set(tmp_path / 'other', ('hip', 'knee', 'toe', 'gripper'))
    turned = robot_set(tmp_path / 'turned', J, edit=degrees)
    again = str(tmp_path / 'again')
    capsys.readouterr()
    for folder, said in ((other, 'names of observation.state'), (turned, 'read as radians')):
        for call in (
            ['train', str(folder), '--start', dense, '--out', again, '--preset', 'toy'],
            ['distill', dense, '--dataset', str(folder), '--out', again, '--preset', 'toy'],
            ['calibrate', dense, '--dataset', str(folder)],
        ):
            assert main(call) == 2
            assert said in capsys.readouterr().err
    swapped = robot_set(tmp_path / 'swapped', J, ('j3', 'j1', 'j2', 'gripper'))
    assert main(['calibrate', dense, '--dataset', str(swapped)]) == 0
    assert 'read by name' in ' '.join(capsys.readouterr().out.split())
