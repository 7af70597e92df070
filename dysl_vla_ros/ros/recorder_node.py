"""Writes the node's topics, and what the model saw, into MCAP files.

A process of its own, which nobody waits for: it asks for missed messages only of the reports that
are made for it, and whatever becomes of it, the arm goes on.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from dysl_vla_ros.errors import ConfigError, DyslError
from dysl_vla_ros.pass_record import PICTURE_TOPIC
from dysl_vla_ros.pictures.files import to_jpeg
from dysl_vla_ros.pictures.messages import rgb_of
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.bag_files import BagFiles, BagFullError, Kind
from dysl_vla_ros.ros.message_text import definition, type_name
from dysl_vla_ros.ros.recorded_topics import METADATA, NODE, TOPICS, Recorded, further

NODE_NAME = 'vla_recorder'
_PERIOD_S = 1.0
_SUFFIX = '/compressed'
_GIGABYTE = 1e9


class RecorderNode(Node):
    """Subscribes, writes, prunes.

    Attributes:
        failed: Set when nothing can be recorded any more; the process then ends.
    """

    def __init__(self, **options: Any) -> None:
        """Open the first file and subscribe.

        Args:
            options: Of ``rclpy.node.Node``.

        Raises:
            ConfigError: A parameter is wrong, or a library is missing.
            OSError: The folder cannot be written.
        """
        super().__init__(NODE_NAME, **options)
        folder = str(self.declare_parameter('folder', 'dysl_vla_bags').value)
        limit = float(self.declare_parameter('limit_gb', 10.0).value)
        self._video = bool(self.declare_parameter('video', False).value)
        extra = self.declare_parameter('topics', Parameter.Type.STRING_ARRAY).value or ()
        self.failed = False
        self._ended = False
        self._kinds: dict[Any, Kind] = {}
        self._cameras: dict[str, bool] = {}
        topics = (*TOPICS, *further(tuple(extra)))
        if not 0 < limit < float('inf'):
            raise ConfigError('record_limit_gb', limit, 'more than 0')
        self._files = BagFiles(Path(folder).expanduser(), int(limit * _GIGABYTE))
        for topic in topics:
            self._record(topic)
        self.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(
            f'recording into {self._files.path.resolve()}, at most {limit:g} GB in its folder; '
            'then the oldest file goes'
        )

    def finish(self) -> None:
        """End the file."""
        self._ended = True
        try:
            self._files.close()
        except (OSError, ValueError) as error:
            self.get_logger().error(f'the end of the recording is lost: {error}')
            return
        self.get_logger().info(f'{self._files.written} messages recorded in {self._files.path}')

    # ---- what is subscribed to ---------------------------------------------------------------

    def _record(self, topic: Recorded) -> None:
        name = self.resolve_topic_name(topic.name)
        kind = self._kind(topic.kind)
        metadata = topic is METADATA

        def on_message(data: bytes) -> None:
            self._write(name, kind, data, topic.said_once)
            if metadata:
                self._follow(data)

        self.create_subscription(topic.kind, topic.name, on_message, topic.profile, raw=True)

    def _follow(self, data: bytes) -> None:
        """Subscribe to what the model sees, once the policy says which cameras it has."""
        try:
            message = deserialize_message(data, METADATA.kind)
            names = [str(camera['name']) for camera in json.loads(message.data)['cameras']]
        except (ValueError, KeyError, TypeError) as error:
            self._warn(f'policy_metadata: {error}: its pictures are not recorded')
            return
        for name in names:
            if name not in self._cameras:
                self._cameras[name] = False
                seen = f'{NODE}/{PICTURE_TOPIC}/{name}'
                self._record(Recorded(seen, CompressedImage, reliable=True))

    def _follow_video(self) -> None:
        """Of each camera the stream that is there: compressed as it comes, else raw."""
        for name, found in self._cameras.items():
            if found:
                continue
            topic = self.resolve_topic_name(name)
            if self.count_publishers(topic + _SUFFIX):
                self._record(Recorded(name + _SUFFIX, CompressedImage))
            elif self.count_publishers(topic):
                self.create_subscription(Image, name, self._as_jpeg(topic + _SUFFIX), qos.SENSOR)
            else:
                continue
            self._cameras[name] = True

    def _as_jpeg(self, topic: str) -> Callable[[Any], None]:
        kind = self._kind(CompressedImage)

        def on_image(message: Any) -> None:
            try:
                data = to_jpeg(rgb_of(topic, message))
            except DyslError as error:
                self._warn(f'{topic}: {error}')
                return
            packed = CompressedImage(header=message.header, format='jpeg', data=array('B', data))
            self._write(topic, kind, serialize_message(packed), False)

        return on_image

    def _kind(self, kind: Any) -> Kind:
        if kind not in self._kinds:
            self._kinds[kind] = Kind(type_name(kind), definition(kind))
        return self._kinds[kind]

    # ---- what is written ---------------------------------------------------------------------

    def _write(self, name: str, kind: Kind, data: bytes, said_once: bool) -> None:
        if not self.failed and not self._ended:
            self._try(lambda: self._files.write(name, kind, data, time.time_ns(), said_once))

    def _on_timer(self) -> None:
        if self.failed or self._ended:
            return
        lost, path = self._files.lost, self._files.path
        self._try(self._files.flush)
        if self._files.lost != lost:
            self.get_logger().error(
                f'{path} was removed while it was recorded: what it held is lost; going on in '
                f'{self._files.path}'
            )
        if self._video:
            self._follow_video()

    def _try(self, act: Callable[[], None]) -> None:
        """What cannot be written ends the recording, and nothing else."""
        try:
            act()
        except (BagFullError, OSError, ValueError) as error:
            self.failed = True
            self.get_logger().error(f'the recording ends: {error}')

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=10.0)
