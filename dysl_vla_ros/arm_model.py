"""Pinocchio's model of one arm, built from the tree of a robot description.

Every other joint is fixed at zero. A joint that mimics one of the arm's moves with it; one that
mimics another stands at its offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pinocchio as pin  # type: ignore[import-untyped]

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.description import Description, Joint
from dysl_vla_ros.errors import KinematicsError

BODY = pin.FrameType.BODY


class ArmModel:
    """The library's model, and the way from the arm's joints to its vectors.

    Attributes:
        model: Of the library; a frame for each link, and none with another meaning.
    """

    def __init__(self, description: Description, joint_names: Sequence[str]) -> None:
        """Build it.

        Args:
            description: The tree.
            joint_names: The arm's joints, in the order of all arrays.

        Raises:
            KinematicsError: A joint is not in the description, or is none that an arm can have.
        """
        names = tuple(joint_names)
        if not names or len(set(names)) != len(names):
            raise KinematicsError(f'joint_names = {names}: expected at least one, each once')
        self._arm = {name: index for index, name in enumerate(names)}
        for name in names:
            description.joint(name)
        self._joints = {joint.name: joint for joint in description.joints}
        self.model: Any = pin.Model()
        rows: list[tuple[int, float, float]] = []
        links: dict[str, tuple[int, Any]] = {description.root: (0, pin.SE3.Identity())}
        self._add_link(description.root, links[description.root])
        for joint in description.joints:
            carrier, place = links[joint.parent]
            place = place * pin.SE3(pin.rpy.rpyToMatrix(*joint.rpy), joint.xyz)
            source, factor, offset = self._follows(joint)
            if source is None:
                links[joint.child] = (carrier, place * _moved(joint, offset))
            else:
                added = self.model.addJoint(carrier, _library_joint(joint), place, joint.name)
                rows.append((source, factor, offset))
                links[joint.child] = (added, pin.SE3.Identity())
            self._add_link(joint.child, links[joint.child])
        self._source = np.array([source for source, _, _ in rows], dtype=int)
        self._factor = np.array([factor for _, factor, _ in rows])
        self._offset = np.array([offset for _, _, offset in rows])
        self._columns = np.zeros((len(rows), len(names)))
        self._columns[np.arange(len(rows)), self._source] = self._factor

    def configuration(self, joints: FloatArray) -> FloatArray:
        """The library's vector for joints of shape (n,) [rad or m]."""
        return np.asarray(np.asarray(joints)[self._source] * self._factor + self._offset)

    def columns(self, jacobian: FloatArray) -> FloatArray:
        """A Jacobian of the library, (6, m), by the arm's joints, (6, n)."""
        return jacobian @ self._columns

    def link(self, name: str) -> Any:
        """The frame of a link; None when there is none."""
        if not self.model.existFrame(name, BODY):
            return None
        return self.model.frames[self.model.getFrameId(name, BODY)]

    def frame(self, link: str, what: str) -> int:
        """Number of a link's frame.

        Raises:
            KinematicsError: There is no such link; ``what`` is the parameter that names it.
        """
        if not self.model.existFrame(link, BODY):
            links = [frame.name for frame in self.model.frames if frame.type == BODY]
            raise KinematicsError(
                f'{what} = {link!r} is not in robot_description: '
                f'expected one of {", ".join(links)}'
            )
        return int(self.model.getFrameId(link, BODY))

    def unmoved(self, base_link: str, tip_link: str) -> tuple[str, ...]:
        """Joints between two links that could move, and that nothing of the arm moves."""
        carries = {joint.child: joint for joint in self._joints.values()}
        ways: list[set[str]] = []
        for link in (base_link, tip_link):
            way = set()
            while link in carries:
                way.add(carries[link].name)
                link = carries[link].parent
            ways.append(way)
        between = [self._joints[name] for name in self._joints if name in ways[0] ^ ways[1]]
        return tuple(
            joint.name for joint in between
            if joint.kind != 'fixed' and self._follows(joint)[0] is None
        )  # fmt: skip

    def base_placement(self, base_link: str) -> Any:
        """Pose of the base link in the model's world.

        Raises:
            KinematicsError: There is no such link, or it moves.
        """
        base = self.model.frames[self.frame(base_link, 'base_link')]
        if base.parentJoint != 0:
            raise KinematicsError(
                f'base_link = {base_link!r} moves with {self.model.names[base.parentJoint]}: '
                'expected a link before every joint of the arm'
            )
        return base.placement

    def _add_link(self, name: str, place: tuple[int, Any]) -> None:
        self.model.addFrame(pin.Frame(name, place[0], 0, place[1], BODY))

    def _follows(self, joint: Joint) -> tuple[int | None, float, float]:
        """Which of the arm's joints moves it, how far for each of its units, and from where."""
        factor, offset = 1.0, 0.0
        seen = set()
        while joint.mimic and joint.name not in self._arm:
            if joint.name in seen:
                raise KinematicsError(f'joint {joint.name}: it mimics itself: expected another')
            seen.add(joint.name)
            leader = joint.mimic.get('joint', '')
            if leader not in self._joints:
                break  # as published hands have it: nobody moves this one
            offset += factor * (joint.number('mimic', 'offset', 0.0) or 0.0)
            factor *= joint.number('mimic', 'multiplier', 1.0) or 0.0
            joint = self._joints[leader]
        return self._arm.get(joint.name), factor, offset


def _library_joint(joint: Joint) -> Any:
    axis = joint.direction()
    if joint.kind == 'prismatic':
        return pin.JointModelPrismaticUnaligned(axis)
    return pin.JointModelRevoluteUnaligned(axis)


def _moved(joint: Joint, value: float) -> Any:
    """What a joint that is not the arm's adds, standing at ``value``."""
    if value == 0.0 or joint.kind not in ('revolute', 'continuous', 'prismatic'):
        return pin.SE3.Identity()
    axis = joint.direction()
    if joint.kind == 'prismatic':
        return pin.SE3(np.eye(3), value * axis)
    return pin.SE3(pin.exp3(value * axis), np.zeros(3))
