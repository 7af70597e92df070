"""Forward and inverse kinematics of an arm, from its robot description; Pinocchio inside.

The inverse searches from a seed (``pose_search``): it stays on the branch on which the arm is, and
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
from dysl_vla_ros.pose_search import ENOUGH_M, ENOUGH_RAD, Orientation, PoseSearch

_AT_LIMIT = 1e-6
_SMALL_TURN = 0.2
_SWING_M, _SWING_SHARE = 0.03, 0.5
"""Between two poses the tip may leave the straight way by so much, or by this share of it."""
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
        turn = self._base.rotation.T
        self._turn = np.block([[turn, np.zeros((3, 3))], [np.zeros((3, 3)), turn]])
        self._local = threading.local()
        self.robot_name = description.name
        self.limits = joint_limits(description, tuple(joint_names), given or GivenLimits())
        self.unmoved = self._arm.unmoved(base_link, tip_link)
        """Joints between base and tip that could move, and are none of the arm's."""

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
        return np.asarray(self._turn @ world)

    def inverse(
        self,
        seed: FloatArray,
        position: FloatArray,
        rotation: FloatArray,
        orientation: Orientation = 'full',
        bounds: tuple[FloatArray, FloatArray] | None = None,
    ) -> FloatArray:
        """Joints near ``seed`` that put the tip at a pose.

        Args:
            seed: Shape (n,) [rad or m].
            position: Shape (3,) [m], in the base frame.
            rotation: Shape (3, 3).
            orientation: How much of ``rotation`` is wanted.
            bounds: Lowest and highest joints, each (n,); None = the limits.

        Returns:
            Shape (n,), inside the bounds.

        Raises:
            KinematicsError: Not reached within the bounds, or nearer to a singularity than
                ``SINGULAR`` and nearer than the seed: leaving a singularity is allowed.
        """
        seed = np.asarray(seed, dtype=np.float64)
        low, high = bounds or (self.limits.lower, self.limits.upper)
        search = PoseSearch(self._place, low, high)
        rotation = np.asarray(rotation)
        rows = 6 if orientation == 'full' else 3
        for begin in search.seeds(seed):
            joints = search.search(begin, position, rotation, orientation)
            left = self._error(joints, position, rotation)
            metres, radians = float(np.linalg.norm(left[:3])), float(np.linalg.norm(left[3:rows]))
            if metres <= ENOUGH_M and radians <= ENOUGH_RAD:
                break
        else:
            at_limit = self._at_limit(joints, low, high)
            raise KinematicsError(_unreached(seed, position, metres, radians, at_limit))
        self._refuse_singular(seed, joints, position, rows)
        return joints

    def inverse_chunk(
        self,
        seed: FloatArray,
        positions: FloatArray,
        rotations: FloatArray,
        orientation: Orientation = 'full',
        bounds: tuple[FloatArray, FloatArray] | None = None,
    ) -> FloatArray:
        """Joints for a run of poses, each seeded with the one before.

        Args:
            seed: Where the first starts, shape (n,) [rad or m].
            positions: Shape (k, 3) [m].
            rotations: Shape (k, 3, 3).
            orientation: As of ``inverse``.
            bounds: As of ``inverse``.

        Returns:
            Shape (k, n).

        Raises:
            KinematicsError: As ``inverse``, or the arm would change its configuration between
                two poses; names the index.
        """
        rows = []
        for index, (position, rotation) in enumerate(zip(positions, rotations, strict=True)):
            try:
                joints = self.inverse(seed, position, rotation, orientation, bounds)
                self._refuse_swing(np.asarray(seed, dtype=np.float64), joints)
            except KinematicsError as error:
                raise KinematicsError(f'action {index}: {error}') from None
            rows.append(joints)
            seed = joints
        return np.array(rows).reshape(-1, len(self.limits.names))

    def smallest_singular_value(self, joints: FloatArray) -> float:
        """Of the Jacobian: 0 at a singularity."""
        return _smallest(self.jacobian(joints))

    def _data(self) -> Any:
        if not hasattr(self._local, 'data'):
            self._local.data = self._model.createData()
        return self._local.data

    def _place(self, joints: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Position, rotation and Jacobian in one go."""
        data = self._data()
        pin.computeJointJacobians(self._model, data, self._arm.configuration(joints))
        pose = self._base.actInv(pin.updateFramePlacement(self._model, data, self._tip))
        world = pin.getFrameJacobian(
            self._model, data, self._tip, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        ).reshape(6, -1)
        return pose.translation, pose.rotation, self._turn @ self._arm.columns(world)

    def _error(self, joints: FloatArray, position: FloatArray, rotation: FloatArray) -> FloatArray:
        found, orientation = self.forward(joints)
        turn = pin.log3(np.asarray(rotation) @ orientation.T)
        return np.concatenate([np.asarray(position) - found, turn])

    def _refuse_singular(
        self, seed: FloatArray, joints: FloatArray, position: FloatArray, rows: int
    ) -> None:
        value = _smallest(self.jacobian(joints)[:rows])
        if value < SINGULAR and value < _smallest(self.jacobian(seed)[:rows]):
            raise KinematicsError(
                f'position {_numbers(position)} m lies near a singularity of the arm: smallest '
                f'singular value {value:.4f} of the Jacobian, expected at least {SINGULAR}'
            )

    def _refuse_swing(self, seed: FloatArray, joints: FloatArray) -> None:
        """Joints that go straight from one row to the next must lead the tip near straight."""
        turn = np.abs(joints - seed)
        if turn.max() < _SMALL_TURN:
            return
        begin, middle, end = (
            self.forward(row)[0] for row in (seed, 0.5 * (seed + joints), joints)
        )
        beside = float(np.linalg.norm(middle - 0.5 * (begin + end)))
        way = float(np.linalg.norm(end - begin))
        if beside > max(_SWING_M, _SWING_SHARE * way):
            joint = int(np.argmax(turn))
            raise KinematicsError(
                f'the arm would change its configuration: {self.limits.names[joint]} by '
                f'{turn[joint]:.2f} {self.limits.units[joint]} for {1000 * way:.1f} mm of the '
                f'tip, which swings {1000 * beside:.1f} mm aside on the way'
            )

    def _at_limit(self, joints: FloatArray, low: FloatArray, high: FloatArray) -> str:
        stuck = (joints <= low + _AT_LIMIT) | (joints >= high - _AT_LIMIT)
        return ', '.join(
            f'{self.limits.names[index]} = {joints[index]:.3f}' for index in np.flatnonzero(stuck)
        )


def _unreached(
    seed: FloatArray, position: FloatArray, metres: float, radians: float, at_limit: str
) -> str:
    left = []
    if metres > ENOUGH_M:
        left.append(f'{1000 * metres:.1f} mm')
    if radians > ENOUGH_RAD:
        left.append(f'{radians:.3f} rad')
    return (
        f'position {_numbers(position)} m with its orientation is not reached from joints '
        f'{_numbers(seed)}: {" and ".join(left)} away at the nearest'
        f'{"; at its limit: " if at_limit else ""}{at_limit}; expected a pose inside the workspace'
    )


def _smallest(jacobian: FloatArray) -> float:
    return float(np.linalg.svd(jacobian, compute_uv=False)[-1])


def _numbers(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
