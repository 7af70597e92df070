"""`joint_states` -> the policy's joints, always matched by name."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.data_types import FloatArray, frozen_array
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.streams import JointHistory, JointSample, Newest, Stream

TOPIC = 'joint_states'
MAX_JOINTS = 256
"""In one message; a whole robot has fewer."""
_LOG_PERIOD_S = 5.0
_SHOWN = 12


class JointParts:
    """The newest value of every joint the policy needs.

    Arm and gripper often publish on the same topic in separate messages, each at its own rate:
    the parts are put together here. A sample is as old as the oldest part of the arm; the gripper,
    ten times slower on many arms, has a time of its own and is the last value known.
    """

    def __init__(self, joint_names: tuple[str, ...], gripper: GripperConfig | None) -> None:
        """No joint seen yet.

        Args:
            joint_names: Joints of the arm, in the policy's order.
            gripper: Which joint measures the opening; None when the policy has no gripper.
        """
        self._arm = joint_names
        self._gripper = gripper
        self._wanted = joint_names if gripper is None else (*joint_names, gripper.joint)
        self._parts: dict[str, tuple[float, float]] = {}

    @property
    def gripper_stamp(self) -> float | None:
        """When the gripper was measured [s]; None before, and where there is none."""
        part = None if self._gripper is None else self._parts.get(self._gripper.joint)
        return None if part is None else part[0]

    def add(self, message: Any, stamp: float) -> JointSample:
        """Take the policy's joints out of a message; others, and any order, are fine.

        A message is taken whole or not at all, and a part is never replaced by an older one.

        Args:
            message: ``sensor_msgs/JointState``.
            stamp: Its time on the steady clock [s].

        Raises:
            InputError: A joint has never been seen, is not finite, or stands there twice with two
                positions; names and positions differ in number, or are too many.
        """
        found = self._read(message)
        for name, position in found.items():
            if name not in self._parts or stamp >= self._parts[name][0]:
                self._parts[name] = (stamp, position)
        missing = [name for name in self._wanted if name not in self._parts]
        if missing:
            raise InputError(
                f'{TOPIC}: name = {_shown(message.name)} lacks {missing}: expected all of '
                f'{list(self._wanted)}, in any order'
            )
        oldest = min(self._parts[name][0] for name in self._arm)
        positions = frozen_array([self._parts[name][1] for name in self._arm])
        return JointSample(oldest, positions, self._opening(), self._efforts(message))

    def _efforts(self, message: Any) -> FloatArray | None:
        """Efforts of the arm, from a message that holds them all."""
        names = list(message.name)
        efforts = getattr(message, 'effort', ())
        if len(efforts) != len(names) or not set(self._arm) <= set(names):
            return None
        return frozen_array([efforts[names.index(name)] for name in self._arm])

    def _read(self, message: Any) -> dict[str, float]:
        """Positions of the policy's joints in a message."""
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
        found: dict[str, float] = {}
        for name, position in zip(message.name, message.position, strict=True):
            if name not in self._wanted:
                continue
            if not math.isfinite(position):
                raise InputError(f'{TOPIC}: position of {name} = {position}: expected finite')
            if found.setdefault(name, float(position)) != position:
                raise InputError(
                    f'{TOPIC}: position of {name} = {found[name]} and {position}: expected one'
                )
        return found

    def _opening(self) -> float | None:
        if self._gripper is None:
            return None
        closed, opened = self._gripper.closed_value, self._gripper.open_value
        value = self._parts[self._gripper.joint][1]
        return float(np.clip((value - closed) / (opened - closed), 0.0, 1.0))


class Joints:
    """Subscribes to `joint_states`; keeps the newest sample and those of the last second."""

    def __init__(
        self,
        node: Node,
        joint_names: tuple[str, ...],
        gripper: GripperConfig | None,
        timeout: float,
        arrival: Arrival,
    ) -> None:
        """Subscribe; arguments as in ``JointParts`` and ``Camera``."""
        self.stream = Stream(TOPIC, timeout)
        self.history = JointHistory()
        self._node = node
        self._gripper = gripper
        self._parts = JointParts(joint_names, gripper)
        self._arrival = arrival
        self._subscription = node.create_subscription(
            JointState, TOPIC, self._on_message, qos.SENSOR
        )

    @property
    def newest(self) -> JointSample | None:
        """The newest complete sample."""
        newest = self.stream.newest
        return None if newest is None else newest.message

    def gripper_problem(self, now: float) -> str:
        """That the gripper's last value is old, for people: it makes nothing stale; else ''."""
        stamp = self._parts.gripper_stamp
        if self._gripper is None or stamp is None or now - stamp <= self._gripper.timeout_s:
            return ''
        return (
            f'{TOPIC}: {self._gripper.joint} is {now - stamp:.2f} s old, expected at most '
            f'timeout.gripper_s = {self._gripper.timeout_s:g}; its last value is used'
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
        if problem:
            self._node.get_logger().warning(problem, throttle_duration_sec=_LOG_PERIOD_S)


def _shown(names: Any) -> list[str]:
    """The first names of a message, cut: a message may hold anything."""
    return [name[:40] for name in names[:_SHOWN]] + (['...'] if len(names) > _SHOWN else [])
