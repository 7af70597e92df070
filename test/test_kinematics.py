"""Poses of the tip, joints for a pose, and what is refused in which words."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")

from dysl_vla_ros.data_types import JointLimits
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.kinematics import SINGULAR, ArmKinematics
from dysl_vla_ros.rotations import rotation_matrix, rotation_vector
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.robot_description import urdf

HOME = arm.home_joints()
LIMIT = '<limit lower="-2" upper="2.5" velocity="3" effort="5"/>'


def joint(name, parent, child, kind='revolute', axis='0 1 0', xyz='0 0 0.3', limit=LIMIT):
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}"/><axis xyz="{axis}"/>{limit}</joint>'
    )


def robot(*joints, links=('base', 'one', 'two', 'tip')):
    return '<robot name="r">' + ''.join(f'<link name="{n}"/>' for n in links) + (
        ''.join(joints) + '</robot>')  # fmt: skip


def planar(kind='revolute', second='revolute'):
    """Two joints about y, 0.3 m apart, a tip 0.2 m beyond the second."""
    return robot(
        joint('a', 'base', 'one', kind),
        joint('b', 'one', 'two', second),
        joint('c', 'two', 'tip', 'fixed', xyz='0 0 0.2', limit=''),
    )


@pytest.fixture(scope='module')
def ur():
    return ArmKinematics(urdf(), arm.JOINT_NAMES, arm.TIP_LINK, arm.BASE_LINK)


def refusal(make):
    with pytest.raises(KinematicsError) as caught:
        make()
    return str(caught.value)


def test_the_pose_of_a_planar_arm_is_the_one_that_geometry_gives():
    position, rotation = ArmKinematics(planar(), ['a', 'b'], 'tip', 'base').forward(
        np.array([0.4, 0.7])
    )
    sum_ = 0.4 + 0.7
    assert position == pytest.approx(
        [0.3 * np.sin(0.4) + 0.2 * np.sin(sum_), 0.0,
         0.3 + 0.3 * np.cos(0.4) + 0.2 * np.cos(sum_)]
    )  # fmt: skip
    assert rotation_vector(rotation) == pytest.approx([0.0, sum_, 0.0])


def test_joints_come_in_the_order_of_the_names_and_others_stay_at_zero():
    forward = ArmKinematics(planar(), ['b', 'a'], 'tip', 'base').forward
    one_way = ArmKinematics(planar(), ['a', 'b'], 'tip', 'base').forward(np.array([0.4, 0.7]))
    assert forward(np.array([0.7, 0.4]))[0] == pytest.approx(one_way[0])
    alone = ArmKinematics(planar(), ['b'], 'tip', 'base')
    assert alone.forward(np.array([0.7]))[0] == pytest.approx(
        [0.2 * np.sin(0.7), 0.0, 0.6 + 0.2 * np.cos(0.7)]
    )


def test_poses_are_in_the_frame_of_the_base_link():
    turned = robot(
        joint('turn', 'world', 'base', 'fixed', xyz='1 2 3" rpy="0 0 1.5707963267948966',
              limit=''),
        joint('a', 'base', 'one'),
        links=('world', 'base', 'one'),
    )  # fmt: skip
    own = ArmKinematics(turned, ['a'], 'one', 'base')
    other = ArmKinematics(turned, ['a'], 'one', 'world')
    joints = np.array([0.5])
    assert own.forward(joints)[0] == pytest.approx([0.0, 0.0, 0.3])
    assert other.forward(joints)[0] == pytest.approx([1.0, 2.0, 3.3])
    assert own.jacobian(joints)[3:, 0] == pytest.approx([0.0, 1.0, 0.0])
    assert other.jacobian(joints)[3:, 0] == pytest.approx([-1.0, 0.0, 0.0], abs=1e-12)


def test_the_jacobian_is_what_small_steps_of_the_joints_do(ur):
    step, columns = 1e-6, []
    position, rotation = ur.forward(HOME)
    for index in range(6):
        moved = HOME.copy()
        moved[index] += step
        there, turned = ur.forward(moved)
        columns.append([*(there - position) / step, *rotation_vector(turned @ rotation.T) / step])
    assert ur.jacobian(HOME) == pytest.approx(np.array(columns).T, abs=1e-5)


@pytest.mark.parametrize('seed', range(5))
def test_the_inverse_finds_the_joints_of_a_pose_nearby(ur, seed):
    rng = np.random.default_rng(seed)
    goal = HOME + rng.uniform(-0.3, 0.3, 6)
    position, rotation = ur.forward(goal)
    found = ur.inverse(HOME, position, rotation)
    assert found == pytest.approx(goal, abs=1e-3)
    there, turned = ur.forward(found)
    assert np.linalg.norm(there - position) < 1e-6
    assert np.linalg.norm(rotation_vector(turned @ rotation.T)) < 1e-5


def test_a_turn_of_the_tip_alone_is_found_too(ur):
    position, rotation = ur.forward(HOME)
    wanted = rotation_matrix(np.array([0.0, 0.2, 0.1])) @ rotation
    there, turned = ur.forward(ur.inverse(HOME, position, wanted))
    assert there == pytest.approx(position, abs=1e-6)
    assert turned == pytest.approx(wanted, abs=1e-5)


def test_a_pose_out_of_reach_is_refused_with_what_is_left_and_which_joint_is_at_its_limit():
    kinematics = ArmKinematics(planar(), ['a', 'b'], 'tip', 'base')
    message = refusal(
        lambda: kinematics.inverse(np.zeros(2), np.array([0.0, 0.0, -9.0]), np.eye(3))
    )
    assert re.fullmatch(
        r'position \[0\.0, 0\.0, -9\.0\] m with its orientation is not reached from joints '
        r'\[0\.0, 0\.0\]: \d+\.\d mm( and \d\.\d{3} rad)? away at the nearest; '
        r'expected a pose inside the workspace', message
    )  # fmt: skip
    high = kinematics.forward(np.array([0.0, 2.5]))
    beyond = rotation_matrix(np.array([0.0, 2.9, 0.0]))
    message = refusal(lambda: kinematics.inverse(np.array([0.0, 2.4]), high[0], beyond))
    assert 'at its limit: b = 2.500' in message and 'a = ' not in message.split('limit:')[1]


def test_an_inverse_never_leaves_the_limits():
    kinematics = ArmKinematics(planar(), ['a', 'b'], 'tip', 'base')
    inside = kinematics.forward(np.array([1.0, 2.5]))
    found = kinematics.inverse(np.array([1.0, 2.6]), *inside)  # a seed beyond the limit
    assert found[1] <= 2.5 and found == pytest.approx([1.0, 2.5], abs=1e-5)


def test_a_pose_near_a_singularity_is_refused_but_leaving_one_is_allowed(ur):
    stretched = HOME.copy()
    stretched[4] = 0.01  # the axes of the first and the last wrist joint are in line
    assert ur.smallest_singular_value(stretched) < SINGULAR < ur.smallest_singular_value(HOME)
    near = stretched.copy()
    near[4] = -0.05
    message = refusal(lambda: ur.inverse(near, *ur.forward(stretched)))
    value = ur.smallest_singular_value(stretched)
    assert f'smallest singular value {value:.4f} of the Jacobian, expected at least 0.02' in (
        message
    )
    assert 'lies near a singularity of the arm' in message
    assert ur.inverse(stretched, *ur.forward(near)) == pytest.approx(near, abs=1e-3)


def test_a_chunk_of_poses_is_followed_each_from_the_one_before(ur):
    goals = HOME + np.linspace(0.0, 0.8, 9)[1:, None] * np.array([1, 0, 0, 0, 0, 1])
    poses = [ur.forward(goal) for goal in goals]
    positions, rotations = (np.array(part) for part in zip(*poses, strict=True))
    assert ur.inverse_chunk(HOME, positions, rotations) == pytest.approx(goals, abs=1e-3)
    assert ur.inverse_chunk(HOME, positions[:0], rotations[:0]).shape == (0, 6)


def test_an_action_of_a_chunk_that_cannot_be_reached_is_named(ur):
    position, rotation = ur.forward(HOME)
    far = np.array([position, position + [0, 0, 9.0]])
    message = refusal(lambda: ur.inverse_chunk(HOME, far, np.array([rotation, rotation])))
    assert message.startswith('action 1: position [')


def test_a_joint_without_limits_is_endless_and_a_turn_changes_nothing():
    kinematics = ArmKinematics(planar(kind='continuous'), ['a', 'b'], 'tip', 'base')
    assert kinematics.limits.lower.tolist() == [-np.inf, -2.0]
    assert kinematics.limits.upper.tolist() == [np.inf, 2.5]
    assert kinematics.limits.velocity.tolist() == [3.0, 3.0]
    turned = kinematics.forward(np.array([0.4 + 2 * np.pi, 0.7]))
    assert turned[0] == pytest.approx(kinematics.forward(np.array([0.4, 0.7]))[0])


def test_a_sliding_joint_slides():
    kinematics = ArmKinematics(planar(second='prismatic'), ['b'], 'tip', 'base')
    assert kinematics.forward(np.array([0.25]))[0] == pytest.approx([0.0, 0.25, 0.8])


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ((), 'joint_names = (): expected at least one, each once'),
        (('a', 'a'), "joint_names = ('a', 'a'): expected at least one, each once"),
        (('a', 'x9'), "joint 'x9' is not a movable joint of robot_description: expected some of "
         'a, b'),
        (('c',), "joint 'c' is not a movable joint of robot_description: expected some of a, b"),
    ],
)  # fmt: skip
def test_joint_names_that_do_not_fit_are_refused_with_those_that_would(names, message):
    assert refusal(lambda: ArmKinematics(planar(), names, 'tip', 'base')) == message


def test_a_misspelt_joint_is_answered_with_the_nearest_name():
    message = refusal(lambda: ArmKinematics(urdf(), ['elbow_jiont'], arm.TIP_LINK, arm.BASE_LINK))
    assert "did you mean 'elbow_joint'? expected some of shoulder_pan_joint, " in message


def test_a_joint_of_several_degrees_of_freedom_is_refused():
    floating = robot(joint('a', 'base', 'one', 'floating', limit=''), links=('base', 'one'))
    assert refusal(lambda: ArmKinematics(floating, ['a'], 'one', 'base')) == (
        "joint 'a' has 6 degrees of freedom: expected 1, revolute, continuous or prismatic"
    )


def test_a_link_that_is_not_there_is_refused_with_all_that_are():
    for tip, base, what in (('tap', 'base', 'tip_link'), ('tip', 'tap', 'base_link')):
        message = refusal(lambda tip=tip, base=base: ArmKinematics(planar(), ['a'], tip, base))
        assert message == (
            f"{what} = 'tap' is not in robot_description: expected one of base, one, two, tip"
        )


def test_a_base_link_that_moves_is_refused_by_the_joint_that_moves_it():
    assert refusal(lambda: ArmKinematics(planar(), ['a', 'b'], 'tip', 'one')) == (
        "base_link = 'one' moves with a: expected a link before every joint of the arm"
    )


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        (([1.0], [1.0], [3.0]), 'joint a: limits 1 to 1: expected lower < upper in '
         'robot_description'),
        (([0.0], [1.0], [0.0]), 'joint a: velocity limit 0: expected more than 0 in '
         'robot_description'),
    ],
)  # fmt: skip
def test_a_joint_that_cannot_move_is_refused(limits, message):
    assert refusal(lambda: JointLimits(('a',), *map(np.array, limits))) == message


def test_several_threads_do_not_disturb_each_other(ur):
    wrong = []

    def work(offset):
        joints = HOME + offset
        wanted = ur.forward(joints)[0]
        for _ in range(300):
            if not np.array_equal(ur.forward(joints)[0], wanted):
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(0.1 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
