"""`joint_states` -> the policy's joints, always matched by name."""

from __future__ import annotations

import math
import time
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.data_types import frozen_array
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.streams import JointHistory, JointSample, Newest, Stream

TOPIC = 'joint_states'
MAX_JOINTS = 256
"""In one message; a whole robot has fewer."""
_SHOWN = 12


class JointParts:
    """The newest value of every joint the policy needs.

    Arm and gripper often publish on the same topic in separate messages, each at its own rate:
    the parts are put together here. A sample is as old as the oldest part of the arm; a gripper,
    ten times slower on many arms or silent while it stands, has a time of its own, and its last
    value counts. The arm's joints never wait for it.
    """

    def __init__(
        self,
        joint_names: tuple[str, ...],
        gripper: GripperConfig | tuple[GripperConfig | None, ...] | None,
    ) -> None:
        """No joint seen yet.

        Args:
            joint_names: Joints of the arm, in the policy's order.
            gripper: Which joint measures the opening, of each arm where there are several; None
                where no opening is read.
        """
        self._arm = joint_names
        single = (gripper,) if isinstance(gripper, GripperConfig) else gripper
        self._grippers: tuple[GripperConfig | None, ...] = single or ()
        self._gripper_joints = [gripper.joint for gripper in self._grippers if gripper]
        self._wanted = {*joint_names, *self._gripper_joints}
        self._parts: dict[str, tuple[float, float, float | None]] = {}

    @property
    def gripper_stamp(self) -> float | None:
        """When the gripper measured longest ago was measured [s]; None before, and without one."""
        parts = [self._parts.get(joint) for joint in self._gripper_joints]
        known = [part[0] for part in parts if part is not None]
        return min(known) if known and len(known) == len(parts) else None

    @property
    def oldest_gripper(self) -> str:
        """Of several grippers' joints the one measured longest ago; '' before, and of one."""
        several = len(self._gripper_joints) > 1 and self.gripper_stamp is not None
        return min(self._gripper_joints, key=lambda one: self._parts[one][0]) if several else ''

    @property
    def grippers_unseen(self) -> list[str]:
        """Joints of grippers that were never measured."""
        return [joint for joint in self._gripper_joints if joint not in self._parts]

    def silent(self, since: float) -> list[str]:
        """Joints of the arm not measured since a time [s], where others were; else none."""
        old = [name for name in self._arm if name in self._parts and self._parts[name][0] < since]
        return old if len(old) < len(self._arm) else []

    def add(self, message: Any, stamp: float) -> JointSample:
        """Take the policy's joints out of a message; others, and any order, are fine.

        A message is taken whole or not at all, and a part is never replaced by an older one.

        Args:
            message: ``sensor_msgs/JointState``.
            stamp: Its time on the steady clock [s].

        Raises:
            InputError: A joint of the arm has never been seen, is not finite, or stands there
                twice with two positions; names and positions differ in number, or are too many.
        """
        for name, (position, effort) in self._read(message).items():
            if name not in self._parts or stamp >= self._parts[name][0]:
                self._parts[name] = (stamp, position, effort)
        missing = [name for name in self._arm if name not in self._parts]
        if missing:
            raise InputError(
                f'{TOPIC}: name = {_shown(message.name)} lacks {missing}: expected all of '
                f'{list(self._arm)}, in any order'
            )
        parts = [self._parts[name] for name in self._arm]
        efforts = [effort for _, _, effort in parts if effort is not None]
        openings = [self._opening(gripper) for gripper in self._grippers]
        return JointSample(
            stamp=min(stamp for stamp, _, _ in parts),
            positions=frozen_array([position for _, position, _ in parts]),
            gripper=openings[0] if openings else None,
            efforts=frozen_array(efforts) if len(efforts) == len(parts) else None,
            more_grippers=tuple(openings[1:]),
        )

    def _read(self, message: Any) -> dict[str, tuple[float, float | None]]:
        """Position and effort of the policy's joints in a message."""
        count = len(message.name)
        if count > MAX_JOINTS or len(message.position) > MAX_JOINTS:
            raise InputError(
                f'{TOPIC}: {count} names and {len(message.position)} positions: expected at most '
                f'{MAX_JOINTS}'
            )
        if count != len(message.position):
            raise InputError(
                f'{TOPIC}: {count} names and {len(message.position)} positions: '
                'expected as many positions as names'
            )
        efforts = getattr(message, 'effort', ())
        found: dict[str, tuple[float, float | None]] = {}
        for index, (name, position) in enumerate(zip(message.name, message.position, strict=True)):
            if name not in self._wanted:
                continue
            if not math.isfinite(position):
                if name not in self._arm:
                    continue  # a gripper that reads nothing spoils no arm: its last value counts
                raise InputError(f'{TOPIC}: position of {name} = {position}: expected finite')
            effort = float(efforts[index]) if len(efforts) == count else None
            if found.setdefault(name, (float(position), effort))[0] != position:
                raise InputError(
                    f'{TOPIC}: position of {name} = {found[name][0]} and {position}: expected one'
                )
        return found

    def _opening(self, gripper: GripperConfig | None) -> float | None:
        if gripper is None or gripper.joint not in self._parts:
            return None
        closed, opened = gripper.closed_value, gripper.open_value
        value = self._parts[gripper.joint][1]
        return float((value - closed) / (opened - closed))


class Joints:
    """Subscribes to `joint_states`; keeps the newest sample and those of the last second."""

    def __init__(
        self,
        node: Node,
        joint_names: tuple[str, ...],
        gripper: GripperConfig | tuple[GripperConfig | None, ...] | None,
        timeout: float,
        arrival: Arrival,
        gripper_timeout: float = 0.0,
    ) -> None:
        """Subscribe; arguments as in ``JointParts`` and ``Camera``.

        ``gripper_timeout``: a gripper silent for longer is reported [s]; 0 = never.
        """
        self.stream = Stream(TOPIC, timeout)
        self.history = JointHistory()
        self._node = node
        self._parts = JointParts(joint_names, gripper)
        self._arrival = arrival
        self._gripper_timeout = gripper_timeout
        self._reported = ''
        self._subscription = node.create_subscription(
            JointState, TOPIC, self._on_message, qos.JOINTS
        )

    @property
    def newest(self) -> JointSample | None:
        """The newest complete sample."""
        newest = self.stream.newest
        return None if newest is None else newest.message

    def problem(self, now: float) -> str:
        """Why the joints cannot be used now, and which of them; '' when they are fresh."""
        problem = self.stream.problem(now)
        aged = problem and not self.stream.last_refusal  # what is refused names its joints
        silent = self._parts.silent(now - self.stream.timeout) if aged else []
        return f'{problem}: of {", ".join(silent)}, not of the others' if silent else problem

    def gripper_unseen(self) -> str:
        """That an opening that is needed was never measured; else ''."""
        unseen = self._parts.grippers_unseen
        if not unseen:
            return ''
        return (
            f'{TOPIC}: {" and ".join(unseen)} was never there with a position: expected the '
            "gripper's opening at least once; move it once if it speaks only then, name its joint "
            'in gripper.joint, or, where nothing measures it, gripper.opening_source: commanded'
        )

    def gripper_age(self, now: float) -> float | None:
        """How old the gripper's value is [s]; None before the first, and without a gripper."""
        stamp = self._parts.gripper_stamp
        return None if stamp is None else now - stamp

    def gripper_problem(self, now: float) -> str:
        """That the gripper's last value is old, for people: it makes nothing stale; else ''."""
        age = self.gripper_age(now)
        if age is None or not self._gripper_timeout or age <= self._gripper_timeout:
            return ''
        oldest = self._parts.oldest_gripper
        which = f' of {oldest}' if oldest else ''
        return (
            f'{TOPIC}: the gripper{which} is {age:.2f} s old, expected at most '
            f'timeout.gripper_s = {self._gripper_timeout:g}; its last value is used'
        )

    def destroy(self) -> None:
        """Drop the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: Any) -> None:
        def build(stamp: float) -> Newest:
            sample = self._parts.add(message, stamp)
            self.history.append(sample)
            return Newest(sample.stamp, sample)

        self._arrival.take(self.stream, message.header.stamp, build)
        problem = self.gripper_problem(time.monotonic())
        if problem and not self._reported:  # once per silence: many grippers speak in motion only
            self._node.get_logger().warning(problem)
        self._reported = problem


def _shown(names: Any) -> list[str]:
    """The first names of a message, cut: a message may hold anything."""
    return [name[:40] for name in names[:_SHOWN]] + (['...'] if len(names) > _SHOWN else [])
