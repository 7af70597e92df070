"""The gripper as an action server (`control_msgs/GripperCommand`), where control_msgs exists."""

from __future__ import annotations

from rclpy.action import ActionClient
from rclpy.node import Node

from dysl_vla_ros.errors import ConfigError

ACTION_NAME = 'gripper_command_action'


class GripperAction:
    """Sends goals and does not wait: the newest one replaces the others."""

    def __init__(self, node: Node) -> None:
        """Create the client.

        Raises:
            ConfigError: control_msgs is not installed.
        """
        try:
            from control_msgs.action import GripperCommand
        except ImportError:
            raise ConfigError(
                'gripper.interface',
                'action',
                "'topic' or 'joint', or control_msgs installed (apt: ros-<distro>-control-msgs)",
            ) from None
        self._goal_type = GripperCommand.Goal
        self._client = ActionClient(node, GripperCommand, ACTION_NAME)

    def send(self, position: float) -> None:
        """Ask for a position of the gripper joint."""
        goal = self._goal_type()
        goal.command.position = position
        if self._client.server_is_ready():
            self._client.send_goal_async(goal)

    def destroy(self) -> None:
        """Drop the client."""
        self._client.destroy()
