"""From a policy's actions to joint targets, under the action contract of the bundle.

Whatever the action space, a chunk ends up as absolute joint targets, one row per action, from
one reference: the scheduler then knows a single space, and every joint limit holds for every
policy. Poses and twists for Cartesian controllers are computed from the same joint path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dysl_vla_ros.bundle.manifest import ActionSpec
from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.config import ActionConfig
from dysl_vla_ros.core import safety, transforms
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ChunkError, ConfigError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.rotations import rotation_vector

CARTESIAN_SPACES = ('eef_delta', 'eef_pose')
_GRIPPER_MOVES = 0.1
"""A change of commanded opening beyond this counts as moving the gripper."""
_BOX_MARGIN_M = 0.005
"""Targets keep this distance to the faces of a workspace box: the way between two may bulge."""


class Planner(Protocol):
    """What a loop needs of a ``MotionPlanner``."""

    def actions(self, normalised: FloatArray) -> FloatArray:
        """Physical actions."""

    def targets(self, actions: FloatArray, start: FloatArray) -> FloatArray:
        """Joint targets."""

    def displacements(
        self, actions: FloatArray, normalised: FloatArray, start: FloatArray
    ) -> FloatArray:
        """Displacements in normalised space."""

    def pose(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Position and rotation of the tip; asked for by policies that read them."""


@dataclass(frozen=True)
class ChunkPlan:
    """A chunk in joint space.

    Attributes:
        actions: In physical units of the action space, shape (horizon, action_dim).
        displacements: Per step, normalised, shape (horizon, action_dim).
        targets: Inside the position limits, shape (horizon + 1, n) [rad]; row 0 is the start.
        gripper: Opening per action, shape (horizon,); None without a gripper.
        moved: Joints whose targets were moved inside their limits, ``'position:elbow_joint'``.
    """

    actions: FloatArray
    displacements: FloatArray
    targets: FloatArray
    gripper: FloatArray | None
    moved: tuple[str, ...]

    def before_gripper(self, limit: int, opening: float | None) -> int:
        """How many of the first ``limit`` actions leave the gripper where it is.

        Args:
            limit: Actions that may be played otherwise.
            opening: Commanded last; None = never, so that any command would move it.
        """
        if self.gripper is None:
            return limit
        if opening is None:
            return 0
        moves = np.flatnonzero(np.abs(self.gripper - opening) > _GRIPPER_MOVES)
        return min(limit, int(moves[0])) if len(moves) else limit


def plan_chunk(
    planner: Planner,
    normalised: FloatArray,
    start: FloatArray,
    limits: MotionLimits,
    period: float,
    has_gripper: bool,
) -> ChunkPlan:
    """From a pass to targets that the arm may be sent to, in one call.

    Args:
        planner: Applies the action contract.
        normalised: As the model emits them, shape (horizon, action_dim).
        start: Joint positions at the observation, shape (n,) [rad].
        limits: Of the joints.
        period: Nominal duration of one action [s].
        has_gripper: Whether the last dimension is a gripper's opening.

    Raises:
        ChunkError: Not finite, or faster than this arm could ever be.
        KinematicsError: A pose that cannot be reached.
    """
    safety.check_finite(normalised, 'normalised actions')
    actions = planner.actions(normalised)
    targets = planner.targets(actions, start)
    safety.check_finite(targets, 'joint targets')
    safety.check_speed(targets, period, limits)
    targets, moved = safety.clamp_positions(targets, limits)
    return ChunkPlan(
        actions=actions,
        displacements=planner.displacements(actions, normalised, start),
        targets=targets,
        gripper=actions[:, -1] if has_gripper else None,
        moved=moved,
    )


class MotionPlanner:
    """Applies one action contract; holds no motion state."""

    def __init__(
        self,
        action: ActionSpec,
        limits: MotionLimits,
        kinematics: ArmKinematics | None,
        config: ActionConfig | None = None,
        workspace: tuple[FloatArray, FloatArray] | None = None,
        collision: ArmCollision | None = None,
    ) -> None:
        """Check the contract against the arm.

        Args:
            action: The bundle's contract.
            limits: Joints of the arm, in the policy's order.
            kinematics: Needed by end-effector spaces and by a workspace.
            config: Overrides; what it leaves empty is the bundle's.
            workspace: Lowest and highest tip position in the base frame, each (3,) [m].
            collision: Judges the targets of every chunk; None judges nothing.

        Raises:
            ConfigError: The contract does not fit the arm, naming the field.
        """
        config = config or ActionConfig()
        self._action = action
        self._limits = limits
        self._kinematics = kinematics
        self._workspace = workspace
        self._collision = collision
        self._scale = config.scale
        self.space = action.space
        self.from_commanded = (config.delta_reference or action.delta_reference) == 'commanded'
        if config.space not in ('', action.space):
            raise ConfigError(
                'action.space', config.space, f'the space of the bundle, {action.space!r}'
            )
        if kinematics is None and (self.space in CARTESIAN_SPACES or workspace is not None):
            raise ConfigError(
                'robot_description', None, f'a URDF, since {self.space} needs kinematics'
            )
        motion_dim = action.dim - int(action.gripper)
        wanted = 6 if self.space in CARTESIAN_SPACES else limits.size
        if motion_dim != wanted:
            raise ConfigError(
                'action.joint_names',
                limits.names,
                f"{motion_dim} joints, as the bundle's actions have",
            )

    def actions(self, normalised: FloatArray) -> FloatArray:
        """Physical actions of a chunk; shapes (horizon, action_dim) both."""
        spec = self._action.normalisation
        actions = transforms.unnormalise(normalised, spec.low, spec.high, spec.mask)
        if self.space.endswith('delta') and self._scale != 1.0:
            motion = self._action.dim - int(self._action.gripper)
            actions[:, :motion] *= self._scale
        if self._action.gripper:
            level = self._action.gripper_threshold
            opening = actions[:, -1]
            actions[:, -1] = np.clip(opening, 0.0, 1.0) if level is None else opening > level
        return actions

    def targets(self, actions: FloatArray, start: FloatArray) -> FloatArray:
        """Joint targets of a chunk.

        Args:
            actions: Physical actions, shape (horizon, action_dim).
            start: Joint positions at the observation, shape (n,) [rad].

        Returns:
            Shape (horizon + 1, n); row 0 is ``start``.

        Raises:
            ChunkError: A target outside the workspace of a joint space, or a collision.
            KinematicsError: A pose that cannot be reached, or lies near a singularity.
        """
        motion = actions[:, :6] if self.space in CARTESIAN_SPACES else (
            actions[:, : self._limits.size])  # fmt: skip
        if self.space == 'joint_delta':
            rows = start + np.cumsum(motion, axis=0)
        elif self.space == 'joint_position':
            rows = self._without_turns(motion, start)
        else:
            rows = self._through_kinematics(motion, start)
        self._check_workspace(rows)
        path = np.vstack([start, rows])
        if self._collision is not None:
            self._collision.check(path)
        return path

    def workspace_problem(self, joints: FloatArray) -> str:
        """Why motion may not begin at these joints: the box does not hold the tip; else ''.

        Args:
            joints: Measured positions, shape (n,) [rad].
        """
        if self._workspace is None:
            return ''
        assert self._kinematics is not None
        position, _ = self._kinematics.forward(joints)
        low, high = self._workspace
        for axis, value, least, most in zip('xyz', position, low, high, strict=True):
            if not least <= value <= most:
                return (
                    f'the tip is at {axis} = {value:.3f} m: expected within workspace.min and '
                    f'workspace.max, [{least:g}, {most:g}]; move the arm or change the box'
                )
        return ''

    def displacements(
        self, actions: FloatArray, normalised: FloatArray, start: FloatArray
    ) -> FloatArray:
        """Per-step displacements in normalised space: what continuity is computed from.

        Args:
            actions: Physical actions, shape (horizon, action_dim).
            normalised: The same as the model emitted them.
            start: Joint positions at the observation, shape (n,) [rad].

        Returns:
            Shape (horizon, action_dim).
        """
        if self.space.endswith('delta'):
            return normalised
        spec = self._action.displacement
        if self.space == 'joint_position':
            first = start
        else:
            assert self._kinematics is not None
            position, rotation = self._kinematics.forward(start)
            first = np.concatenate([position, rotation_vector(rotation)])
        steps = transforms.steps_of_absolute(actions, first, self.space)
        return transforms.normalise(steps, spec.low, spec.high, spec.mask)

    def _without_turns(self, rows: FloatArray, start: FloatArray) -> FloatArray:
        """Absolute targets of joints without limits, by the nearest whole turn of each step."""
        endless = np.isinf(self._limits.lower) & np.isinf(self._limits.upper)
        if not endless.any():
            return rows
        steps = np.diff(np.vstack([start, rows]), axis=0)
        shortest = steps - 2 * np.pi * np.round(steps / (2 * np.pi))
        return np.where(endless, start + np.cumsum(shortest, axis=0), rows)

    def pose(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Position (3,) [m] and rotation (3, 3) of the tip, where there are kinematics."""
        assert self._kinematics is not None
        return self._kinematics.forward(joints)

    def may_command(self, joints: FloatArray) -> bool:
        """Whether these joints, shape (n,) [rad], lie in the workspace."""
        return self._workspace is None or not self.workspace_problem(joints)

    def _through_kinematics(self, motion: FloatArray, start: FloatArray) -> FloatArray:
        assert self._kinematics is not None
        position, rotation = self._kinematics.forward(start)
        positions, rotations = transforms.compose_poses(motion, self.space, position, rotation)
        if self._workspace is not None:
            low, high = self._workspace
            margin = np.minimum(_BOX_MARGIN_M, 0.1 * (high - low))
            positions = np.clip(positions, low + margin, high - margin)
        return self._kinematics.inverse_chunk(start, positions, rotations)

    def _check_workspace(self, rows: FloatArray) -> None:
        if self._workspace is None or self.space in CARTESIAN_SPACES:
            return
        assert self._kinematics is not None
        low, high = self._workspace
        for index, row in enumerate(rows):
            position, _ = self._kinematics.forward(row)
            if (position < low).any() or (position > high).any():
                raise ChunkError(
                    f'action {index} moves the tip to {np.round(position, 3).tolist()} m: '
                    f'expected within workspace.min = {low.tolist()} and workspace.max = '
                    f'{high.tolist()}'
                )
