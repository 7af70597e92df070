"""Poses at joint limits, posture of arms with joints to spare, arms with too few joints."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")

from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.rotations import rotation_matrix, rotation_vector

QUARTER = np.pi / 2
# Link lengths and limits of the Franka Emika Panda (its data sheet; Craig's convention).
SEVEN = [
    ('0 0 0.333', 0, -2.74, 2.74), ('0 0 0', -QUARTER, -1.78, 1.78),
    ('0 -0.316 0', QUARTER, -2.90, 2.90), ('0.0825 0 0', QUARTER, -3.04, -0.15),
    ('-0.0825 0.384 0', -QUARTER, -2.81, 2.81), ('0 0 0', QUARTER, 0.54, 4.52),
    ('0.088 0 0', QUARTER, -3.02, 3.02),
]  # fmt: skip
READY = np.array([0, -0.785, 0, -2.356, 0, 1.571, 0.785])
# Of the SO-ARM100's kind: pan, three joints in a plane, roll.
FIVE = [
    ('0 0 0.06', '0 0 1'), ('0.03 0 0.05', '0 1 0'), ('0.11 0 0.03', '0 1 0'),
    ('0.13 0 0', '0 1 0'), ('0.06 0 0', '1 0 0'),
]  # fmt: skip
BENT = np.array([0.1, -0.4, 0.5, 0.3, 0.0])


def chain(joints, tip='0 0 0.21'):
    links = ''.join(f'<link name="l{i}"/>' for i in range(len(joints) + 1))
    text = ''.join(
        f'<joint name="j{i + 1}" type="revolute"><parent link="l{i}"/><child link="l{i + 1}"/>'
        f'<origin xyz="{xyz}" rpy="{roll} 0 0"/><axis xyz="{axis}"/>'
        f'<limit lower="{low}" upper="{high}" effort="87" velocity="2.5"/></joint>'
        for i, (xyz, roll, axis, low, high) in enumerate(joints)
    )
    end = (
        f'<link name="tip"/><joint name="t" type="fixed"><parent link="l{len(joints)}"/>'
        f'<child link="tip"/><origin xyz="{tip}"/></joint>'
    )
    names = [f'j{i + 1}' for i in range(len(joints))]
    return ArmKinematics(f'<robot name="r">{links}{text}{end}</robot>', names, 'tip', 'l0')


@pytest.fixture(scope='module')
def seven():
    return chain([(xyz, roll, '0 0 1', low, high) for xyz, roll, low, high in SEVEN])


@pytest.fixture(scope='module')
def five():
    return chain([(xyz, 0, axis, -2.0, 2.0) for xyz, axis in FIVE], tip='0.08 0 0')


def turn_between(one, other):
    return float(np.linalg.norm(rotation_vector(other @ one.T)))


@pytest.mark.parametrize('joint', range(7))
def test_with_a_joint_at_its_limit_poses_that_can_be_reached_are_found(seven, joint):
    """Of each pose a solution within 0.1 rad of the seed is known; a joint stands at its limit."""
    rng = np.random.default_rng(joint)
    low, high = seven.limits.lower, seven.limits.upper
    found = 0
    for index in range(60):
        seed = np.clip(READY + rng.uniform(-0.3, 0.3, 7), low, high)
        seed[joint] = (low, high)[index % 2][joint]
        known = np.clip(seed + rng.uniform(-0.1, 0.1, 7), low, high)
        position, rotation = seven.forward(known)
        try:
            joints = seven.inverse(seed, position, rotation)
        except KinematicsError:
            continue
        found += 1
        there, turned = seven.forward(joints)
        assert np.linalg.norm(there - position) < 1e-4 and turn_between(rotation, turned) < 1e-3
        assert (joints >= low).all() and (joints <= high).all()
        assert np.abs(joints - seed).max() < 0.5  # the same configuration of the arm
    assert found >= 57


def test_between_two_poses_the_arm_does_not_change_its_configuration(seven):
    """From stretched and folded poses with joints at their limits: refused, or near straight."""
    rng = np.random.default_rng(1)
    low, high = seven.limits.lower, seven.limits.upper
    words, widest, jumps = [], 0.0, 0
    for _ in range(400):
        seed, at_limit = rng.uniform(low, high), rng.random(7) < 0.4
        seed[at_limit] = np.where(rng.random(at_limit.sum()) < 0.5, low[at_limit], high[at_limit])
        position, rotation = seven.forward(seed)
        goal = position + rng.uniform(-0.05, 0.05, 3)
        wanted = rotation_matrix(rng.uniform(-0.3, 0.3, 3)) @ rotation
        try:
            jumps += np.abs(seven.inverse(seed, goal, wanted) - seed).max() > 1.3
            joints = seven.inverse_chunk(seed, goal[None], wanted[None])[0]
        except KinematicsError as error:
            words.append(str(error))
            continue
        middle = seven.forward(0.5 * (seed + joints))[0]
        widest = max(widest, np.linalg.norm(middle - 0.5 * (position + goal)))
    assert jumps > 0 and widest < 0.05
    assert [text for text in words if text.startswith(
        'action 0: the arm would change its configuration: j')]  # fmt: skip


def test_a_refusal_never_says_that_nothing_is_left(seven):
    """A known solution just beyond a limit: what is missing is little, and is said as it is."""
    rng = np.random.default_rng(3)
    low, high = seven.limits.lower, seven.limits.upper
    words = []
    for scale in np.repeat([1e-4, 1e-3, 1e-2, 0.1], 25):
        seed = np.where(rng.random(7) < 0.8, high, low)
        position, rotation = seven.forward(seed)
        goal = position + scale * rng.uniform(-1, 1, 3)
        wanted = rotation_matrix(scale * rng.uniform(-1, 1, 3)) @ rotation
        try:
            seven.inverse(seed, goal, wanted)
        except KinematicsError as error:
            words.append(str(error))
    left = [text for text in words if 'singularity' not in text]
    assert len(left) > 20
    assert not [text for text in left if ' 0.0 mm' in text or ' 0.000 rad' in text]
    assert all(' away at the nearest; at its limit: j' in text for text in left)


def test_over_many_poses_joints_to_spare_stay_off_their_limits(seven):
    """The tip goes round a circle, and the elbow comes back from its limit instead of staying."""
    low, high = seven.limits.lower, seven.limits.upper
    joints = READY.copy()
    joints[[2, 4]] = high[2] - 0.05, low[4] + 0.05
    position, rotation = seven.forward(joints)
    begin = np.min(np.minimum(joints - low, high - joints))
    for angle in np.linspace(0, 6 * np.pi, 240):
        offset = 0.05 * np.array([np.cos(angle) - 1, np.sin(angle), 0])
        there = seven.inverse(joints, position + offset, rotation)
        assert np.abs(there - joints).max() < 0.2
        joints = there
    assert np.min(np.minimum(joints - low, high - joints)) > begin + 0.2


def test_a_pose_where_the_arm_is_moves_no_joint(seven):
    joints = READY + 0.1
    assert seven.inverse(joints, *seven.forward(joints)) == pytest.approx(joints, abs=1e-9)


def test_bounds_that_are_narrower_than_the_limits_hold(seven):
    low, high = READY - 0.05, READY + 0.05
    for index in range(7):
        goal = READY.copy()
        goal[index] += 0.04
        joints = seven.inverse(READY, *seven.forward(goal), bounds=(low, high))
        assert (joints >= low).all() and (joints <= high).all()


def test_five_joints_follow_the_position_and_as_much_of_the_orientation_as_they_reach(five):
    position, rotation = five.forward(BENT)
    goal = position + [0.0, 0.02, -0.01]
    with pytest.raises(KinematicsError, match='with its orientation is not reached'):
        five.inverse(BENT, goal, rotation)
    errors = {}
    for orientation in ('nearest', 'free'):
        there, turned = five.forward(five.inverse(BENT, goal, rotation, orientation))
        assert np.linalg.norm(there - goal) < 1e-4
        errors[orientation] = turn_between(rotation, turned)
    assert 0.01 < errors['nearest'] < errors['free']


def test_no_joints_near_those_of_nearest_turn_the_tip_closer(five):
    position, rotation = five.forward(BENT)
    goal = position + [0.0, 0.02, -0.01]
    joints = five.inverse(BENT, goal, rotation, 'nearest')
    least = turn_between(rotation, five.forward(joints)[1])
    rng = np.random.default_rng(0)
    for _ in range(100):
        other = five.inverse(joints + rng.uniform(-0.05, 0.05, 5), goal, rotation, 'free')
        assert turn_between(rotation, five.forward(other)[1]) > least - 1e-3


def test_an_orientation_that_five_joints_reach_is_reached_with_nearest(five):
    goal = BENT + [0.05, -0.05, 0.1, 0.05, 0.2]
    joints = five.inverse(BENT, *five.forward(goal), 'nearest')
    assert joints == pytest.approx(goal, abs=1e-3)


def test_a_position_out_of_reach_is_refused_whatever_the_orientation(five):
    for orientation in ('nearest', 'free'):
        with pytest.raises(KinematicsError, match=r'\d+\.\d mm away at the nearest'):
            five.inverse(BENT, np.array([2.0, 0, 0]), np.eye(3), orientation)
