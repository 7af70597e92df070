"""Forward and inverse kinematics of an arm, from its robot description; Pinocchio inside.

The inverse is damped least squares from a seed: it stays on the branch on which the arm is, and
refuses what it cannot reach, or what lies too near a singularity, instead of guessing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pinocchio as pin  # type: ignore[import-untyped]

from dysl_vla_ros.arm_model import ArmModel
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.description import read_description
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.joint_limits import GivenLimits, joint_limits

_MAX_STEPS = 50
_DAMPING = 1e-6
"""lambda^2: far below the square of the smallest singular value accepted."""
_MAX_STEP_RAD = 0.3
_POSITION_TOLERANCE = 1e-6
_ROTATION_TOLERANCE = 1e-5
SINGULAR = 0.02
"""Smallest singular value of the Jacobian (metres and radians mixed) of a pose to go to."""


class ArmKinematics:
    """One chain from a base link to a tip link; may be used from several threads."""

    def __init__(
        self,
        urdf: str,
        joint_names: Sequence[str],
        tip_link: str,
        base_link: str,
        given: GivenLimits | None = None,
    ) -> None:
        """Read a robot description.

        Args:
            urdf: Its text.
            joint_names: The arm's joints, in the order of all arrays; others are fixed at zero.
            tip_link: Link whose pose is meant.
            base_link: Link in whose frame poses are expressed.
            given: Limits that parameters give.

        Raises:
            KinematicsError: Not a URDF, or a joint or link is not in it; lists what is.
            ConfigError: A given limit contradicts itself.
        """
        description = read_description(urdf)
        self._arm = ArmModel(description, joint_names)
        self._model: Any = self._arm.model
        self._tip = self._arm.frame(tip_link, 'tip_link')
        self._base: Any = self._arm.base_placement(base_link)
        self._local = threading.local()
        self.robot_name = description.name
        self.limits = joint_limits(description, tuple(joint_names), given or GivenLimits())

    def forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pose of the tip in the base frame.

        Args:
            joints: Shape (n,) [rad or m].

        Returns:
            Position (3,) [m] and rotation matrix (3, 3).
        """
        data = self._data()
        pin.forwardKinematics(self._model, data, self._arm.configuration(joints))
        pose = self._base.actInv(pin.updateFramePlacement(self._model, data, self._tip))
        return pose.translation.copy(), pose.rotation.copy()

    def jacobian(self, joints: FloatArray) -> FloatArray:
        """D (position, rotation vector) / d joints in the base frame, shape (6, n)."""
        world = pin.computeFrameJacobian(
            self._model, self._data(), self._arm.configuration(joints), self._tip,
            pin.ReferenceFrame.LOCAL_WORLD_ALIGNED,
        ).reshape(6, -1)  # fmt: skip
        world = self._arm.columns(world)
        turn = self._base.rotation.T
        return np.vstack([turn @ world[:3], turn @ world[3:]])

    def inverse(self, seed: FloatArray, position: FloatArray, rotation: FloatArray) -> FloatArray:
        """Joints near ``seed`` that put the tip at a pose.

        Args:
            seed: Shape (n,) [rad or m].
            position: Shape (3,) [m], in the base frame.
            rotation: Shape (3, 3).

        Returns:
            Shape (n,), inside the limits.

        Raises:
            KinematicsError: Not reached within the limits, or nearer to a singularity than
                ``SINGULAR`` and nearer than the seed: leaving a singularity is allowed.
        """
        seed = np.asarray(seed, dtype=np.float64)
        joints = np.clip(seed, self.limits.lower, self.limits.upper)
        for _ in range(_MAX_STEPS):
            error = self._error(joints, position, rotation)
            if _small(error):
                self._refuse_singular(seed, joints, position)
                return joints
            jacobian = self.jacobian(joints)
            damped = jacobian @ jacobian.T + _DAMPING * np.eye(6)
            step = jacobian.T @ np.linalg.solve(damped, error)
            step *= _MAX_STEP_RAD / max(_MAX_STEP_RAD, float(np.max(np.abs(step))))
            joints = np.clip(joints + step, self.limits.lower, self.limits.upper)
        raise KinematicsError(self._unreached(seed, joints, position, rotation))

    def inverse_chunk(
        self, seed: FloatArray, positions: FloatArray, rotations: FloatArray
    ) -> FloatArray:
        """Joints for a run of poses, each seeded with the one before.

        Args:
            seed: Where the first starts, shape (n,) [rad or m].
            positions: Shape (k, 3) [m].
            rotations: Shape (k, 3, 3).

        Returns:
            Shape (k, n).

        Raises:
            KinematicsError: As ``inverse``; names the index.
        """
        rows = []
        for index, (position, rotation) in enumerate(zip(positions, rotations, strict=True)):
            try:
                seed = self.inverse(seed, position, rotation)
            except KinematicsError as error:
                raise KinematicsError(f'action {index}: {error}') from None
            rows.append(seed)
        return np.array(rows).reshape(-1, len(self.limits.names))

    def smallest_singular_value(self, joints: FloatArray) -> float:
        """Of the Jacobian: 0 at a singularity."""
        return float(np.linalg.svd(self.jacobian(joints), compute_uv=False)[-1])

    def _data(self) -> Any:
        if not hasattr(self._local, 'data'):
            self._local.data = self._model.createData()
        return self._local.data

    def _error(self, joints: FloatArray, position: FloatArray, rotation: FloatArray) -> FloatArray:
        found, orientation = self.forward(joints)
        turn = pin.log3(np.asarray(rotation) @ orientation.T)
        return np.concatenate([np.asarray(position) - found, turn])

    def _refuse_singular(self, seed: FloatArray, joints: FloatArray, position: FloatArray) -> None:
        value = self.smallest_singular_value(joints)
        if value < SINGULAR and value < self.smallest_singular_value(seed):
            raise KinematicsError(
                f'position {_numbers(position)} m lies near a singularity of the arm: smallest '
                f'singular value {value:.4f} of the Jacobian, expected at least {SINGULAR}'
            )

    def _unreached(
        self, seed: FloatArray, joints: FloatArray, position: FloatArray, rotation: FloatArray
    ) -> str:
        error = self._error(joints, position, rotation)
        limits = self.limits
        stuck = [
            f'{name} = {value:.3f}'
            for name, value, low, high in zip(
                limits.names, joints, limits.lower, limits.upper, strict=True
            )
            if value <= low or value >= high
        ]
        at_limit = f'; at its limit: {", ".join(stuck)}' if stuck else ''
        return (
            f'position {_numbers(position)} m is not reached from joints {_numbers(seed)}: '
            f'{1000 * np.linalg.norm(error[:3]):.2f} mm and {np.linalg.norm(error[3:]):.4f} rad '
            f'are left after {_MAX_STEPS} steps{at_limit}; expected a pose inside the workspace'
        )


def _small(error: FloatArray) -> bool:
    return bool(
        np.linalg.norm(error[:3]) < _POSITION_TOLERANCE
        and np.linalg.norm(error[3:]) < _ROTATION_TOLERANCE
    )


def _numbers(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
