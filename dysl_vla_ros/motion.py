"""From a policy's actions to joint targets, under the action contract of the bundle.

Whatever the action space, a chunk ends up as absolute joint targets, one row per action, from
one reference: the scheduler then knows a single space, and every joint limit holds for every
policy. Poses and twists for Cartesian controllers are computed from the same joint path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import numpy as np

from dysl_vla_ros.action_columns import ActionColumns, action_columns
from dysl_vla_ros.bundle.manifest import ActionSpec
from dysl_vla_ros.bundle.ranges import largest_action
from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.config import ActionConfig
from dysl_vla_ros.core import safety, transforms
from dysl_vla_ros.core.path import straight
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ChunkError, ConfigError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.pose_search import Orientation
from dysl_vla_ros.rotations import rotation_vector

CARTESIAN_SPACES = ('eef_delta', 'eef_pose')
_GRIPPER_MOVES = 0.1
"""A change of commanded opening beyond this counts as moving the gripper."""
_BOX_MARGIN_M = 0.005
"""Targets keep this distance to the faces of a workspace box: the way between two may bulge."""

_BOX_STEP = (0.02, 0.005)
"""Places between two targets that are judged against the box: at most so far apart [rad], [m]."""


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
        gripper: Opening per action, shape (horizon,), or (horizon, arms) where there are several;
            None without a gripper.
        moved: Joints whose targets were moved inside their limits, ``'position:elbow_joint'``.
    """

    actions: FloatArray
    displacements: FloatArray
    targets: FloatArray
    gripper: FloatArray | None
    moved: tuple[str, ...]

    def before_gripper(self, limit: int, openings: tuple[float, ...]) -> int:
        """How many of the first ``limit`` actions leave every gripper where it is.

        Args:
            limit: Actions that may be played otherwise.
            openings: Commanded last; () = never, so that any command would move them.
        """
        if self.gripper is None:
            return limit
        if not openings:
            return 0
        wanted = self.gripper.reshape(len(self.gripper), -1)
        moves = np.flatnonzero((np.abs(wanted - openings) > _GRIPPER_MOVES).any(axis=1))
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
        has_gripper: Whether actions hold openings of grippers: in their last column, or where
            the planner says.

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
        gripper=_openings(actions, getattr(planner, 'columns', None)) if has_gripper else None,
        moved=moved,
    )


def _openings(actions: FloatArray, columns: ActionColumns | None) -> FloatArray:
    """Openings, shape (horizon,), or (horizon, arms) where there are several."""
    if columns is None or len(columns.grippers) == 1:
        return actions[:, -1]
    return actions[:, list(columns.grippers)]


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
        arms: Sequence[int] = (),
    ) -> None:
        """Check the contract against the arm.

        Args:
            action: The bundle's contract.
            limits: Joints of the arm, in the policy's order.
            kinematics: Needed by end-effector spaces and by a workspace.
            config: Overrides; what it leaves empty is the bundle's.
            workspace: Lowest and highest tip position in the base frame, each (3,) [m].
            collision: Judges the targets of every chunk; None judges nothing.
            arms: Number of joints of each arm, where there are several.

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
        self._orientation = cast('Orientation', config.orientation)
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
        size = 6 if self.space in CARTESIAN_SPACES else limits.size
        self.columns = action_columns(action.gripper, arms or (size,))
        wanted = len(self.columns.motion) + len(self.columns.grippers)
        if action.dim != wanted:
            openings = len(self.columns.grippers)
            raise ConfigError(
                'arms' if arms else 'action.joint_names',
                limits.names,
                f"{action.dim - openings} joints, as the bundle's actions have"
                + (f' beside {openings} openings, one at the end of each arm' if arms else ''),
            )
        order = (*self.columns.motion, *self.columns.grippers)
        self._order = None if order == tuple(range(wanted)) else np.array(order)

    def actions(self, normalised: FloatArray) -> FloatArray:
        """Physical actions of a chunk; shapes (horizon, action_dim) both."""
        spec = self._action.normalisation
        actions = transforms.unnormalise(normalised, spec.low, spec.high, spec.mask)
        if self.space.endswith('delta') and self._scale != 1.0:
            actions[:, list(self.columns.motion)] *= self._scale
        level = self._action.gripper_threshold
        for column in self.columns.grippers:
            opening = actions[:, column]
            actions[:, column] = np.clip(opening, 0.0, 1.0) if level is None else opening > level
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
        motion = actions[:, list(self.columns.motion)]
        self._check_size(motion)
        if self.space == 'joint_delta':
            rows = start + np.cumsum(motion, axis=0)
        elif self.space == 'joint_position':
            rows = self._without_turns(motion, start)
        else:
            rows = self._through_kinematics(motion, start)
        path = np.vstack([start, rows])
        self._check_workspace(path)
        if self._collision is not None:
            self._collision.check(path)
        return path

    def _check_size(self, motion: FloatArray) -> None:
        """Refuse numbers that no arm does, and turns that could be any other: both wrap around."""
        largest, words = largest_action(self.space)
        size = np.abs(motion).max(axis=1)
        if self.space == 'eef_delta':
            with np.errstate(over='ignore'):
                turns = np.linalg.norm(motion[:, 3:], axis=1)
            size = np.where(turns > np.pi, np.inf, size)
        for index in np.flatnonzero(~(size <= largest)):
            raise ChunkError(
                f'action {index} = {np.array2string(motion[index], precision=3)}: expected '
                f'{words}' + (', and at most half a turn' if self.space == 'eef_delta' else '')
            )

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

    def way_problem(self, rows: FloatArray) -> str:
        """Why a way must not be gone: it leaves the workspace, or meets the arm or a plane.

        Args:
            rows: Targets in turn, shape (k, n); row 0 is where the arm stands.
        """
        try:
            if self._workspace is not None:
                self._check_joint_workspace(rows)
            if self._collision is not None:
                self._collision.check(rows)
        except ChunkError as error:
            return str(error)
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
        if self._order is not None:
            actions = actions[:, self._order]  # joints first: what follows them stays as it is
        steps = transforms.steps_of_absolute(actions, first, self.space)
        if self._order is not None:
            steps = steps[:, np.argsort(self._order)]
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
        bounds = (self._limits.lower, self._limits.upper)
        return self._kinematics.inverse_chunk(
            start, positions, rotations, self._orientation, bounds
        )

    def _check_workspace(self, path: FloatArray) -> None:
        if self._workspace is not None and self.space not in CARTESIAN_SPACES:
            self._check_joint_workspace(path)

    def _check_joint_workspace(self, path: FloatArray) -> None:
        """Targets, and places between them: an arc leaves a box that holds both its ends.

        From outside, the first row's place alone, it may come in.
        """
        for action, row in enumerate(path[1:]):
            self._check_tip(action, row)
        came_in, longest = self.may_command(path[0]), self._limits.each(*_BOX_STEP)
        for action, (before, after) in enumerate(pairwise(path)):
            for row in straight(before, after, longest)[1:-1]:
                if came_in:
                    self._check_tip(action, row)
                came_in = came_in or self.may_command(row)
            came_in = True  # each target lies inside

    def _check_tip(self, action: int, joints: FloatArray) -> None:
        assert self._kinematics is not None
        assert self._workspace is not None
        low, high = self._workspace
        position, _ = self._kinematics.forward(joints)
        if (position < low).any() or (position > high).any():
            raise ChunkError(
                f'action {action} moves the tip to {np.round(position, 3).tolist()} m: '
                f'expected within workspace.min = {low.tolist()} and workspace.max = '
                f'{high.tolist()}'
            )
