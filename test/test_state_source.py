"""The pose that a policy reads is the one that training saw, however a rotation is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.rotations import roll_pitch_yaw, rotation_matrix
from dysl_vla_ros.state_source import nearest_vector, pose_state

POINT = np.array([0.4, 0.1, 0.3])


def spec(source, low, high):
    scale = NormalisationSpec((-1.0,) * 3 + low + (0.0,), (1.0,) * 3 + high + (1.0,), (True,) * 7)
    return ProprioceptionSpec(7, True, scale, source=source)


@pytest.mark.parametrize('angle', [2.8, 3.1, np.pi, 3.2, 3.6])
def test_a_gripper_that_points_down_has_one_vector_on_both_sides_of_half_a_turn(angle):
    """Of LIBERO's states the first angle runs from 2.4 to 3.7: through pi, without a break."""
    wanted = np.array([angle, 0.1, -0.05])
    found = pose_state(spec('eef_axis_angle', (2.4, -1.0, -0.8), (3.7, 1.0, 0.8)), POINT,
                       rotation_matrix(wanted))  # fmt: skip
    np.testing.assert_allclose(found, [*POINT, *wanted], atol=1e-9)


def test_the_nearest_vector_is_still_the_same_rotation():
    random = np.random.default_rng(0)
    for _ in range(50):
        vector, centre = random.normal(0, 1.5, 3), random.normal(0, 2.5, 3)
        found = nearest_vector(vector, centre)
        np.testing.assert_allclose(rotation_matrix(found), rotation_matrix(vector), atol=1e-9)
        others = [found * (1 + 2 * np.pi * k / np.linalg.norm(found)) for k in (-2, -1, 1, 2)]
        off = np.linalg.norm(found - centre)
        assert all(off <= np.linalg.norm(other - centre) + 1e-9 for other in others)


def test_no_turn_at_all_is_a_full_turn_where_training_saw_one():
    none = np.zeros(3)
    np.testing.assert_array_equal(nearest_vector(none, none), none)
    np.testing.assert_allclose(nearest_vector(none, np.array([0, 6.0, 0])), [0, 2 * np.pi, 0])


@pytest.mark.parametrize('angles', [(0.2, -0.4, 1.1), (3.3, 0.2, -0.1), (-0.1, 0.3, 3.4)])
def test_angles_are_those_nearest_to_what_training_saw(angles):
    roll, pitch, yaw = (rotation_matrix(np.eye(3)[i] * angles[i]) for i in range(3))
    low, high = (tuple(value + off for value in angles) for off in (-0.5, 0.7))
    found = pose_state(spec('eef_rpy', low, high), POINT, yaw @ pitch @ roll)
    np.testing.assert_allclose(found[3:], angles, atol=1e-9)
    np.testing.assert_allclose(
        roll_pitch_yaw(yaw @ pitch @ roll) - found[3:],
        np.round((roll_pitch_yaw(yaw @ pitch @ roll) - found[3:]) / (2 * np.pi)) * 2 * np.pi,
        atol=1e-9,
    )


class Seen:
    """A policy that keeps what it is shown."""

    def __init__(self, manifest):
        self.manifest, self.shown = manifest, None

    def predict(self, observation, plan):
        self.shown = observation


class Arm:
    """The tip is where the first joints say, and turned about x by the fourth."""

    def pose(self, joints):
        return np.asarray(joints[:3]), rotation_matrix(np.array([joints[3], 0.0, 0.0]))


def shown(source, joints):
    manifest = fake_manifest()
    state = spec(source, (2.4, -1.0, -1.0), (3.7, 1.0, 1.0)) if source != 'joints' else (
        manifest.proprioception)  # fmt: skip
    policy = Seen(replace(manifest, proprioception=state))
    size = len(manifest.action.joint_names)
    limits = MotionLimits(manifest.action.joint_names, np.full(size, -4.0), np.full(size, 4.0),
                          np.ones(size), acceleration=1.0, max_lead=0.2)  # fmt: skip
    loop = ControlLoop(policy, from_flat({}), limits, Arm())
    loop.predict(Observation(0.0, {}, np.asarray(joints), 0.5, 'pick up the cube'))
    return policy.shown


def test_the_loop_shows_the_policy_what_it_reads_and_nothing_else():
    joints = [0.1, 0.2, 0.3, 3.3, 0.0, 0.0]
    np.testing.assert_allclose(shown('eef_axis_angle', joints).joints, [0.1, 0.2, 0.3, 3.3, 0, 0])
    np.testing.assert_array_equal(shown('joints', joints).joints, joints)
    assert shown('eef_rpy', joints).gripper == 0.5


def test_a_joint_that_is_no_number_is_refused_before_kinematics_see_it():
    with pytest.raises(InputError, match='expected finite numbers'):
        shown('eef_rpy', [0.1, np.nan, 0.3, 0.4, 0.0, 0.0])
