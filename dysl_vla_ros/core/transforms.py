"""Numbers on their way into the model, actions on their way out.

One function each, used when the policy is trained and when the robot runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dysl_vla_ros.data_types import ActionSpace, FloatArray
from dysl_vla_ros.rotations import rotation_matrix, rotation_of_angles, rotation_vector


def normalise(
    values: Any, low: Sequence[float], high: Sequence[float], mask: Sequence[bool]
) -> FloatArray:
    """Map [low, high] to [-1, 1] where ``mask`` is true; a new array, nothing is clipped.

    Args:
        values: Shape (..., n).
        low: Shape (n,).
        high: Shape (n,), greater than ``low`` wherever ``mask`` is true.
        mask: Shape (n,); other dimensions pass unchanged.
    """
    low_, span = _range(low, high, mask)
    values = np.asarray(values, dtype=np.float64)
    inside = 2.0 * (values - low_) / span - 1.0
    return np.asarray(np.where(np.asarray(mask, dtype=bool), inside, values))


def unnormalise(
    values: Any, low: Sequence[float], high: Sequence[float], mask: Sequence[bool]
) -> FloatArray:
    """The inverse of ``normalise``; same arguments."""
    low_, span = _range(low, high, mask)
    values = np.asarray(values, dtype=np.float64)
    outside = (values + 1.0) * 0.5 * span + low_
    return np.asarray(np.where(np.asarray(mask, dtype=bool), outside, values))


def compose_poses(
    motion: FloatArray, space: ActionSpace, position: FloatArray, rotation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """End-effector actions -> absolute poses.

    Args:
        motion: Shape (k, 6): translations [m] and rotation vectors [rad] in the base frame;
            increments (``eef_delta``: ``R_next = exp(rotation) R``) or poses (``eef_pose``).
        space: ``eef_delta`` or ``eef_pose``.
        position: Where the first increment starts, shape (3,) [m].
        rotation: Its orientation, shape (3, 3).

    Returns:
        Positions (k, 3) and rotation matrices (k, 3, 3).
    """
    turns = np.array([rotation_matrix(vector) for vector in motion[:, 3:6]]).reshape(-1, 3, 3)
    if space == 'eef_pose':
        return np.array(motion[:, :3], dtype=np.float64), turns
    if space != 'eef_delta':
        raise ValueError(f"space = {space!r}: expected 'eef_delta' or 'eef_pose'")
    for index, turn in enumerate(turns):
        rotation = turn @ rotation
        turns[index] = rotation
    return position + np.cumsum(motion[:, :3], axis=0), turns


def steps_of_absolute(actions: FloatArray, first: FloatArray, space: ActionSpace) -> FloatArray:
    """What each absolute action adds to the one before it: the chunk as increments.

    The same motion given as increments and as absolute actions yields the same values, so that
    continuity does not depend on how a policy was trained.

    Args:
        actions: Shape (k, action_dim); columns after ``len(first)`` (a gripper) stay as they are.
        first: Where the first action starts: joints (n,) [rad], or position [m] and rotation
            vector [rad] (6,).
        space: ``joint_position`` or ``eef_pose``.

    Returns:
        Shape (k, action_dim).
    """
    if space not in ('joint_position', 'eef_pose'):
        raise ValueError(f"space = {space!r}: expected 'joint_position' or 'eef_pose'")
    steps = np.array(actions, dtype=np.float64)
    size = len(first)
    path = np.vstack([first, steps[:, :size]])
    steps[:, :size] = np.diff(path, axis=0)
    if space == 'eef_pose':
        matrices = [rotation_matrix(vector) for vector in path[:, 3:6]]
        for index in range(len(steps)):
            turn = matrices[index + 1] @ matrices[index].T
            steps[index, 3:6] = rotation_vector(turn)
    return steps


def steps_from_state(
    actions: FloatArray, moves: int, state: FloatArray, source: str, space: ActionSpace
) -> FloatArray:
    """``steps_of_absolute`` from where the policy read that the arm stood.

    Args:
        actions: Shape (k, action_dim); columns after ``moves`` (a gripper) stay as they are.
        moves: Numbers of an action that move the arm.
        state: What was read of the arm, without its gripper: joints, or the pose of the tip.
        source: What these numbers are: ``joints``, ``eef_axis_angle`` or ``eef_rpy``.
        space: ``joint_position`` or ``eef_pose``.

    Returns:
        Shape (k, action_dim). Where the state is no such quantity the first step is taken to be
        as the second one.
    """
    same = (source == 'joints') == (space == 'joint_position')
    if not same or len(state) != moves:
        steps = steps_of_absolute(actions, actions[0, :moves], space)
        steps[0, :moves] = steps[min(1, len(steps) - 1), :moves]
        return steps
    first = np.array(state, dtype=np.float64)
    if source == 'eef_rpy':
        first[3:6] = rotation_vector(rotation_of_angles(first[3:6]))
    return steps_of_absolute(actions, first, space)


def _range(
    low: Sequence[float], high: Sequence[float], mask: Sequence[bool]
) -> tuple[FloatArray, FloatArray]:
    low_ = np.asarray(low, dtype=np.float64)
    span = np.asarray(high, dtype=np.float64) - low_
    return low_, np.where(np.asarray(mask, dtype=bool), span, 1.0)
