"""What a policy reads of the arm where it does not read joints: the pose of the tip.

A rotation has many names: as a vector, the same turn the other way round; as angles, a full turn
more. Training saw one of them without a break (LIBERO's gripper points down, half a turn about an
axis, and its vectors run through pi), so the one nearest to what training saw is given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from dysl_vla_ros.bundle.manifest import ProprioceptionSpec
from dysl_vla_ros.data_types import FloatArray, Observation
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.rotations import roll_pitch_yaw, rotation_vector

_TURN = 2.0 * np.pi
_TINY = 1e-9


class HasPose(Protocol):
    """A planner, as far as it knows where the tip is."""

    def pose(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Position (3,) [m] and rotation (3, 3) of the tip in the actions' frame."""


def as_read(
    observation: Observation, spec: ProprioceptionSpec | None, planner: HasPose
) -> Observation:
    """An observation with what the policy reads of the arm: its joints, or the pose of its tip.

    Raises:
        InputError: Joints that are not finite numbers.
    """
    if spec is None or spec.source == 'joints' or not spec.dim:
        return observation
    if not np.isfinite(observation.joints).all():
        raise InputError(f'joints = {observation.joints}: expected finite numbers')
    position, rotation = planner.pose(observation.joints)
    return replace(observation, joints=pose_state(spec, position, rotation))


def pose_state(spec: ProprioceptionSpec, position: FloatArray, rotation: FloatArray) -> FloatArray:
    """The numbers before the gripper's, (6,).

    Args:
        spec: Of a bundle whose ``source`` is a pose.
        position: Of the tip in the actions' frame, (3,) [m].
        rotation: Likewise, (3, 3).
    """
    scale = spec.normalisation
    centre = 0.5 * (np.asarray(scale.low[3:6]) + np.asarray(scale.high[3:6]))
    if spec.source == 'eef_axis_angle':
        angles = nearest_vector(rotation_vector(rotation), centre)
    else:
        angles = roll_pitch_yaw(rotation)
        angles = angles + _TURN * np.round((centre - angles) / _TURN)
    return np.concatenate([position, angles])


def nearest_vector(vector: FloatArray, centre: FloatArray) -> FloatArray:
    """Of the vectors of one rotation the one nearest to ``centre``, both (3,) [rad]."""
    length = float(np.linalg.norm(vector))
    # No turn at all has no axis: any axis will do, so the one towards the centre.
    axis = vector / length if length > _TINY else _unit(centre)
    turns = np.round((float(axis @ centre) - length) / _TURN)
    return np.asarray(axis * (length + _TURN * turns))


def _unit(vector: FloatArray) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector) / length if length > _TINY else np.array([1.0, 0.0, 0.0])
