"""Messages of a recording as numbers; as pictures: ``pictures.messages``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError

IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
JOINTS = 'sensor_msgs/msg/JointState'
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
TEXT = 'std_msgs/msg/String'
_ARRAYS = ('std_msgs/msg/Float64MultiArray', 'std_msgs/msg/Float32MultiArray')
_NUMBERS = tuple(f'std_msgs/msg/{name}' for name in ('Float64', 'Float32', 'Int32', 'Bool'))
_TWISTS = ('geometry_msgs/msg/TwistStamped', 'geometry_msgs/msg/Twist')
NUMERIC = (JOINTS, TRAJECTORY, *_ARRAYS, *_NUMBERS, *_TWISTS)
_TWIST_NAMES = ('dx', 'dy', 'dz', 'drx', 'dry', 'drz')


def stamp_ns(message: Any) -> int:
    """Stamp of the header [ns]; 0 where there is none."""
    stamp = getattr(getattr(message, 'header', None), 'stamp', None)
    return 0 if stamp is None else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def numbers_of(kind: str, message: Any) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and values; names are empty where the message has none.

    Raises:
        ConfigError: The type holds no numbers that are known here.
    """
    if kind == JOINTS:
        return tuple(message.name), np.asarray(message.position, np.float64)
    if kind == TRAJECTORY:
        # The last point: where the arm is sent. Of streamed windows: trajectory_windows.
        last = message.points[-1].positions if len(message.points) else ()
        return tuple(message.joint_names), np.asarray(last, np.float64)
    if kind in _ARRAYS:
        return (), np.asarray(message.data, np.float64).reshape(-1)
    if kind in _NUMBERS:
        return (), np.array([float(message.data)])
    if kind in _TWISTS:
        twist = getattr(message, 'twist', message)
        parts = [getattr(part, axis) for part in (twist.linear, twist.angular) for axis in 'xyz']
        return _TWIST_NAMES, np.array(parts, np.float64)
    raise ConfigError('type', kind, f'one of {", ".join(NUMERIC)}')
