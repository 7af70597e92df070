"""Where commands go: to the controllers when armed, to `~/shadow/...` when not."""

from __future__ import annotations

import time
from collections.abc import Iterable
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
from dysl_vla_ros.ros.arm_outlet import ArmOutlet, outlets

MESSAGES: dict[str, Any] = {
    'joint_trajectory': JointTrajectory,
    'joint_commands': Float64MultiArray,
    'joint_state': JointState,
    'twist': TwistStamped,
    'pose': PoseStamped,
}
"""``command_type`` -> message type."""

_LATE_PERIODS = 2
"""So late a window that begins on arrival may be sent."""


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
            ConfigError: Commands would go where the joints are measured or to another arm, or the
                gripper's way is not to be had.
        """
        self._node = node
        self._config = config
        self._kind = config.action.command_type
        self._frame_id = config.action.frame_id or frame_id
        self._period = 1.0 / config.timing.command_rate_hz
        self._armed = config.safety.armed
        self._in_motion = False
        self.overdue = 0
        """Windows that were not sent because they came too late."""
        topic, kind = COMMAND_TOPICS[self._kind], MESSAGES[self._kind]
        self.arms = outlets(node, config, kind, topic, joint_names)
        measured = node.resolve_topic_name('joint_states')
        for arm in self.arms:
            if arm.topic in (measured, '/joint_states'):
                self.destroy()
                raise ConfigError(
                    f'arms.{arm.name}.command_topic' if arm.name else 'command_type',
                    arm.topic if arm.name else self._kind,
                    f'another topic than {measured}, where the arm says how it stands: what is '
                    'commanded would pass for what is measured; '
                    f'{"send it" if arm.name else f"remap {topic}"} elsewhere',
                )  # fmt: skip
        if config.arms.names:
            self._check_apart()

    def _check_apart(self) -> None:
        """Refuse one name for two ways, whichever namespace or remapping made it one.

        Raises:
            ConfigError: What is meant for one arm would reach the other.
        """
        taken: dict[str, str] = {}
        for arm in self.arms:
            parameters = (f'arms.{arm.name}.command_topic', f'arms.{arm.name}.gripper')
            for parameter, way in zip(parameters, (arm.topic, arm.gripper.reaches), strict=True):
                if way in taken:
                    self.destroy()
                    raise ConfigError(parameter, way, f'another one than {taken[way]}')
                if way:
                    taken[way] = parameter

    def destroy(self) -> None:
        """Drop all publishers."""
        for arm in self.arms:
            arm.destroy()

    @property
    def command_topic(self) -> str:
        """Resolved name of the topic that moves the arm; of those that nobody hears, if any."""
        unheard = [arm.topic for arm in self.arms if not arm.listeners]
        return ' and '.join(unheard or [arm.topic for arm in self.arms])

    @property
    def listeners(self) -> int:
        """How many subscribe to the topic that moves the arm; the fewest of several arms."""
        return min(arm.listeners for arm in self.arms)

    @property
    def commanded(self) -> tuple[float, ...]:
        """Opening commanded last, of every gripper."""
        return tuple(arm.gripper.commanded for arm in self.arms)

    def restarted(self, restarts: Iterable[tuple[str, float]]) -> None:
        """Controllers became active again; any thread.

        Args:
            restarts: Command topic of each, and when [s].
        """
        for topic, at in restarts:
            for arm in self.arms:
                if arm.topic == topic:
                    arm.gripper.receiver_since = at

    def gripper_report(self) -> str:
        """What became of what the grippers were told, for people."""
        return ', '.join(_of(arm, arm.gripper.report()) for arm in self.arms)

    def gripper_problem(self) -> str:
        """Why a gripper does not do what is wanted; '' when all do, or nobody can know."""
        found = [(arm, arm.gripper.problem()) for arm in self.arms]
        return ', '.join(_of(arm, problem) for arm, problem in found if problem)

    def publish(
        self,
        command: Command,
        kinematics: ArmKinematics | None,
        opening: float | None,
        more_openings: tuple[float | None, ...] = (),
        ros_now: float | None = None,
        stamped: bool = True,
        news: bool = True,
        at: float | None = None,
    ) -> bool:
        """Send one command; returns whether it went out, or had nothing to say.

        Args:
            command: From the control loop; one that is not armed goes to the shadow topics only.
            kinematics: Needed for twist and pose.
            opening: Measured opening of the gripper; None without a measurement.
            more_openings: Of further arms' grippers.
            ros_now: ROS time of the tick, where it is simulated [s].
            stamped: Whether a trajectory should carry a stamp, rather than begin on arrival.
            news: False keeps the arm's message back: the one before says the same.
            at: Time of the command for whoever receives it [s]; None is that of its stamp.
        """
        self._armed = armed = command.armed
        openings = (opening, *more_openings)
        measured = [*openings, *[None] * (len(self.arms) - len(openings))]
        for arm, value in zip(self.arms, measured, strict=False):
            arm.gripper.begin(armed, value)
        late = time.monotonic() - command.stamp
        if late > self._patience(command, stamped):
            self.overdue += 1  # the process was stopped in between
            return False
        self._in_motion = True
        for arm, value in zip(self.arms, measured, strict=False):
            part = arm.part(command)
            arm.gripper.send(part)
            if news:
                began = command.stamp if at is None else at
                carried = arm.gripper.carried(part, value, began)
                message = self._message(
                    part, arm.joint_names, kinematics, carried, ros_now, stamped
                )
                (arm.live if armed else arm.shadow).publish(message)
        return True

    def _patience(self, command: Command, stamped: bool) -> float:
        """How late a window still says what is true [s].

        One that begins on arrival would lead the arm back to where it was told to be at the tick.
        """
        if self._kind == 'joint_trajectory' and not (stamped and self._config.safety.stamped):
            return _LATE_PERIODS * self._period
        return float(command.window_times[-1])

    def finish(self) -> None:
        """The commands end here: what would go on by itself is told to stop."""
        if self._in_motion and self._kind == 'twist':
            message = TwistStamped()
            message.header.frame_id = self._frame_id
            message.header.stamp = self._node.get_clock().now().to_msg()
            for arm in self.arms:
                (arm.live if self._armed else arm.shadow).publish(message)
        self._in_motion = False
        for arm in self.arms:
            arm.gripper.finish()

    def _message(
        self,
        command: Command,
        joint_names: tuple[str, ...],
        kinematics: ArmKinematics | None,
        carried: tuple[str, FloatArray] | None,
        ros_now: float | None,
        stamped: bool,
    ) -> Any:
        """A command as a message of the command type.

        Args:
            command: From the control loop, one arm's part.
            joint_names: Of that arm.
            kinematics: Needed for twist and pose.
            carried: Name and values (k,) of a gripper that travels with the arm's joints.
            ros_now: As of ``publish``.
            stamped: As of ``publish``.
        """
        if self._kind == 'joint_trajectory':
            wanted = self._config.safety.stamped
            stamp = self._stamp(command, ros_now) if wanted and stamped else None
            return messages.joint_trajectory(command, joint_names, carried, stamp, whole=wanted)
        if self._kind == 'joint_commands':
            return messages.joint_commands(command, None if carried is None else carried[1])
        if self._kind == 'joint_state':
            stamp = self._stamp(command, ros_now)
            return messages.joint_state(command, joint_names, stamp, carried)
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


def _of(arm: ArmOutlet, text: str) -> str:
    return f'{arm.name}: {text}' if arm.name else text
