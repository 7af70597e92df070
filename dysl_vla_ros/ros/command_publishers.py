"""Where commands go: to the controllers when armed, to `~/shadow/...` when not."""

from __future__ import annotations

import time
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import COMMAND_TOPICS, Command, FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.ros import command_messages as messages
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.gripper_channel import GripperChannel

MESSAGES: dict[str, Any] = {
    'joint_trajectory': JointTrajectory,
    'joint_commands': Float64MultiArray,
    'joint_state': JointState,
    'twist': TwistStamped,
    'pose': PoseStamped,
}
"""``command_type`` -> message type."""


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

        Raises:
            ConfigError: Commands would go where the joints are measured, or the gripper's way is
                not to be had.
        """
        self._node = node
        self._config = config
        self._kind = config.action.command_type
        self._joint_names = joint_names
        self._frame_id = config.action.frame_id or frame_id
        self._period = 1.0 / config.timing.command_rate_hz
        self._armed = config.safety.armed
        self._in_motion = False
        self.overdue = 0
        """Windows that were not sent because they lay in the past."""
        self.gripper = GripperChannel(node, config.gripper)  # may refuse, so it comes first
        topic, kind = COMMAND_TOPICS[self._kind], MESSAGES[self._kind]
        measured = node.resolve_topic_name('joint_states')
        if node.resolve_topic_name(topic) in (measured, '/joint_states'):
            self.gripper.destroy()
            raise ConfigError(
                'command_type', self._kind,
                f'another topic than {measured}, where the arm says how it stands: what is '
                f'commanded would pass for what is measured; remap {topic} elsewhere',
            )  # fmt: skip
        self._live = node.create_publisher(kind, topic, qos.COMMAND)
        self._shadow = node.create_publisher(kind, f'~/shadow/{topic}', qos.COMMAND)

    def destroy(self) -> None:
        """Drop all publishers."""
        self.gripper.destroy()
        for publisher in (self._live, self._shadow):
            self._node.destroy_publisher(publisher)

    @property
    def command_topic(self) -> str:
        """Resolved name of the topic that moves the arm."""
        return str(self._live.topic_name)

    @property
    def listeners(self) -> int:
        """How many subscribe to the topic that moves the arm."""
        return int(self._live.get_subscription_count())

    def gripper_report(self) -> str:
        """What became of what the gripper was told, for people."""
        return self.gripper.report()

    def gripper_problem(self) -> str:
        """Why the gripper does not do what is wanted; '' when it does, or nobody can know."""
        return self.gripper.problem()

    def publish(
        self,
        command: Command,
        armed: bool,
        kinematics: ArmKinematics | None,
        opening: float | None,
        ros_now: float | None = None,
        stamped: bool = True,
    ) -> None:
        """Send one command.

        Args:
            command: From the control loop.
            armed: False sends to the shadow topics only.
            kinematics: Needed for twist and pose.
            opening: Measured opening of the gripper; None without a measurement.
            ros_now: ROS time of the tick, where it is simulated [s].
            stamped: Whether a trajectory should carry a stamp, rather than begin on arrival.
        """
        self._armed = armed
        self.gripper.begin(armed, opening)
        late = time.monotonic() - command.stamp
        if late > command.window_times[-1]:
            self.overdue += 1  # the process was stopped in between: the whole window is past
            return
        self._in_motion = True
        carried = self.gripper.carried(command, opening)
        (self._live if armed else self._shadow).publish(
            self._message(command, kinematics, carried, ros_now, stamped)
        )
        self.gripper.send(command)

    def finish(self) -> None:
        """The commands end here: what would go on by itself is told to stop."""
        if self._in_motion and self._kind == 'twist':
            message = TwistStamped()
            message.header.frame_id = self._frame_id
            message.header.stamp = self._node.get_clock().now().to_msg()
            (self._live if self._armed else self._shadow).publish(message)
        self._in_motion = False
        self.gripper.finish()

    def _message(
        self,
        command: Command,
        kinematics: ArmKinematics | None,
        carried: tuple[str, FloatArray] | None,
        ros_now: float | None,
        stamped: bool,
    ) -> Any:
        """A command as a message of the command type.

        Args:
            command: From the control loop.
            kinematics: Needed for twist and pose.
            carried: Name and values (k,) of a gripper that travels with the arm's joints.
            ros_now: As of ``publish``.
            stamped: As of ``publish``.
        """
        if self._kind == 'joint_trajectory':
            wanted = self._config.safety.stamped
            stamp = self._stamp(command, ros_now) if wanted and stamped else None
            return messages.joint_trajectory(
                command, self._joint_names, carried, stamp, whole=wanted
            )
        if self._kind == 'joint_commands':
            return messages.joint_commands(command, None if carried is None else carried[1])
        if self._kind == 'joint_state':
            stamp = self._stamp(command, ros_now)
            return messages.joint_state(command, self._joint_names, stamp, carried)
        assert kinematics is not None, 'checked when the control loop was built'
        stamp = self._node.get_clock().now().to_msg()
        pose = kinematics.forward(command.positions)
        if self._kind == 'pose':
            return messages.pose_target(*pose, self._frame_id, stamp)
        ahead = kinematics.forward(command.positions + command.velocities * self._period)
        return messages.twist(pose, ahead, self._period, self._frame_id, stamp)

    def _stamp(self, command: Command, ros_now: float | None) -> Any:
        """The instant of the tick, in ROS time."""
        if ros_now is not None:
            return messages.ros_time(ros_now)
        ago = time.monotonic() - command.stamp
        return messages.ros_time(1e-9 * self._node.get_clock().now().nanoseconds - ago)
