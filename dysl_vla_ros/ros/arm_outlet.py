"""One arm's way out: its topic, live and shadow, and its gripper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rclpy.node import Node

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import Command
from dysl_vla_ros.loop_settings import HOLDS_POINTS
from dysl_vla_ros.ros import gripper_channel, qos
from dysl_vla_ros.ros.gripper_channel import GripperChannel


class ArmOutlet:
    """Publishers of one arm, and which part of a command is its own.

    Attributes:
        name: Of the arm; '' where there is one only.
        joint_names: Its joints.
        live: Publisher that moves it.
        shadow: Publisher of what would move it.
        gripper: Its gripper.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        topic: str,
        joint_names: tuple[str, ...],
        gripper: GripperChannel,
        name: str = '',
        place: tuple[int, int] | None = None,
    ) -> None:
        """Create the publishers.

        Args:
            node: Their owner.
            kind: Type of the messages.
            topic: Where they go.
            joint_names: Joints of this arm.
            gripper: Made before, since it may refuse.
            name: Of the arm, where there are several.
            place: Which arm it is, and where its joints begin in a command; None = the only one.
        """
        self._node = node
        self._place = place
        self.name = name
        self.joint_names = joint_names
        self.gripper = gripper
        self.live = node.create_publisher(kind, topic, qos.COMMAND)
        self.shadow = node.create_publisher(kind, f'~/shadow/{topic.lstrip("/~")}', qos.COMMAND)

    @property
    def topic(self) -> str:
        """Resolved name of the topic that moves this arm."""
        return str(self.live.topic_name)

    @property
    def listeners(self) -> int:
        """How many subscribe to it."""
        return int(self.live.get_subscription_count())

    def part(self, command: Command) -> Command:
        """What of a command is this arm's."""
        if self._place is None:
            return command
        index, first = self._place
        columns = slice(first, first + len(self.joint_names))
        openings = (command.gripper, *command.more_grippers)
        return replace(
            command,
            positions=command.positions[columns],
            velocities=command.velocities[columns],
            window_positions=command.window_positions[:, columns],
            window_velocities=command.window_velocities[:, columns],
            gripper=openings[index] if index < len(openings) else None,
            more_grippers=(),
        )

    def destroy(self) -> None:
        """Drop publishers and gripper."""
        self.gripper.destroy()
        for publisher in (self.live, self.shadow):
            self._node.destroy_publisher(publisher)


def outlets(
    node: Node, config: NodeConfig, kind: Any, topic: str, joint_names: tuple[str, ...]
) -> tuple[ArmOutlet, ...]:
    """Every arm's, in the order of the policy.

    Args:
        node: Owner of what is created.
        config: Validated parameters.
        kind: Type of the messages.
        topic: Of the one arm, where there is one only.
        joint_names: Of the one arm.

    Raises:
        ConfigError: A gripper cannot be reached from this machine; nothing is left behind.
    """
    single = config.action.command_type in HOLDS_POINTS
    if not config.arms.names:
        gripper = GripperChannel(node, config.gripper, holds_points=single)
        return (ArmOutlet(node, kind, topic, joint_names, gripper),)
    grippers: list[GripperChannel] = []
    try:
        for arm in config.arms.each:
            where = f'{arm.name}/{gripper_channel.TOPIC}'
            grippers.append(GripperChannel(node, arm.gripper, where, single))
    except BaseException:
        _drop(grippers)
        raise
    found, first = [], 0
    for index, arm in enumerate(config.arms.each):
        place = (index, first)
        found.append(
            ArmOutlet(
                node, kind, arm.command_topic, arm.joint_names, grippers[index], arm.name, place
            )
        )
        first += len(arm.joint_names)
    return tuple(found)


def _drop(grippers: Sequence[GripperChannel]) -> None:
    for gripper in grippers:
        gripper.destroy()
