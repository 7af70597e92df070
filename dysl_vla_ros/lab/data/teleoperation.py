"""Made-up teleoperation: the simulated arm moved by its script, recorded as a real arm would be.

Topics as a driver, a camera, a teleoperation and the recorder's labels publish them, in an MCAP
file that any tool of ROS 2 reads: for trying, without a robot, what ``dysl import`` makes of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.errors import ConfigError, KinematicsError
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.camera import CAMERAS
from dysl_vla_ros.sim.expert import ACTION_PERIOD
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.rollout import expert_episode
from dysl_vla_ros.sim.world import World
from dysl_vla_ros.targets import folder_target

IMAGE, JOINTS, COMMAND = '/image_raw', '/joint_states', '/joint_trajectory'
GRIPPER, INSTRUCTION, LABEL = '/gripper_command', '/instruction', '/vla_node/label'
_PERIOD_NS = round(ACTION_PERIOD * 1e9)
_BETWEEN_NS = 2_000_000_000
_BEGAN_NS = 1_700_000_000_000_000_000
_ARRIVES_NS = 3_000_000
"""A message is recorded a little after its stamp."""
_KINDS = {
    IMAGE: 'sensor_msgs/msg/Image', JOINTS: 'sensor_msgs/msg/JointState',
    COMMAND: 'trajectory_msgs/msg/JointTrajectory', GRIPPER: 'std_msgs/msg/Float64',
    INSTRUCTION: 'std_msgs/msg/String', LABEL: 'std_msgs/msg/String',
}  # fmt: skip


def record_teleoperation(
    folder: Path, episodes: int, first_seed: int, progress: Callable[[int, int], None]
) -> int:
    """Write a recording; the number of episodes that succeeded.

    Args:
        folder: As ``ros2 bag record`` makes one; new.
        episodes: Families take turns.
        first_seed: Of the first; the others count up.
        progress: Called with (done, all).

    Raises:
        ConfigError: Something is there already, or the library is missing.
    """
    folder_target('dataset', folder, lambda place: False, 'a new one: recordings stay')
    try:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ConfigError('rosbags', 'missing', "pip install 'dysl_vla_ros[bags]'") from None
    store = get_typestore(Stores.ROS2_JAZZY)
    if folder.is_dir():
        folder.rmdir()  # empty, as was checked
    messages, won = _Messages(store), 0
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        topics = {topic: bag.add_connection(topic, kind, typestore=store)
                  for topic, kind in _KINDS.items()}  # fmt: skip
        world, begin = World(), _BEGAN_NS
        for number in range(episodes):
            seed, family = first_seed + number, FAMILIES[number % len(FAMILIES)]
            frames = list(expert_episode(seed, family, world=world,
                                         cameras={'image': CAMERAS['image']}))  # fmt: skip
            for at, topic, message in _published(messages, frames, begin):
                data = store.serialize_cdr(message, _KINDS[topic])
                bag.write(topics[topic], at + _ARRIVES_NS, data)
            won += bool(frames[-1].success)
            begin += len(frames) * _PERIOD_NS + _BETWEEN_NS
            progress(number + 1, episodes)
    return won


def _published(messages: _Messages, frames: Any, begin: int) -> Iterator[tuple[int, str, Any]]:
    """(stamp [ns], topic, message) of an episode."""
    yield begin, INSTRUCTION, messages.text(frames[0].instruction)
    yield begin, LABEL, messages.text('start')
    joints = frames[0].joints
    for number, frame in enumerate(frames[:-1]):
        at = begin + number * _PERIOD_NS
        after = frames[number + 1]
        with suppress(KinematicsError):  # out of reach the hand keeps its last command
            joints = arm.inverse(frame.joints, after.commanded_position, after.commanded_rotation)
        yield at, JOINTS, messages.joints(at, [*frame.joints, frame.opening])
        yield at, IMAGE, messages.picture(at, frame.images['image'])
        yield at, COMMAND, messages.trajectory(at, joints)
        yield at, GRIPPER, messages.number(float(frame.played[6]))
    end = begin + (len(frames) - 1) * _PERIOD_NS
    yield end, LABEL, messages.text('success' if frames[-1].success else 'failure')


class _Messages:
    """Messages of a type store."""

    def __init__(self, store: Any) -> None:
        self._types = store.types

    def text(self, words: str) -> Any:
        return self._types['std_msgs/msg/String'](data=words)

    def number(self, value: float) -> Any:
        return self._types['std_msgs/msg/Float64'](data=value)

    def joints(self, at: int, positions: Any) -> Any:
        return self._types['sensor_msgs/msg/JointState'](
            header=self._header(at),
            name=[*arm.JOINT_NAMES, 'gripper'],
            position=np.array(positions, np.float64),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )

    def trajectory(self, at: int, positions: Any) -> Any:
        soon = self._types['builtin_interfaces/msg/Duration'](sec=0, nanosec=_PERIOD_NS)
        point = self._types['trajectory_msgs/msg/JointTrajectoryPoint'](
            positions=np.array(positions, np.float64), velocities=np.zeros(0),
            accelerations=np.zeros(0), effort=np.zeros(0), time_from_start=soon)  # fmt: skip
        return self._types['trajectory_msgs/msg/JointTrajectory'](
            header=self._header(at), joint_names=list(arm.JOINT_NAMES), points=[point]
        )

    def picture(self, at: int, image: Any) -> Any:
        rows, columns = image.shape[:2]
        return self._types['sensor_msgs/msg/Image'](
            header=self._header(at),
            height=rows,
            width=columns,
            encoding='rgb8',
            is_bigendian=0,
            step=3 * columns,
            data=np.ascontiguousarray(image).reshape(-1),
        )

    def _header(self, at: int) -> Any:
        stamp = self._types['builtin_interfaces/msg/Time'](
            sec=at // 1_000_000_000, nanosec=at % 1_000_000_000
        )
        return self._types['std_msgs/msg/Header'](stamp=stamp, frame_id='')
