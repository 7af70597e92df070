"""Where commands go: to the controllers when armed, to `~/shadow/...` when not."""

from __future__ import annotations

import time
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.gripper_filter import GripperFilter, GripperRamp
from dysl_vla_ros.data_types import COMMAND_TOPICS, Command, FloatArray
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.ros import command_messages as messages
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.gripper_action import GripperAction

MESSAGES: dict[str, Any] = {
    'joint_trajectory': JointTrajectory,
    'joint_commands': Float64MultiArray,
    'twist': TwistStamped,
    'pose': PoseStamped,
}
"""``command_type`` -> message type."""
GRIPPER_TOPIC = 'gripper_command'


class CommandPublishers:
    """Publishes commands of one type; called by the command thread alone."""

    def __init__(
        self, node: Node, config: NodeConfig, joint_names: tuple[str, ...], frame_id: str = ''
    ) -> None:
        """Create the publishers, live and shadow.

        Args:
            node: Their owner.
            config: Validated parameters.
            joint_names: Joints of the arm, in the policy's order.
            frame_id: Of poses and twists.
        """
        self._node = node
        self._config = config
        self._kind = config.action.command_type
        self._joint_names = joint_names
        self._frame_id = config.action.frame_id or frame_id
        self._period = 1.0 / config.timing.command_rate_hz
        self._gripper = GripperFilter(config.gripper)
        self._ramp = GripperRamp(config.gripper)
        self._interface = config.gripper.interface
        self._armed = config.safety.armed
        self._in_motion = False
        self.overdue = 0
        """Windows that were not sent because they lay in the past."""
        self._gripper_action: GripperAction | None = None
        if self._interface == 'action':
            self._gripper_action = GripperAction(node)  # may refuse, so it comes first
        self._live, self._shadow = self._pair(COMMAND_TOPICS[self._kind], MESSAGES[self._kind])
        self._gripper_live: Publisher | None = None
        self._gripper_shadow: Publisher | None = None
        if self._interface in ('topic', 'action'):
            self._gripper_live, self._gripper_shadow = self._pair(GRIPPER_TOPIC, Float64MultiArray)

    def destroy(self) -> None:
        """Drop all publishers."""
        for publisher in (self._live, self._shadow, self._gripper_live, self._gripper_shadow):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        if self._gripper_action is not None:
            self._gripper_action.destroy()

    @property
    def command_topic(self) -> str:
        """Resolved name of the topic that moves the arm."""
        return str(self._live.topic_name)

    @property
    def listeners(self) -> int:
        """How many subscribe to the topic that moves the arm."""
        return int(self._live.get_subscription_count())

    def publish(
        self,
        command: Command,
        armed: bool,
        kinematics: ArmKinematics | None,
        opening: float | None,
    ) -> None:
        """Send one command.

        Args:
            command: From the control loop.
            armed: False sends to the shadow topics only.
            kinematics: Needed for twist and pose.
            opening: Measured opening of the gripper; None without a measurement.
        """
        if armed != self._armed:
            # What only the shadow was told, the gripper does not know.
            self._gripper = GripperFilter(self._config.gripper)
            self._ramp = GripperRamp(self._config.gripper)
            self._armed = armed
            if self._gripper_action is not None:
                self._gripper_action.forget()
        if self._gripper_action is not None:
            self._gripper_action.poll()
        late = time.monotonic() - command.stamp
        if late > command.window_times[-1]:
            self.overdue += 1  # the process was stopped in between: the whole window is past
            return
        self._in_motion = True
        (self._live if armed else self._shadow).publish(
            self._message(command, kinematics, opening)
        )
        wanted = self._gripper.update(command.gripper, not command.hold, command.stamp)
        if wanted is not None:
            self._send_gripper(wanted, armed)

    def finish(self) -> None:
        """The commands end here: what would go on by itself is told to stop."""
        if self._in_motion and self._kind == 'twist':
            message = TwistStamped()
            message.header.frame_id = self._frame_id
            message.header.stamp = self._node.get_clock().now().to_msg()
            (self._live if self._armed else self._shadow).publish(message)
        self._in_motion = False

    def _message(
        self, command: Command, kinematics: ArmKinematics | None, opening: float | None
    ) -> Any:
        if self._kind == 'joint_trajectory':
            gripper = self._gripper_joint(command, opening)
            stamp = self._stamp(command) if self._config.safety.stamped else None
            return messages.joint_trajectory(command, self._joint_names, gripper, stamp)
        if self._kind == 'joint_commands':
            return messages.joint_commands(command)
        assert kinematics is not None, 'checked when the control loop was built'
        stamp = self._node.get_clock().now().to_msg()
        pose = kinematics.forward(command.positions)
        if self._kind == 'pose':
            return messages.pose_target(*pose, self._frame_id, stamp)
        ahead = kinematics.forward(command.positions + command.velocities * self._period)
        return messages.twist(pose, ahead, self._period, self._frame_id, stamp)

    def _stamp(self, command: Command) -> Any:
        """The instant of the tick, in ROS time."""
        ago = time.monotonic() - command.stamp
        return messages.ros_time(1e-9 * self._node.get_clock().now().nanoseconds - ago)

    def _gripper_joint(
        self, command: Command, measured: float | None
    ) -> tuple[str, FloatArray] | None:
        """The gripper as a joint of the trajectory: on its way to what was sent."""
        if self._interface != 'joint':
            return None
        opening = measured if self._gripper.sent is None else self._gripper.sent
        if opening is None:
            return None
        value = self._gripper.joint_value(opening)
        column = self._ramp.column(command.stamp, value, command.window_times)
        return self._config.gripper.joint, column

    def _send_gripper(self, opening: float, armed: bool) -> None:
        value = self._gripper.joint_value(opening)
        if armed and self._gripper_action is not None:
            self._gripper_action.send(value)
            return
        publisher = self._gripper_live if armed else self._gripper_shadow
        if publisher is not None:
            publisher.publish(Float64MultiArray(data=[value]))

    def _pair(self, topic: str, kind: Any) -> tuple[Publisher, Publisher]:
        return (
            self._node.create_publisher(kind, topic, qos.COMMAND),
            self._node.create_publisher(kind, f'~/shadow/{topic}', qos.COMMAND),
        )
