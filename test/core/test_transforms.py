from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dysl_vla_ros.core import transforms
from dysl_vla_ros.rotations import rotation_matrix, rotation_vector

LOW, HIGH, MASK = (-0.02, 0.0, 0.0), (0.01, 3.0, 1.0), (True, True, False)


def vectors(rows, columns=3, reach=1.0):
    return arrays(np.float64, (rows, columns), elements=st.floats(-reach, reach))


@given(vectors(4, reach=100.0))
def test_unnormalise_undoes_normalise(values):
    there = transforms.normalise(values, LOW, HIGH, MASK)
    back = transforms.unnormalise(there, LOW, HIGH, MASK)
    np.testing.assert_allclose(back, values, atol=1e-9)


def test_normalise_maps_the_range_to_one_and_leaves_masked_dimensions_alone():
    found = transforms.normalise([LOW, HIGH], LOW, HIGH, MASK)
    np.testing.assert_allclose(found, [[-1, -1, 0], [1, 1, 1]])


def test_a_masked_dimension_may_have_an_empty_range():
    found = transforms.normalise([3.0], [1.0], [1.0], [False])
    np.testing.assert_array_equal(found, [3.0])


def test_increments_compose_in_the_base_frame():
    quarter = np.pi / 2
    motion = np.array([[0.1, 0, 0, 0, 0, quarter], [0.1, 0, 0, quarter, 0, 0]])
    positions, rotations = transforms.compose_poses(
        motion, 'eef_delta', np.array([1.0, 0.0, 0.0]), np.eye(3)
    )
    np.testing.assert_allclose(positions, [[1.1, 0, 0], [1.2, 0, 0]])
    # The tool's x axis: turned about z to y, then about the *base's* x axis to z.
    np.testing.assert_allclose(rotations[0][:, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotations[1][:, 0], [0, 0, 1], atol=1e-12)


def test_poses_are_taken_as_they_are():
    motion = np.array([[0.5, 0.1, 0.2, 0.0, 0.0, 0.3]])
    positions, rotations = transforms.compose_poses(motion, 'eef_pose', np.ones(3), np.eye(3))
    np.testing.assert_array_equal(positions, motion[:, :3])
    np.testing.assert_allclose(rotation_vector(rotations[0]), [0, 0, 0.3], atol=1e-12)


def test_only_end_effector_actions_compose_to_poses():
    with pytest.raises(ValueError, match='joint_delta'):
        transforms.compose_poses(np.zeros((1, 6)), 'joint_delta', np.zeros(3), np.eye(3))


@given(vectors(6, 6, reach=0.5), vectors(1, 3, reach=3.0))
def test_the_same_motion_as_increments_and_as_poses_has_the_same_steps(motion, orientation):
    gripper = np.linspace(1.0, 0.0, 6)[:, None]
    position, rotation = np.array([0.4, 0.1, 0.2]), rotation_matrix(orientation[0])
    positions, rotations = transforms.compose_poses(motion, 'eef_delta', position, rotation)
    poses = np.array([
        [*p, *rotation_vector(r), g[0]]
        for p, r, g in zip(positions, rotations, gripper, strict=True)
    ])  # fmt: skip
    first = np.concatenate([position, rotation_vector(rotation)])
    steps = transforms.steps_of_absolute(poses, first, 'eef_pose')
    np.testing.assert_allclose(steps, np.hstack([motion, gripper]), atol=1e-8)


@given(vectors(5, 3))
def test_the_same_motion_as_joint_increments_and_as_positions_has_the_same_steps(motion):
    start = np.array([0.3, -0.2, 2.0])
    targets = start + np.cumsum(motion, axis=0)
    steps = transforms.steps_of_absolute(targets, start, 'joint_position')
    np.testing.assert_allclose(steps, motion, atol=1e-12)


def test_increments_have_no_steps_to_take():
    with pytest.raises(ValueError, match='eef_delta'):
        transforms.steps_of_absolute(np.zeros((1, 6)), np.zeros(6), 'eef_delta')
