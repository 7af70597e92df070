"""Units of state and action are judged each, said, and asked for where they contradict."""

from __future__ import annotations

import numpy as np
import pytest
from robot_files import robot_set

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.robot_samples import read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice

J = ('j1', 'j2', 'j3', 'j4')


def degrees(*kinds, joints=(0, 1, 2, 3)):
    def edit(kind, values):
        factor = np.ones(values.shape[1])
        factor[list(joints)] = np.rad2deg(1.0) if kind in kinds else 1.0
        return values * factor

    return edit


def read(folder, **choice):
    _, reading, rows = read_set(str(folder), SetChoice(image_size=32, **choice))
    return reading, reading.state.read(rows[0].numbers), reading.action.read(rows[0].numbers)


def refused(folder, **choice):
    with pytest.raises(ConfigError) as caught:
        read_set(str(folder), SetChoice(image_size=32, **choice))
    return str(caught.value)


def increments(factor=1.0):
    """Of what the next state is, what is added to this one."""

    def edit(kind, values):
        return values if kind == 'state' else factor * np.diff(values, axis=0, append=values[-1:])

    return edit


@pytest.mark.parametrize(
    ('kind', 'units', 'words'),
    [
        ('action', ('radians', 'degrees'), 'j1, j2, j3, j4 about 57 times as large'),
        ('state', ('degrees', 'radians'), 'j1, j2, j3, j4 a 57th times as large'),
    ],
)
def test_units_that_contradict_are_asked_for_and_read_as_they_are_said(
    tmp_path, kind, units, words
):
    folder = robot_set(tmp_path / 'set', J, edit=degrees(kind))
    for choice in ({}, {'space': 'joint_position'}, {'units': 'radians'}):
        text = refused(folder, **choice)
        assert f'--units {units[0]} --action-units {units[1]}' in text and words in text, text
    reading, state, action = read(folder, units=units[0], action_units=units[1])
    assert reading.space == 'joint_position'
    np.testing.assert_allclose(action[:-1], state[1:], atol=1e-3)
    assert np.abs(state).max() < 2.0
    said = refused(folder, units='radians')
    assert 'up to' in said
    told = read(folder, units='radians', space='joint_position')[0].told
    assert any('taken as --action-space and --units say' in line for line in told)


@pytest.mark.parametrize(('which', 'units'), [((), 'radians'), (('state', 'action'), 'degrees')])
def test_units_are_said_of_state_and_action_in_every_case(tmp_path, which, units):
    reading, state, action = read(robot_set(tmp_path / 'set', J, edit=degrees(*which)))
    np.testing.assert_allclose(action[:-1], state[1:], atol=1e-3)
    for column, option in (('observation.state', '--units'), ('action', '--action-units')):
        assert any(line.startswith(f'{column}: joints up to ') and option in line
                   and f'taken for {units}' in line for line in reading.told)  # fmt: skip


def test_one_column_in_other_units_is_named(tmp_path):
    folder = robot_set(tmp_path / 'set', J, edit=degrees('action', joints=(2,)))
    assert 'j3 about 57 times as large' in refused(folder)


def test_one_number_up_to_100_does_not_turn_all_joints_into_degrees(tmp_path):
    names = (*J, 'width')
    folder = robot_set(tmp_path / 'set', names, edit=lambda kind, v: v * (1, 1, 1, 1, 250))
    text = refused(folder)
    assert "units = 'auto': expected radians or degrees" in text
    assert 'only width (up to ' in text and '--gripper' in text
    reading, state, _ = read(folder, gripper=('width',))
    assert reading.state.gain[:4] == (1.0,) * 4 and reading.state.gripper == (4,)
    factors = (100, 1, 1, 1, 1)
    called = robot_set(tmp_path / 'called', ('gripper', *J), edit=lambda kind, v: v * factors)
    reading, state, _ = read(called)
    assert reading.state.gain[:4] == (1.0,) * 4
    assert state[:, 4].max() <= 1.0


def test_increments_in_other_units_are_asked_for(tmp_path):
    folder = robot_set(tmp_path / 'set', J, edit=increments(57.3))
    assert '--units radians --action-units degrees' in refused(folder)
    reading, state, action = read(folder, action_units='degrees')
    assert reading.space == 'joint_delta'
    np.testing.assert_allclose(action[:-2], np.diff(state, axis=0)[1:], atol=1e-3)
    assert read(folder, action_scale=(1 / 57.3,) * 4)[0].space == 'joint_delta'
    assert read(robot_set(tmp_path / 'own', J, edit=increments()))[0].space == 'joint_delta'


def test_actions_that_no_reading_explains_are_asked_for(tmp_path):
    random = np.random.default_rng(0)
    folder = robot_set(tmp_path / 'set', J, edit=lambda kind, v: v if kind == 'state' else
                       random.uniform(-900, 900, v.shape))  # fmt: skip
    text = refused(folder)
    assert 'standard deviations off' in text and '--action-space' in text
    assert any('taken as --action-space and --units say' in line for line in
               read(folder, space='joint_position', units='radians')[0].told)  # fmt: skip


def test_a_joint_that_stands_still_beside_its_command_is_no_contradiction(tmp_path):
    def edit(kind, values):
        values[:, 0] = 0.4 if kind == 'state' else 0.41
        return values

    reading, _, _ = read(robot_set(tmp_path / 'set', J, edit=edit))
    assert reading.space == 'joint_position'


@pytest.mark.parametrize(
    ('factor', 'words'), [(-1.0, 'j2 the other way'), (4.0, 'j2 4 times as large')]
)
def test_a_joint_whose_command_is_turned_or_in_a_unit_of_its_own_is_named(tmp_path, factor, words):
    def edit(kind, values):
        return values * (1.0, factor, 1.0, 1.0) if kind == 'action' else values

    folder = robot_set(tmp_path / 'set', J, edit=edit)
    text = refused(folder)
    assert words in text and 'convert these, or leave them out with --only' in text
    assert 'j1' not in text and 'j3' not in text
    reading, state, action = read(folder, only=('j1', 'j3', 'j4'))
    np.testing.assert_allclose(action[:-1], state[1:], atol=1e-3)


def test_increments_that_go_the_other_way_are_named(tmp_path):
    text = refused(robot_set(tmp_path / 'set', J, edit=increments(-1.0)))
    assert 'j1, j2, j3, j4 the other way' in text


def test_a_joint_whose_command_counts_from_another_zero_is_named(tmp_path):
    def edit(kind, values):
        return values + (0.0, 0.0, np.pi / 2, 0.0) if kind == 'action' else values

    folder = robot_set(tmp_path / 'set', J, edit=edit)
    assert 'another zero than the state: j3 by 1.6 rad' in refused(folder)
    sagging = robot_set(tmp_path / 'sag', J, edit=lambda kind, v: v + 0.15 * (kind == 'action'))
    assert read(sagging)[0].space == 'joint_position'
