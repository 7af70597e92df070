"""Which names ROS 2 takes: told without rclpy, before anything is started."""

from __future__ import annotations

import re

_WORD = '[A-Za-z_][A-Za-z0-9_]*'
_WORDS = f'{_WORD}(/{_WORD})*'
_NAME, _TOPIC = re.compile(f'/?{_WORDS}'), re.compile(f'(~?/)?{_WORDS}')

RECORDABLE = (
    'diagnostic_msgs/msg/DiagnosticArray', 'diagnostic_msgs/msg/DiagnosticStatus',
    'geometry_msgs/msg/PoseArray', 'geometry_msgs/msg/PoseStamped',
    'geometry_msgs/msg/TwistStamped', 'geometry_msgs/msg/WrenchStamped',
    'sensor_msgs/msg/JointState', 'std_msgs/msg/Bool', 'std_msgs/msg/Float64',
    'std_msgs/msg/Float64MultiArray', 'std_msgs/msg/String',
    'trajectory_msgs/msg/JointTrajectory',
)  # fmt: skip
"""Types of the topics that can be recorded beside the node's own."""


def is_name(name: str) -> bool:
    """Whether a node, a topic or an action can be called so, relative or ``/absolute``."""
    return _NAME.fullmatch(name) is not None


def is_topic(name: str) -> bool:
    """The same, or a node's own ``~/topic``."""
    return _TOPIC.fullmatch(name) is not None


def is_recordable(entry: str) -> bool:
    """Whether it is ``NAME=TYPE`` of a topic that can be recorded."""
    name, _, kind = entry.partition('=')
    return is_name(name) and kind in RECORDABLE
