"""The gripper as an action server (`control_msgs/GripperCommand`), where control_msgs exists."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from dysl_vla_ros.errors import ConfigError

ACTION_NAME = 'gripper_command_action'


class GripperAction:
    """Sends goals and does not wait: the newest one replaces the others.

    A goal for a server that is not there yet waits for it, until a newer one comes or ``forget``
    is called; ``poll`` sends it. Called by one thread.
    """

    def __init__(self, node: Node, action: Any = None) -> None:
        """Create the client.

        Args:
            node: Its owner.
            action: Type with the goal ``command.position``; None = ``GripperCommand``.

        Raises:
            ConfigError: control_msgs is not installed.
        """
        action = action or _gripper_command()
        self._goal_type = action.Goal
        self._client = ActionClient(node, action, ACTION_NAME)
        self._waiting: float | None = None

    @property
    def waiting(self) -> float | None:
        """The position that no server has been told yet; None without one."""
        return self._waiting

    def send(self, position: float) -> None:
        """Ask for a position of the gripper joint, now or as soon as there is a server."""
        self._waiting = position
        self.poll()

    def poll(self) -> None:
        """Send the goal that waits, if there is one and a server; call it in each tick."""
        if self._waiting is None or not self._client.server_is_ready():
            return
        goal = self._goal_type()
        goal.command.position = self._waiting
        self._waiting = None
        self._client.send_goal_async(goal)

    def forget(self) -> None:
        """Drop the goal that waits: a gripper must not move after the arm was disarmed."""
        self._waiting = None

    def destroy(self) -> None:
        """Drop the client."""
        self._client.destroy()


def _gripper_command() -> Any:
    try:
        from control_msgs.action import GripperCommand
    except ImportError:
        raise ConfigError(
            'gripper.interface',
            'action',
            "'topic' or 'joint', or control_msgs installed (apt: ros-<distro>-control-msgs)",
        ) from None
    return GripperCommand
