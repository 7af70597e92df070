"""Refuses a chunk that moves the arm into itself or through a plane such as the table.

Which pairs of links are judged follows MoveIt's rules: not links that hang together, not links
that overlap in more than half of all poses (their shapes are too coarse to tell), and not links
that overlap where the arm stands at the first check. Each is said once.

Measured on one core of an x86-64 processor: 9 rows take 0.3 ms on the simulated UR5e (9 solids,
25 pairs) and 0.6 ms on a chain of 7 joints (8 solids, 21 pairs), 0.5 ms more with planes, and at
most 4 times that when targets lie far apart; building takes 10 ms.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pinocchio as pin  # type: ignore[import-untyped]

from dysl_vla_ros.arm_model import BODY, ArmModel
from dysl_vla_ros.collision_shapes import RobotShapes, Shape, read_shapes
from dysl_vla_ros.data_types import FloatArray, JointLimits
from dysl_vla_ros.description import read_description
from dysl_vla_ros.errors import ChunkError
from dysl_vla_ros.joint_limits import GivenLimits, joint_limits

_LOG = logging.getLogger(__name__)

_SAMPLES = 400
_TOO_OFTEN = 0.5
"""Links that overlap in a larger share of random poses are not judged."""
_SEED = 20251125
_STEPS = {'rad': 0.1, 'm': 0.02}
"""Targets farther apart than this are judged in between too."""
_MAX_STEPS = 4
_TOLERANCE = 1e-5
"""How much deeper counts as not deeper [m]: the library's own precision."""


class ArmCollision:
    """Judges runs of joint positions; made once per robot description."""

    def __init__(
        self,
        urdf: str,
        joint_names: Sequence[str],
        base_link: str,
        planes: Sequence[float] = (),
        self_collision: bool = True,
        given: GivenLimits | None = None,
    ) -> None:
        """Read the shapes and choose which pairs of links are judged.

        Args:
            urdf: Text of the robot description.
            joint_names: The arm's joints, in the order of all arrays; others are fixed at zero.
            base_link: Link in whose frame planes are expressed.
            planes: Four numbers each, a normal of any length and a distance [m]: the arm stays
                where ``normal . x >= distance``; the distance is scaled with the normal.
            self_collision: Whether links are judged against each other.
            given: Limits that parameters give.

        Raises:
            KinematicsError: Not a URDF, or a joint or link is not in it; lists what is.
        """
        description = read_description(urdf)
        self._arm = ArmModel(description, joint_names)
        self._limits = joint_limits(description, tuple(joint_names), given or GivenLimits())
        self._steps = np.array([_STEPS[unit] for unit in self._limits.units])
        self._model: Any = self._arm.model
        self._data = self._model.createData()
        self._lock = threading.Lock()
        self._learnt = False
        self._given = np.array(planes, dtype=np.float64).reshape(-1, 4)
        self._normals, self._distances = _in_world(
            self._given, self._arm.base_placement(base_link)
        )
        robot = read_shapes(urdf)
        self._shapes = [shape for shape in robot.shapes if self._frame(shape.link) is not None]
        self._moving = [i for i, shape in enumerate(self._shapes) if self._moves(shape.link)]
        shaped = {shape.link for shape in self._shapes} - set(robot.left_out)
        self._origins = [
            frame.name for frame in self._model.frames
            if frame.type == BODY and frame.parentJoint and frame.name not in shaped
        ]  # fmt: skip
        self._pairs = self._candidates(robot) if self_collision else []
        self._rebuild()
        unclear = self._often_overlapping()
        self._drop(unclear)
        self.warning = _sentence(robot, unclear) if self_collision or planes else ''
        """Which links have no shape and which pairs are not judged, for a log; '' if all are."""

    @property
    def judged(self) -> tuple[tuple[str, str], ...]:
        """The pairs of links that are judged against each other."""
        return tuple(sorted({self._links(pair) for pair in self._pairs}))

    def check(self, rows: FloatArray) -> None:
        """Judge a motion.

        What already overlaps, or lies beyond a plane, in the first row may only come out.

        Args:
            rows: Shape (k, n) [rad or m]; row 0 is where the motion starts and is not judged,
                row ``i + 1`` is the target of action ``i``.

        Raises:
            ChunkError: Names the action, the two links or the link and the plane, and how deep.
        """
        rows = np.asarray(rows, dtype=np.float64)
        if not np.isfinite(rows).all():
            raise ChunkError('the targets are not finite: expected joint positions')
        with self._lock:
            if not self._learnt:
                self._learn(rows[0])
            if not self._pairs and not len(self._given):
                return
            path, actions = _refined(rows, self._steps)
            gaps, heights = self._measure(path)
            for row in range(1, len(path)):
                # The best so far, and contact is good enough: nothing may get worse than that.
                self._judge_pairs(gaps[row], _floor(gaps[:row]), actions[row])
                self._judge_planes(heights[row], _floor(heights[:row]), actions[row])

    # ---- judging -----------------------------------------------------------------------------

    def _judge_pairs(self, gaps: FloatArray, floors: FloatArray, action: int) -> None:
        deeper = floors - _TOLERANCE - gaps
        if not len(deeper) or deeper.max() <= 0.0:
            return
        worst = int(np.argmax(deeper))
        first, second = self._links(self._pairs[worst])
        raise ChunkError(
            f'action {action} moves {first} into {second}, by {-gaps[worst]:.3f} m: expected the '
            'links of the arm to stay apart (workspace.self_collision)'
        )

    def _judge_planes(self, heights: FloatArray, floors: FloatArray, action: int) -> None:
        deeper = floors - _TOLERANCE - heights
        if not deeper.size or deeper.max() <= 0.0:
            return
        plane, body = np.unravel_index(int(np.argmax(deeper)), deeper.shape)
        bodies = [self._shapes[i].link for i in self._moving] + self._origins
        raise ChunkError(
            f'action {action} moves {bodies[body]} {-heights[plane, body]:.3f} m beyond plane '
            f'{plane} of workspace.planes, {self._given[plane].tolist()}: expected every link '
            'where x nx + y ny + z nz >= d'
        )

    # ---- measuring ---------------------------------------------------------------------------

    def _measure(self, path: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distance of each pair, (k, pairs), and above each plane, (k, planes, bodies) [m]."""
        gaps = np.empty((len(path), len(self._pairs)))
        count = len(self._moving) + len(self._origins)
        heights = np.empty((len(path), len(self._given), count))
        for index, row in enumerate(path):
            place = self._arm.configuration(row)
            if self._pairs:
                pin.computeDistances(
                    self._model, self._data, self._solids, self._solid_data, place
                )
                gaps[index] = [r.min_distance for r in self._solid_data.distanceResults]
            else:
                pin.updateGeometryPlacements(
                    self._model, self._data, self._solids, self._solid_data, place
                )
            if len(self._given):
                pin.updateFramePlacements(self._model, self._data)
                heights[index] = self._heights()
        return gaps, heights

    def _heights(self) -> FloatArray:
        columns = []
        for i in self._moving:
            pose = self._solid_data.oMg[i]
            reach = self._shapes[i].reach(-self._normals @ pose.rotation)
            columns.append(self._normals @ pose.translation - reach - self._distances)
        for name in self._origins:
            origin = self._data.oMf[self._model.getFrameId(name, BODY)].translation
            columns.append(self._normals @ origin - self._distances)
        return np.array(columns).reshape(-1, len(self._given)).T

    # ---- choosing pairs ------------------------------------------------------------------------

    def _frame(self, link: str) -> Any:
        return self._arm.link(link)

    def _moves(self, link: str) -> bool:
        return bool(self._frame(link).parentJoint)

    def _links(self, pair: tuple[int, int]) -> tuple[str, str]:
        return self._shapes[pair[0]].link, self._shapes[pair[1]].link

    def _candidates(self, robot: RobotShapes) -> list[tuple[int, int]]:
        """Solids that can move against each other and do not hang together."""
        pairs = []
        for second in range(len(self._shapes)):
            for first in range(second):
                one, other = self._links((first, second))
                if self._frame(one).parentJoint == self._frame(other).parentJoint:
                    continue
                if robot.parents.get(one) == other or robot.parents.get(other) == one:
                    continue
                pairs.append((first, second))
        return pairs

    def _rebuild(self) -> None:
        """The library's own model of the solids and of the pairs that are judged."""
        self._solids: Any = pin.GeometryModel()
        for index, shape in enumerate(self._shapes):
            frame = self._frame(shape.link)
            self._solids.addGeometryObject(_solid(index, shape, frame))
        for first, second in self._pairs:
            self._solids.addCollisionPair(pin.CollisionPair(first, second))
        self._solid_data: Any = pin.GeometryData(self._solids)

    def _often_overlapping(self) -> set[tuple[str, str]]:
        """Pairs of links whose shapes overlap in more than half of all poses."""
        if not self._pairs:
            return set()
        generator = np.random.default_rng(_SEED)
        low, high = _ranges(self._limits)
        poses = generator.uniform(low, high, (_SAMPLES, len(low)))
        count: dict[tuple[str, str], int] = {}
        for pose in poses:
            for links in self._overlapping(pose):
                count[links] = count.get(links, 0) + 1
        return {links for links, times in count.items() if times > _TOO_OFTEN * _SAMPLES}

    def _overlapping(self, pose: FloatArray) -> set[tuple[str, str]]:
        place = self._arm.configuration(pose)
        pin.computeCollisions(
            self._model, self._data, self._solids, self._solid_data, place, False
        )
        results = self._solid_data.collisionResults
        return {
            self._links(pair)
            for pair, result in zip(self._pairs, results, strict=True) if result.isCollision()
        }  # fmt: skip

    def _drop(self, links: set[tuple[str, str]]) -> None:
        if links:
            self._pairs = [pair for pair in self._pairs if self._links(pair) not in links]
            self._rebuild()

    def _learn(self, start: FloatArray) -> None:
        """What overlaps where the arm stands at the first check is how its shapes are drawn."""
        self._learnt = True
        touching = self._overlapping(start)
        self._drop(touching)
        if touching:
            _LOG.warning(
                'not judged for self-collision, since their shapes overlap where the arm stands: '
                '%s', _names(touching),
            )  # fmt: skip


def _floor(before: FloatArray) -> FloatArray:
    return np.asarray(np.minimum(before.max(axis=0), 0.0))


def _solid(index: int, shape: Shape, frame: Any) -> Any:
    return pin.GeometryObject(
        f'{shape.link}/{index}', frame.parentJoint, frame.placement * shape.placement,
        shape.geometry,
    )  # fmt: skip


def _in_world(planes: FloatArray, base: Any) -> tuple[FloatArray, FloatArray]:
    """Unit normals (p, 3) and distances (p,) in the model's world."""
    length = np.linalg.norm(planes[:, :3], axis=1)
    normals = planes[:, :3] / length[:, None] @ base.rotation.T
    return normals, planes[:, 3] / length + normals @ base.translation


def _ranges(limits: JointLimits) -> tuple[FloatArray, FloatArray]:
    """Where random poses are drawn: at most a turn either way, half of it without limits."""
    endless = np.isinf(limits.lower)
    low = np.where(endless, -np.pi, np.maximum(limits.lower, -2.0 * np.pi))
    high = np.where(endless, np.pi, np.minimum(limits.upper, 2.0 * np.pi))
    return low, np.maximum(low, high)


def _refined(rows: FloatArray, most: FloatArray) -> tuple[FloatArray, list[int]]:
    """The rows with others in between where they lie far apart, and the action of each."""
    path, actions = [rows[:1]], [-1]
    for action, (before, after) in enumerate(zip(rows[:-1], rows[1:], strict=True)):
        steps = int(np.clip(np.ceil((np.abs(after - before) / most).max()), 1, _MAX_STEPS))
        path.append(np.linspace(before, after, steps + 1)[1:])
        actions += [action] * steps
    return np.vstack(path), actions


def _sentence(robot: RobotShapes, unclear: set[tuple[str, str]]) -> str:
    parts = []
    if robot.left_out:
        reasons = ', '.join(f'{link} ({reason})' for link, reason in robot.left_out.items())
        parts.append(f'without a collision shape, and so not judged: {reasons}')
    if unclear:
        parts.append(f'not judged, since they overlap in most poses: {_names(unclear)}')
    return '; '.join(parts)


def _names(pairs: set[tuple[str, str]]) -> str:
    return ', '.join(f'{first} and {second}' for first, second in sorted(pairs))
