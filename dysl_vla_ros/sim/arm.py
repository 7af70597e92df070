"""The simulated arm as one frozen table, and its kinematics: forward, Jacobian, inverse.

Lengths, masses and limits are the published figures of the UR5e. MuJoCo's model and the URDF
are both generated from this table, so they cannot disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.rotations import rotation_matrix, rotation_vector


@dataclass(frozen=True)
class ArmJoint:
    """A revolute joint about the z axis of the link that it moves.

    Attributes:
        name: Joint name as ROS drivers publish it.
        link: Name of the link that it moves.
        origin: Position in the parent link [m].
        roll: Rotation about the parent's x axis [rad]; the only rotation this arm needs.
        lower: Lowest position [rad].
        upper: Highest position [rad].
        velocity: Highest speed [rad/s].
        effort: Highest torque [N m].
        mass: Mass of the moved link [kg].
        shape: End points of the link's capsule, in its own frame [m].
        radius: Radius of that capsule [m].
        armature: Rotor inertia as seen behind the gear [kg m^2].
        stiffness: Position gain of the drive [N m/rad]; its damping is ``DRIVE_LAG`` times it.
    """

    name: str
    link: str
    origin: tuple[float, float, float]
    roll: float
    lower: float
    upper: float
    velocity: float
    effort: float
    mass: float
    shape: tuple[tuple[float, float, float], tuple[float, float, float]]
    radius: float
    armature: float
    stiffness: float


_TURN = 2.0 * math.pi
_QUARTER = 0.5 * math.pi
_SPEED = math.pi

JOINTS: tuple[ArmJoint, ...] = (
    ArmJoint('shoulder_pan_joint', 'shoulder_link', (0.0, 0.0, 0.1625), 0.0,
             -_TURN, _TURN, _SPEED, 150.0, 3.761,
             ((0.0, 0.0, -0.04), (0.0, 0.0, 0.02)), 0.060, 0.3, 14000.0),
    ArmJoint('shoulder_lift_joint', 'upper_arm_link', (0.0, 0.0, 0.0), _QUARTER,
             -_TURN, _TURN, _SPEED, 150.0, 8.058,
             ((0.0, 0.0, 0.138), (-0.425, 0.0, 0.138)), 0.055, 0.3, 14000.0),
    ArmJoint('elbow_joint', 'forearm_link', (-0.425, 0.0, 0.0), 0.0,
             -math.pi, math.pi, _SPEED, 150.0, 2.846,
             ((0.0, 0.0, 0.007), (-0.3922, 0.0, 0.007)), 0.046, 0.3, 7000.0),
    ArmJoint('wrist_1_joint', 'wrist_1_link', (-0.3922, 0.0, 0.1333), 0.0,
             -_TURN, _TURN, _SPEED, 28.0, 1.37,
             ((0.0, 0.0, -0.07), (0.0, -0.01, 0.0)), 0.038, 0.1, 1000.0),
    ArmJoint('wrist_2_joint', 'wrist_2_link', (0.0, -0.0997, 0.0), _QUARTER,
             -_TURN, _TURN, _SPEED, 28.0, 1.3,
             ((0.0, 0.0, -0.05), (0.0, 0.01, 0.0)), 0.038, 0.1, 700.0),
    ArmJoint('wrist_3_joint', 'wrist_3_link', (0.0, 0.0996, 0.0), -_QUARTER,
             -_TURN, _TURN, _SPEED, 28.0, 0.365,
             ((0.0, 0.0, -0.03), (0.0, 0.0, -0.02)), 0.037, 0.1, 400.0),
)  # fmt: skip

JOINT_NAMES: tuple[str, ...] = tuple(joint.name for joint in JOINTS)
BASE_LINK = 'base_link'
TIP_LINK = 'grasp_link'
DRIVE_LAG = 0.03
"""How far the drives trail a moving target [s]."""

BASE_YAW = math.pi
"""The arm's own base is turned half a circle in ``base_link``, as in the maker's URDF."""

GRASP_OFFSET = 0.160
"""From tool0 to the point between the finger pads, along the tool's z axis [m]."""

GRIPPER_STROKE = 0.085
"""Distance between the pads when fully open [m]."""

GRIPPER_MASS = 0.9
"""Mass of the gripper without its fingers [kg]."""

HOME_POSITION = (0.44, 0.0, 0.27)
"""Where the grasp point starts, in ``base_link`` [m]."""

_HOME_SEED = (-0.3, -1.7, 1.8, -1.7, -1.57, -0.3)


def pointing_down(yaw: float, tilt: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Orientation of a gripper that points down, turned by ``yaw`` about the base's z axis.

    At yaw 0 the tool's x axis is the base's, and the fingers open along the base's y axis.
    """
    cosine, sine = math.cos(yaw), math.sin(yaw)
    upright = np.array(((cosine, sine, 0.0), (sine, -cosine, 0.0), (0.0, 0.0, -1.0)))
    if tilt == (0.0, 0.0):
        return upright
    return np.asarray(rotation_matrix(np.array((tilt[0], tilt[1], 0.0))) @ upright)


def _joint_frames(joints: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    rotation = np.diag((-1.0, -1.0, 1.0))  # BASE_YAW
    position = np.zeros(3)
    frames = []
    for joint, angle in zip(JOINTS, joints, strict=True):
        position = position + rotation @ joint.origin
        c, s = math.cos(angle), math.sin(angle)
        cr, sr = math.cos(joint.roll), math.sin(joint.roll)
        rotation = rotation @ np.array(((c, -s, 0.0), (cr * s, cr * c, -sr), (sr * s, sr * c, cr)))
        frames.append((position, rotation))
    return frames


def forward(joints: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pose of ``grasp_link`` in ``base_link``: position (3,) [m] and rotation (3, 3)."""
    position, rotation = _joint_frames(joints)[-1]
    return position + GRASP_OFFSET * rotation[:, 2], rotation


def jacobian(joints: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Position (3,), rotation (3, 3) and Jacobian (6, 6) of ``grasp_link``; linear rows first."""
    frames = _joint_frames(joints)
    position = frames[-1][0] + GRASP_OFFSET * frames[-1][1][:, 2]
    axes = np.array([rotation[:, 2] for _, rotation in frames])
    arms = position - np.array([origin for origin, _ in frames])
    return position, frames[-1][1], np.vstack((np.cross(axes, arms).T, axes.T))


def inverse(seed: FloatArray, position: FloatArray, rotation: FloatArray) -> FloatArray:
    """Joint angles near ``seed`` that reach a pose, by damped least squares.

    Args:
        seed: Where to start, shape (6,) [rad]; the solution nearest to it is found.
        position: Wanted position of ``grasp_link``, shape (3,) [m].
        rotation: Wanted orientation, shape (3, 3).

    Raises:
        KinematicsError: If the pose is not reached to 0.1 mm and 1 mrad in 60 steps.
    """
    joints = np.array(seed, dtype=np.float64)
    damping = 1e-5 * np.eye(6)
    error = np.full(6, np.inf)
    for _ in range(60):
        found, orientation, matrix = jacobian(joints)
        error = np.concatenate((position - found, rotation_vector(rotation @ orientation.T)))
        if np.abs(error[:3]).max() < 1e-5 and np.abs(error[3:]).max() < 1e-4:
            return joints
        step = matrix.T @ np.linalg.solve(matrix @ matrix.T + damping, error)
        joints = joints + np.clip(step, -0.3, 0.3)
    if np.abs(error[:3]).max() < 1e-4 and np.abs(error[3:]).max() < 1e-3:
        return joints
    raise KinematicsError(
        f'position = {np.round(position, 3).tolist()} m: no joint angles reach it from '
        f'{np.round(seed, 2).tolist()} rad; expected a pose within 0.85 m of the shoulder'
    )


def home_joints() -> FloatArray:
    """Joint angles of the home pose: gripper down, elbow up, away from singularities."""
    return inverse(np.array(_HOME_SEED), np.array(HOME_POSITION), pointing_down(0.0))
