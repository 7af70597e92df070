"""A command as the messages that controllers take; no publisher, no state."""

from __future__ import annotations

from typing import Any

import numpy as np
import transforms3d
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Pose, PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dysl_vla_ros.data_types import Command, FloatArray

_NANOSECONDS = 1_000_000_000


def duration(seconds: float) -> Any:
    """Seconds as ``builtin_interfaces/Duration``."""
    whole, nanoseconds = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
    return Duration(sec=whole, nanosec=nanoseconds)


def ros_time(seconds: float) -> Any:
    """Seconds as ``builtin_interfaces/Time``."""
    whole, nanoseconds = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
    return Time(sec=whole, nanosec=nanoseconds)


def joint_trajectory(
    command: Command,
    joint_names: tuple[str, ...],
    gripper: tuple[str, FloatArray] | None = None,
    stamp: Any = None,
    whole: bool = False,
) -> Any:
    """The look-ahead with its braking tail; the last point is at rest.

    Stamped, its first point stands at time 0 for the instant of the tick: the controller is on
    the path from the first cycle on and adds no segment of its own. Without a stamp (0 = begin
    at once) the first point is left out, and the controller bridges the way to the next, unless
    the message shall be whole.

    Args:
        command: From the control loop.
        joint_names: Of its columns.
        gripper: Name of a gripper joint that is part of the trajectory, and its positions (k,).
        stamp: ROS time of ``command.stamp``, or None.
        whole: Keep the point at time 0 without a stamp too.
    """
    message = JointTrajectory()
    if stamp is not None:
        message.header.stamp = stamp
    message.joint_names = list(joint_names)
    positions, velocities = command.window_positions, command.window_velocities
    if gripper is not None:
        message.joint_names.append(gripper[0])
        column = np.asarray(gripper[1], dtype=np.float64)[:, None]
        positions = np.hstack([positions, column])
        velocities = np.hstack([velocities, np.zeros_like(column)])
    rows = zip(command.window_times.tolist(), positions.tolist(), velocities.tolist(), strict=True)
    points = [
        JointTrajectoryPoint(positions=at, velocities=speed, time_from_start=duration(seconds))
        for seconds, at, speed in rows
    ]
    message.points = points if stamp is not None or whole else points[1:]
    return message


def joint_commands(command: Command, gripper: FloatArray | None = None) -> Any:
    """Positions for a forward position controller, in the policy's joint order [rad].

    Args:
        command: From the control loop.
        gripper: Values of a gripper that is the controller's last joint, at the points of the
            window, shape (k,): the first is due now.
    """
    last = [] if gripper is None else [float(gripper[0])]
    return Float64MultiArray(data=[*command.positions.tolist(), *last])


def joint_state(
    command: Command,
    joint_names: tuple[str, ...],
    stamp: Any,
    gripper: tuple[str, FloatArray] | None = None,
) -> Any:
    """Positions by name, for receivers that take sensor_msgs/JointState.

    Velocities and efforts stay empty: what receivers make of them differs, a target for one, a
    percentage for another.

    Args:
        command: From the control loop.
        joint_names: Of its columns.
        stamp: ROS time of ``command.stamp``.
        gripper: Name and values (k,) of a gripper joint that travels along.
    """
    names, positions = list(joint_names), command.positions.tolist()
    if gripper is not None:
        names.append(gripper[0])
        positions.append(float(gripper[1][0]))
    message = JointState(name=names, position=positions)
    message.header.stamp = stamp
    return message


def pose_target(position: FloatArray, rotation: FloatArray, frame_id: str, stamp: Any) -> Any:
    """The tip pose of a command.

    Args:
        position: Shape (3,) [m].
        rotation: Shape (3, 3).
        frame_id: Frame of both.
        stamp: ``builtin_interfaces/Time``.
    """
    message = PoseStamped()
    message.header.frame_id = frame_id
    message.header.stamp = stamp
    message.pose = pose_of(position, rotation)
    return message


def pose_of(position: FloatArray, rotation: FloatArray) -> Any:
    """A position (3,) [m] and a rotation (3, 3) as a message."""
    pose = Pose()
    point, turn = pose.position, pose.orientation
    point.x, point.y, point.z = position.tolist()
    turn.w, turn.x, turn.y, turn.z = map(float, transforms3d.quaternions.mat2quat(rotation))
    return pose


def twist(
    before: tuple[FloatArray, FloatArray],
    after: tuple[FloatArray, FloatArray],
    seconds: float,
    frame_id: str,
    stamp: Any,
) -> Any:
    """The velocity that leads from one tip pose to another.

    Args:
        before: Position (3,) [m] and rotation (3, 3).
        after: The same, ``seconds`` later.
        seconds: Time between them [s], more than 0.
        frame_id: Frame of both.
        stamp: ``builtin_interfaces/Time``.
    """
    linear = (after[0] - before[0]) / seconds
    axis, angle = transforms3d.axangles.mat2axangle(after[1] @ before[1].T)
    angular = np.asarray(axis, dtype=np.float64) * (angle / seconds)
    message = TwistStamped()
    message.header.frame_id = frame_id
    message.header.stamp = stamp
    message.twist.linear.x, message.twist.linear.y, message.twist.linear.z = linear.tolist()
    message.twist.angular.x, message.twist.angular.y, message.twist.angular.z = angular.tolist()
    return message
