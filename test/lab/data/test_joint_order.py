"""Which column is which joint: by its name, whatever the order of state and action is."""

from __future__ import annotations

import numpy as np
import pytest
from robot_files import robot_set

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice

J = ('j1', 'j2', 'j3', 'j4')


def read(folder, **choice):
    """Reading, states and actions of the first episode."""
    _, reading, rows = read_set(str(folder), SetChoice(image_size=32, **choice))
    numbers = rows[0].numbers
    return reading, reading.state.read(numbers), reading.action.read(numbers)


def refused(folder, **choice):
    with pytest.raises(ConfigError) as caught:
        read_set(str(folder), SetChoice(image_size=32, **choice))
    return str(caught.value)


def next_state(state, action):
    np.testing.assert_allclose(action[:-1], state[1:], atol=1e-4)


def test_actions_in_another_order_are_put_into_that_of_the_state_and_it_is_told(tmp_path):
    folder = robot_set(tmp_path / 'set', J, J[::-1])
    reading, state, action = read(folder)
    next_state(state, action)
    assert reading.state.names == reading.action.names == J
    assert any('action: j4, j3, j2, j1 put into the order of the state: j1, j2, j3, j4' in line
               for line in reading.told)  # fmt: skip
    assert reading.space == 'joint_position'


def test_what_is_trained_exported_and_imported_has_one_order(tmp_path):
    import json

    from dysl_vla_ros.cli.main import main
    from dysl_vla_ros.lab.data.lerobot import open_lerobot
    from dysl_vla_ros.lab.learn.robot_policy import fresh

    folder = robot_set(tmp_path / 'set', J, J[::-1])
    data, reading, rows = read_set(str(folder), SetChoice(image_size=32))
    samples = load_robot_samples(data, reading, rows)
    toy = {'layers': 4, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
           'auxiliary_layer': 1}  # fmt: skip
    assert fresh(samples.training, reading, toy, 0).robot.joint_names == J
    # Inside a chunk the joints go on from where they stood.
    first = samples.training.chunk[:, 0] - samples.training.proprioception
    assert np.abs(first).max() < 0.08
    assert main(['import', str(folder), str(tmp_path / 'new'), '--pictures', 'png']) == 0
    columns = open_lerobot(tmp_path / 'new').columns
    assert columns['action'].names == columns['observation.state'].names == J
    next_state(*read(tmp_path / 'new')[1:])
    assert json.dumps(reading.as_json())


@pytest.mark.parametrize(
    ('state', 'action'),
    [
        (('gripper', *J), (*J, 'gripper')),
        ((*J, 'gripper'), ('gripper', *J)),
        (('j1', 'gripper', 'j2', 'j3'), ('j1', 'gripper', 'j2', 'j3')),
    ],
)
def test_a_gripper_ends_the_arm_wherever_the_set_keeps_it(tmp_path, state, action):
    reading, stood, said = read(robot_set(tmp_path / 'set', state, action))
    assert reading.state.names == reading.action.names
    assert reading.state.names[-1] == 'gripper'
    assert reading.state.gripper == reading.action.gripper == (len(state) - 1,)
    next_state(stood[:, :-1], said[:, :-1])
    assert said[:, -1].min() >= 0.0 and said[:, -1].max() <= 1.0
    if state[-1] != 'gripper':
        assert any('gripper taken for the opening' in line and '--gripper none' in line
                   for line in reading.told)  # fmt: skip


def test_a_gripper_that_moves_like_a_joint_stays_one_where_the_user_says_so(tmp_path):
    names = ('j1', 'gripper', 'j2')
    reading, state, action = read(robot_set(tmp_path / 'set', names), gripper=('none',))
    assert (reading.state.names, reading.state.gripper) == (names, ())
    next_state(state, action)


def test_grippers_of_two_arms_that_end_neither_are_told_with_what_settles_it(tmp_path):
    names = ('left_gripper', 'l1', 'l2', 'right_gripper', 'r1', 'r2')
    folder = robot_set(tmp_path / 'set', names)
    reading, _, _ = read(folder)
    assert reading.state.gripper == ()
    assert any('taken for joints in radians: --only NAME' in line for line in reading.told)
    said = ('l1', 'l2', 'left_gripper', 'r1', 'r2', 'right_gripper')
    settled, state, action = read(folder, only=said)
    assert settled.state.names == settled.action.names == said
    assert settled.state.gripper == (2, 5)
    next_state(state[:, [0, 1, 3, 4]], action[:, [0, 1, 3, 4]])
    assert '--only NAME' in refused(folder, gripper=('left_gripper', 'right_gripper'))


def test_a_gripper_that_state_and_action_call_otherwise_is_one_gripper(tmp_path):
    folder = robot_set(tmp_path / 'set', ('finger_joint', *J), (*J, 'gripper'),
                       true_names={'finger_joint': 'gripper'})  # fmt: skip
    reading, _, _ = read(folder)
    assert reading.action.names == (*J, 'finger_joint')
    assert 'gripper of the action is finger_joint of the state' in reading.told
    one, _, _ = read(folder, only=('j2', 'j1', 'gripper', 'j3', 'j4'))
    assert one.action.names == ('j2', 'j1', 'j3', 'j4', 'gripper')
    assert one.state.names == ('j2', 'j1', 'j3', 'j4')


def test_an_opening_that_only_the_action_has_ends_it(tmp_path):
    folder = robot_set(tmp_path / 'set', ('j2', 'j1', 'j3', 'j4'), ('gripper', *J))
    reading, state, action = read(folder)
    assert reading.action.names == ('j2', 'j1', 'j3', 'j4', 'gripper')
    assert (reading.state.gripper, reading.action.gripper) == ((), (4,))
    next_state(state, action[:, :4])


@pytest.mark.parametrize('named', [(False, False), (True, False), (False, True)])
def test_place_counts_where_a_side_has_no_names(tmp_path, named):
    names = (*J, 'gripper')
    folder = robot_set(tmp_path / 'set', names, named=named)
    reading, state, action = read(folder)
    assert reading.state.names == reading.action.names
    next_state(state[:, :4], action[:, :4])
    assert any('without names: both are taken in one order' in line for line in reading.told)
    assert reading.state.gripper == reading.action.gripper == ((4,) if any(named) else ())
    if any(named):
        assert reading.state.names == names


def test_names_that_do_not_match_name_both_lists_and_the_option_that_matches_them(tmp_path):
    called = {f'a{n}': f'j{n}' for n in range(1, 5)}
    folder = robot_set(tmp_path / 'set', J, ('a2', 'a1', 'a3', 'a4'), true_names=called)
    text = refused(folder)
    for words in ("['a2', 'a1', 'a3', 'a4']", "['j1', 'j2', 'j3', 'j4']",
                  '--action-names j1 j2 j3 j4'):  # fmt: skip
        assert words in text, text
    reading, state, action = read(folder, action_names=('j2', 'j1', 'j3', 'j4'))
    assert reading.action.names == J
    next_state(state, action)
    assert 'action-names: 4 different names, of a2, a1, a3, a4' in refused(
        folder, action_names=('j1', 'j1', 'j3', 'j4'))  # fmt: skip


def test_other_names_of_the_robot_follow_the_joint_and_not_the_place(tmp_path):
    folder = robot_set(tmp_path / 'set', ('gripper', *J), (*J[::-1], 'gripper'))
    reading, state, action = read(folder, joint_names=('hip', 'knee', 'ankle', 'toe'))
    assert reading.state.names == reading.action.names == ('hip', 'knee', 'ankle', 'toe',
                                                           'gripper')  # fmt: skip
    next_state(state[:, :4], action[:, :4])
    assert reading.state.stored == (*J, 'gripper')


@pytest.mark.parametrize(
    ('state', 'action', 'surplus', 'only'),
    [
        ((*J, 'v1', 'v2', 'v3', 'v4'), J, 'v1, v2, v3, v4', 'j1 j2 j3 j4'),
        (J, J[1:], 'j1', 'j2 j3 j4'),
        (('torso', *J, 'gripper'), (*J, 'gripper'), 'torso', 'j1 j2 j3 j4 gripper'),
        (('torso', *J), (*J, 'gripper'), 'torso', 'j1 j2 j3 j4 gripper'),
    ],
)
def test_numbers_that_are_read_and_never_moved_are_refused_before_any_row_is_read(
    tmp_path, monkeypatch, state, action, surplus, only
):
    folder = robot_set(tmp_path / 'set', state, action)
    from dysl_vla_ros.lab.data import robot_samples

    with monkeypatch.context() as unread:
        unread.setattr(robot_samples, 'read_rows', None)
        text = refused(folder)
    assert f'observation.state: {surplus} =' in text and text.endswith(f'--only {only}'), text
    reading, stood, said = read(folder, only=tuple(only.split()))
    assert reading.action.names == tuple(only.split())
    joints = [name for name in reading.state.names if name != 'gripper']
    assert joints == [name for name in reading.action.names if name != 'gripper']
    next_state(stood[:, :3], said[:, :3])


def test_a_choice_of_numbers_that_are_none_of_the_set_names_those_that_are(tmp_path):
    folder = robot_set(tmp_path / 'set', J)
    assert "only = ['j9']: expected names of numbers: ['j1', 'j2'" in refused(
        folder, only=('j1', 'j9'))  # fmt: skip
    assert 'each name once' in refused(folder, only=('j1', 'j1'))


def test_a_pose_is_not_matched_with_joints_and_what_is_read_is_told(tmp_path):
    pose = ('x', 'y', 'z', 'roll', 'pitch', 'yaw')
    folder = robot_set(tmp_path / 'set', (*J, 'v1'), ('gripper', *pose))
    reading, _, _ = read(folder)
    assert reading.space == 'eef_delta'
    moved = (*pose[:3], 'rx', 'ry', 'rz', 'gripper')
    assert reading.action.names == moved
    assert any('joints that are read: j1, j2, j3, j4, v1; the arm must have them all' in line
               for line in reading.told)  # fmt: skip
    chosen, _, _ = read(folder, only=J)
    assert (chosen.state.names, chosen.action.names) == (J, moved)
