"""Refuses a chunk that moves the arm into itself or through a plane such as the table.

Which pairs of links are judged follows MoveIt's rules: not links that hang together, not links
that overlap in more than half of all poses (their shapes are too coarse to tell), and not links
that overlap where the arm stands at the first check. Each is said once.

Between two places nothing can have met that was farther apart at both than it moves from one to
the other: so places in between are judged where, and only where, that is not so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
_FINE = 0.004
"""Two links that come no farther than this between two places are judged at these alone [m]."""
_TOLERANCE = 1e-5
"""How much deeper counts as not deeper [m]: the library's own precision."""


@dataclass(frozen=True)
class _Place:
    """What was measured at one place.

    Attributes:
        joints: Shape (n,).
        gaps: Distance of each pair, (pairs,) [m].
        heights: Of each body above each plane, (planes, bodies) [m].
    """

    joints: FloatArray
    gaps: FloatArray
    heights: FloatArray


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
        self._slides = self._slide_ranges()
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
            here = floors = self._measure(rows[0])
            for action, target in enumerate(rows[1:]):
                places = [*self._between(here, target)]
                here = places[-1]
                self._judge(here, floors, action)  # the target first: it is what was meant
                for place in places:
                    self._judge(place, floors, action)
                    floors = _Place(
                        place.joints, np.maximum(floors.gaps, place.gaps),
                        np.maximum(floors.heights, place.heights),
                    )  # fmt: skip

    # ---- judging -----------------------------------------------------------------------------

    def _judge(self, place: _Place, floors: _Place, action: int) -> None:
        """The best so far, and contact is good enough: nothing may get worse than that."""
        self._judge_pairs(place.gaps, np.minimum(floors.gaps, 0.0), action)
        self._judge_planes(place.heights, np.minimum(floors.heights, 0.0), action)

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

    def _between(self, here: _Place, target: FloatArray) -> Iterator[_Place]:
        """The way from a place to a target, in places between which nothing can have met."""
        ahead = [self._measure(target)]
        while ahead:
            there = ahead[-1]
            if self._is_near(here, there):
                here = ahead.pop()
                yield here
            else:
                ahead.append(self._measure(0.5 * (here.joints + there.joints)))

    def _is_near(self, one: _Place, other: _Place) -> bool:
        """Whether no pair, and no link and plane, comes farther than it is apart at both ends."""
        turned = np.abs(
            self._arm.configuration(other.joints) - self._arm.configuration(one.joints)
        )
        apart = np.maximum(one.gaps + other.gaps, _FINE)
        above = np.maximum(one.heights + other.heights, _FINE)
        return bool(
            (self._pair_ways @ turned <= apart).all() and (self._body_ways @ turned <= above).all()
        )

    def _measure(self, joints: FloatArray) -> _Place:
        place = self._arm.configuration(joints)
        gaps = np.empty(0)
        heights = np.empty((0, len(self._moving) + len(self._origins)))
        if self._pairs:
            pin.computeDistances(self._model, self._data, self._solids, self._solid_data, place)
            gaps = np.array([r.min_distance for r in self._solid_data.distanceResults])
        else:
            pin.updateGeometryPlacements(
                self._model, self._data, self._solids, self._solid_data, place
            )
        if len(self._given):
            pin.updateFramePlacements(self._model, self._data)
            heights = self._heights()
        return _Place(joints, gaps, heights)

    def _ways(self, joint: int, offset: FloatArray, radius: float) -> FloatArray:
        """How far what a joint carries moves at most with each joint, (joints,) [m/rad or 1]."""
        ways = np.zeros(self._model.njoints - 1)
        far = float(np.linalg.norm(offset)) + radius
        while joint > 0:
            slides = self._slides[joint - 1]
            ways[joint - 1] = 1.0 if slides else far
            far += float(np.linalg.norm(self._model.jointPlacements[joint].translation)) + slides
            joint = self._model.parents[joint]
        return ways

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

    def _slide_ranges(self) -> FloatArray:
        """Of each of the library's joints that slides how far it does [m]; 0 for the others."""
        ends = [np.where(np.isfinite(end), end, 0.0)
                for end in (self._limits.lower, self._limits.upper)]  # fmt: skip
        most = np.abs([self._arm.configuration(end) for end in ends]).max(axis=0)
        slides = [joint.shortname().startswith('JointModelP') for joint in self._model.joints]
        return np.where(slides[1:], np.maximum(most, _FINE), 0.0)

    def _rebuild(self) -> None:
        """The library's own model of the solids and of the pairs that are judged."""
        self._solids: Any = pin.GeometryModel()
        for index, shape in enumerate(self._shapes):
            frame = self._frame(shape.link)
            self._solids.addGeometryObject(_solid(index, shape, frame))
        for first, second in self._pairs:
            self._solids.addCollisionPair(pin.CollisionPair(first, second))
        self._solid_data: Any = pin.GeometryData(self._solids)
        joints = self._model.njoints - 1
        ways = np.array([
            self._ways(solid.parentJoint, solid.placement.translation, _radius(shape))
            for solid, shape in zip(self._solids.geometryObjects, self._shapes, strict=True)
        ]).reshape(-1, joints)  # fmt: skip
        # A joint that carries both links of a pair moves neither against the other.
        self._pair_ways = np.array([
            np.where((ways[first] > 0) & (ways[second] > 0), 0.0, ways[first] + ways[second])
            for first, second in self._pairs
        ]).reshape(-1, joints)  # fmt: skip
        bare = [self._ways(frame.parentJoint, frame.placement.translation, 0.0)
                for frame in map(self._frame, self._origins)]  # fmt: skip
        self._body_ways = np.array([*ways[self._moving], *bare]).reshape(-1, joints)

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


def _radius(shape: Shape) -> float:
    """A bound on how far a solid reaches from its frame's origin, in any direction [m]."""
    axes = np.eye(3)
    return float(np.linalg.norm(np.maximum(shape.reach(axes), shape.reach(-axes))))


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
