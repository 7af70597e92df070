"""`joint_states` -> the policy's joints, always matched by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.data_types import frozen_array
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.streams import JointHistory, JointSample, Newest, Stream

TOPIC = 'joint_states'


class JointParts:
    """The newest value of every joint the policy needs.

    Arm and gripper often publish on the same topic in separate messages: the parts are put
    together here, and a sample is as old as its oldest part.
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

    def add(self, message: Any, stamp: float) -> JointSample:
        """Take the policy's joints out of a message; others, and any order, are fine.

        Args:
            message: ``sensor_msgs/JointState``.
            stamp: Its time on the steady clock [s].

        Raises:
            InputError: A joint has never been seen or is not finite, or names and positions
                differ in number.
        """
        if len(message.name) != len(message.position):
            raise InputError(
                f'{TOPIC}: {len(message.name)} names and {len(message.position)} positions: '
                'expected as many positions as names'
            )
        for name, position in zip(message.name, message.position, strict=True):
            if name in self._wanted:
                if not math.isfinite(position):
                    raise InputError(f'{TOPIC}: position of {name} = {position}: expected finite')
                self._parts[name] = (stamp, float(position))
        missing = [name for name in self._wanted if name not in self._parts]
        if missing:
            raise InputError(
                f'{TOPIC}: name = {list(message.name)} lacks {missing}: expected all of '
                f'{list(self._wanted)}, in any order'
            )
        oldest = min(self._parts[name][0] for name in self._wanted)
        positions = frozen_array([self._parts[name][1] for name in self._arm])
        return JointSample(oldest, positions, self._opening())

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

    def destroy(self) -> None:
        """Drop the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: Any) -> None:
        def build(stamp: float) -> Newest:
            sample = self._parts.add(message, stamp)
            self.history.append(sample)
            return Newest(sample.stamp, sample)

        self._arrival.take(self.stream, message.header.stamp, build)
