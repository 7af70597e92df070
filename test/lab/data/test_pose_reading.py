"""The pose of an end effector: in whatever rotation a set has it, one motion of the robot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from robot_files import robot_set

from dysl_vla_ros.core import transforms
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.pose_names import find_pose
from dysl_vla_ros.lab.data.robot_reading import reading_from
from dysl_vla_ros.lab.data.robot_samples import read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.data.turns import between, middle, quaternions, vectors
from dysl_vla_ros.rotations import (
    roll_pitch_yaw,
    rotation_matrix,
    rotation_of_angles,
    rotation_vector,
)

RPY = ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')
YPR = ('x', 'y', 'z', 'yaw', 'pitch', 'roll', 'gripper')
QUATERNION = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw', 'gripper')


def downwards(times):
    """Positions, and roll, pitch and yaw of a hand that points down and turns."""
    position = np.stack([0.4 + 0.1 * np.sin(times), 0.2 * np.cos(times), 0.3 + 0 * times], 1)
    angles = np.stack([3.0 + 0.3 * np.sin(1.1 * times), 0.2 * np.cos(0.8 * times),
                       1.0 + 0.5 * np.sin(0.6 * times)], 1)  # fmt: skip
    return position, angles


def stored(names, position, angles, opening):
    turned = quaternions(angles)
    parts = dict(zip(('x', 'y', 'z'), position.T, strict=True))
    parts |= dict(zip(('roll', 'pitch', 'yaw'), angles.T, strict=True))
    parts |= dict(zip(('qx', 'qy', 'qz', 'qw'), turned.T, strict=True))
    parts |= dict(zip(('rx', 'ry', 'rz'), vectors(turned, (3.0, 0.0, 0.0)).T, strict=True))
    parts |= {'gripper': opening, 'pad': 0.0 * opening}
    return np.stack([parts[name] for name in names], 1)


def pose_set(folder, state=RPY, action=RPY, increments=None, **others):
    """A set whose actions are the next pose, or what ``increments`` makes of two poses."""

    def edit(kind, values):
        times = np.arange(len(values)) / 10.0
        opening = 0.5 + 0.5 * np.sin(2.0 * times)
        position, angles = downwards(times)
        if kind == 'state':
            return stored(state, position, angles, opening)
        ahead, after = downwards(times + 0.1)
        if increments is not None:
            ahead, after = ahead - position, increments(angles, after)
        return stored(action, ahead, after, opening)

    return robot_set(folder, state, action, edit, **others)


def read(folder, **choice):
    _, reading, rows = read_set(str(folder), SetChoice(**choice))
    numbers = rows[0].numbers
    return reading, reading.state.read(numbers), reading.action.read(numbers)


def refused(folder, **choice):
    with pytest.raises(ConfigError) as found:
        read(folder, **choice)
    return str(found.value)


def differ(one, other):
    """Angle between rotations [rad]."""
    return float(np.linalg.norm(rotation_vector(one @ other.T)))


@pytest.mark.parametrize('state', [RPY, YPR, QUATERNION])
@pytest.mark.parametrize('action', [
    RPY, YPR, QUATERNION, ('gripper', 'pitch', 'y', 'roll', 'x', 'z', 'yaw'),
    ('x', 'y', 'z', 'rx', 'ry', 'rz', 'gripper'),
])  # fmt: skip
def test_the_pose_that_was_stored_is_the_one_that_is_commanded_whatever_its_rotation_and_order(
    tmp_path, state, action
):
    reading, stood, said = read(pose_set(tmp_path / 'set', state, action))
    assert reading.space == 'eef_pose'
    assert reading.source == ('eef_axis_angle' if state == QUATERNION else 'eef_rpy')
    assert reading.action.names == ('x', 'y', 'z', 'rx', 'ry', 'rz', 'gripper')
    times = np.arange(len(said)) / 10.0
    ahead, angles = downwards(times + 0.1)
    positions, turns = transforms.compose_poses(said[:, :6], 'eef_pose', ahead[0], np.eye(3))
    np.testing.assert_allclose(positions, ahead, atol=1e-5)
    assert max(differ(turn, rotation_of_angles(row))
               for turn, row in zip(turns, angles, strict=True)) < 1e-4  # fmt: skip
    np.testing.assert_allclose(said[:, 6], stood[:, 6], atol=1e-5)
    # No jump where the hand passes half a turn.
    assert np.abs(np.diff(said, axis=0)).max() < 0.5
    now, angles = downwards(times)
    np.testing.assert_allclose(stood[:, :3], now, atol=1e-5)
    if state == QUATERNION:
        assert np.abs(np.diff(stood, axis=0)).max() < 0.5
        assert max(differ(rotation_matrix(row), rotation_of_angles(wanted))
                   for row, wanted in zip(stood[:, 3:6], angles, strict=True)) < 1e-4  # fmt: skip
    else:
        np.testing.assert_allclose(stood[:, 3:6], angles, atol=1e-5)
    again = reading_from(json.loads(json.dumps(reading.as_json())))
    assert again == reading


def test_differences_of_roll_pitch_and_yaw_move_the_hand_as_in_the_set(tmp_path):
    folder = pose_set(tmp_path / 'set', increments=lambda now, then: then - now)
    reading, _, said = read(folder)
    assert reading.space == 'eef_delta'
    assert any('differences of roll, pitch and yaw' in line for line in reading.told)
    times = np.arange(len(said)) / 10.0
    _, now = downwards(times)
    _, then = downwards(times + 0.1)
    moved = [differ(rotation_matrix(row) @ rotation_of_angles(one), rotation_of_angles(two))
             for row, one, two in zip(said[:, 3:6], now, then, strict=True)]  # fmt: skip
    assert max(moved) < 1e-4
    halved, _, half = read(folder, action_scale=(1.0,) * 3 + (0.5,) * 3)
    assert halved.action.turn.scale == (0.5,) * 3
    np.testing.assert_allclose(half[:, 3:6], 0.5 * said[:, 3:6], atol=0.01)


def test_increments_that_turn_about_the_axes_of_the_base_stay_as_they_are_and_it_is_told(tmp_path):
    def about_the_base(now, then):
        return vectors(between(quaternions(now), quaternions(then)))

    reading, _, said = read(pose_set(tmp_path / 'set', increments=about_the_base))
    times = np.arange(len(said)) / 10.0
    wanted = about_the_base(downwards(times)[1], downwards(times + 0.1)[1])
    np.testing.assert_allclose(said[:, 3:6], wanted, atol=1e-5)
    assert any('taken for a rotation vector about the axes of the base' in line
               for line in reading.told)  # fmt: skip


def test_another_order_of_the_angles_is_told(tmp_path):
    reading, _, _ = read(pose_set(tmp_path / 'set', YPR, YPR))
    wanted = 'x, y, z, yaw, pitch, roll read by name, as x, y, z, roll, pitch, yaw'
    assert f'observation.state: {wanted}' in reading.told and f'action: {wanted}' in reading.told
    assert 'action: roll, pitch and yaw read as a rotation vector' in reading.told


@pytest.mark.parametrize(('names', 'rotation'), [
    (('ee.x', 'ee.y', 'ee.z', 'ee.wx', 'ee.wy', 'ee.wz'), 'vector'),
    (('position.x', 'position.y', 'position.z', 'orientation.x', 'orientation.y',
      'orientation.z', 'orientation.w'), 'quaternion'),
    (('eef_x', 'eef_y', 'eef_z', 'eef_rpy_0', 'eef_rpy_1', 'eef_rpy_2'), 'angles'),
    (('dx', 'dy', 'dz', 'droll', 'dpitch', 'dyaw'), 'angles'),
    (('x', 'y', 'z', 'axis_angle1', 'axis_angle2', 'axis_angle3'), 'vector'),
    (('pos_x', 'pos_y', 'pos_z', 'euler_x', 'euler_y', 'euler_z'), 'angles'),
    (('wrist_roll', 'wrist_pitch', 'x', 'y', 'z', 'shoulder_yaw'), None),
    (('x.vel', 'y.vel', 'theta.vel'), None),
    (('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'qx', 'qy', 'qz', 'qw'), None),
])  # fmt: skip
def test_a_pose_is_known_by_the_names_of_its_numbers(names, rotation):
    found = find_pose(names)
    assert (found.rotation if found else None) == rotation
    if found:
        assert (*found.position, *found.turn) == tuple(range(len(names)))


@pytest.mark.parametrize(('state', 'action', 'words'), [
    ((*RPY[:6], 'pad', 'gripper'), RPY,
     'pad =.*--only x y z roll pitch yaw gripper$'),
    ((*RPY[:6], 'pad', 'gripper'), (*RPY[:6], 'pad', 'gripper'),
     'pad =.*--only x y z roll pitch yaw gripper$'),
    (('j1', 'j2', *RPY), RPY, 'j1, j2 =.*--only x y z roll pitch yaw gripper$'),
    (('x', 'y', 'z', 'r1', 'r2', 'r3', 'r4', 'r5', 'r6', 'gripper'), RPY,
     'names of observation.state .* 6 or 9 numbers. are converted first'),
    (('j1', 'j2', 'gripper'), ('x', 'y', 'z', 'r1', 'r2', 'r3', 'r4', 'r5', 'r6', 'gripper'),
     'names of action .* 6 or 9 numbers. are converted first'),
    (('j1', 'j2'), ('dx', 'dy', 'dz', 'roll', 'pitch', 'heading'), 'roll pitch yaw'),
    (('j1', 'j2'), (*RPY, 'gripper_2'), 'one at most'),
])  # fmt: skip
def test_a_layout_that_no_bundle_can_have_is_refused_before_any_row_is_read(
    tmp_path, monkeypatch, state, action, words
):
    from dysl_vla_ros.lab.data import robot_samples

    folder = robot_set(tmp_path / 'set', state, action)
    with monkeypatch.context() as unread:
        unread.setattr(robot_samples, 'read_rows', None)
        with pytest.raises(ConfigError, match=words) as found:
            read(folder)
    _, line, only = str(found.value).partition('--only ')
    if line and only.startswith('x y z roll'):
        reading, _, _ = read(folder, only=tuple(only.split()))
        assert reading.state.names == RPY
        assert reading.action.names == ('x', 'y', 'z', 'rx', 'ry', 'rz', 'gripper')


def test_vectors_and_quaternions_are_those_of_the_node():
    random = np.random.default_rng(0)
    angles = random.uniform(-3.1, 3.1, (50, 3))
    turned = quaternions(angles)
    for row, vector in zip(angles, vectors(turned), strict=True):
        np.testing.assert_allclose(rotation_vector(rotation_of_angles(row)), vector, atol=1e-9)
        again = rotation_of_angles(roll_pitch_yaw(rotation_of_angles(row)))
        assert differ(again, rotation_matrix(vector)) < 1e-7
    for one, two, turn in zip(angles, angles[1:], vectors(between(turned[:-1], turned[1:])),
                              strict=False):  # fmt: skip
        assert differ(rotation_matrix(turn) @ rotation_of_angles(one),
                      rotation_of_angles(two)) < 1e-6  # fmt: skip
    one = quaternions(np.full((1, 3), 0.2))
    np.testing.assert_allclose(middle(np.repeat(one, 5, 0)), vectors(one)[0], atol=1e-9)
    still = vectors(np.array([[0.0, 0.0, 0.0, 1.0]]), (0.1, 0.0, 0.0))
    np.testing.assert_allclose(still, 0.0, atol=1e-12)


@pytest.mark.parametrize(('kinds', 'factor', 'words'), [
    (('state', 'action'), [1000.0] * 3 + [1.0] * 4,
     'observation.state: position = .up to 500.*metres.*convert'),
    (('action',), [1000.0] * 3 + [1.0] * 4,
     'action: position = .*--action-scale 0.001 0.001 0.001'),
    (('state', 'action'), [1.0] * 3 + [57.3] * 3 + [1.0],
     'observation.state: rotation = .up to 189.*radians.*convert'),
    (('action',), [1.0] * 3 + [57.3] * 3 + [1.0],
     'action: rotation = .*--action-scale 1 1 1 0.01745'),
])  # fmt: skip
def test_a_pose_in_millimetres_or_degrees_is_refused(tmp_path, kinds, factor, words):
    state = RPY if 'state' in kinds else ('j1', 'j2', 'gripper')
    if state != RPY:
        folder = robot_set(tmp_path / 'joints', state, RPY, lambda kind, values: values * (
            [1.0] if kind == 'state' else np.array(factor) * [1, 1, 1, 3, 3, 3, 1]))  # fmt: skip
    else:
        folder = robot_set(tmp_path / 'poses', RPY, edit=lambda kind, values: scaled(
            kind, values, factor))  # fmt: skip
    with pytest.raises(ConfigError, match=words) as found:
        read(folder, space='eef_pose')
    _, _, right = str(found.value).partition('--action-scale ')
    if right:
        scale = tuple(float(word) for word in right.split()[:6])
        _, _, said = read(folder, space='eef_pose', action_scale=scale)
        assert np.abs(said).max() < 7.0


def scaled(kind, values, factor):
    times = np.arange(len(values)) / 10.0 + (0.1 if kind == 'action' else 0.0)
    opening = 0.5 + 0.5 * np.sin(2.0 * times)
    return stored(RPY, *downwards(times), opening) * factor


@pytest.mark.parametrize(('names', 'increments'), [
    (RPY, None), (QUATERNION, None), (RPY, lambda now, then: then - now),
])  # fmt: skip
def test_a_set_of_another_order_and_one_of_dysl_import_are_read_as_the_checkpoints_was(
    tmp_path, names, increments
):
    from dysl_vla_ros.cli.main import main

    known, stood, said = read(pose_set(tmp_path / 'set', names, names, increments))
    turned = (*names[3:-1][::-1], *names[:3], names[-1])
    other = pose_set(tmp_path / 'other', turned, turned, increments)
    out = tmp_path / 'out'
    assert main(['import', str(tmp_path / 'set'), str(out), '--pictures', 'png']) == 0
    for folder in (tmp_path / 'set', other, out):
        _, again, rows = read_set(str(folder), SetChoice(), known)
        np.testing.assert_allclose(again.state.read(rows[0].numbers), stood, atol=1e-5)
        np.testing.assert_allclose(again.action.read(rows[0].numbers), said, atol=1e-5)
    fresh, state, action = read(out)
    assert (fresh.space, fresh.source) == (known.space, known.source)
    np.testing.assert_allclose(state, stood, atol=1e-5)
    np.testing.assert_allclose(action, said, atol=1e-5)


@pytest.mark.timeout(1800)
def test_a_set_of_quaternions_becomes_a_bundle(tmp_path):
    from dysl_vla_ros.bundle.folder import open_bundle
    from dysl_vla_ros.cli.main import main

    folder, out = pose_set(tmp_path / 'set', QUATERNION, QUATERNION), tmp_path / 'out'
    toy = ('--preset', 'toy')
    assert main(['train', str(folder), '--out', str(out), *toy]) == 0
    dense = str(out / 'dense.safetensors')
    assert main(['distill', dense, '--dataset', str(folder), '--out', str(out / 'd'), *toy]) == 0
    policy = str(out / 'd/policy.safetensors')
    assert main(['calibrate', policy, '--dataset', str(folder)]) == 0
    assert main(['export', policy, str(out / 'bundle')]) == 0
    manifest = open_bundle(out / 'bundle').manifest
    assert (manifest.action.space, manifest.action.dim) == ('eef_pose', 7)
    assert (manifest.proprioception.source, manifest.proprioception.dim) == ('eef_axis_angle', 7)
    reach = np.asarray(manifest.action.displacement.high[:6])
    assert reach.max() < 0.2, 'steps, and no poses'
