"""One camera: raw or compressed, whichever is published; keeps the newest message only."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.image_tensor import check_size
from dysl_vla_ros.ros import compressed, images, qos
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.streams import Newest, Stream

COMPRESSED_SUFFIX = '/compressed'


class Camera:
    """Subscribes to ``<name>``; to ``<name>/compressed`` while nobody publishes the raw image."""

    def __init__(self, node: Node, spec: CameraSpec, timeout: float, arrival: Arrival) -> None:
        """Subscribe to the raw topic.

        Args:
            node: Owner of the subscriptions.
            spec: Its name is the topic and the key in ``Observation.images``.
            timeout: Older than this is stale [s].
            arrival: Turns stamps into steady time, and reports refusals.
        """
        self.stream = Stream(spec.name, timeout)
        self._spec = spec
        self._node = node
        self._arrival = arrival
        self._raw: Subscription = node.create_subscription(
            Image, spec.name, self._on_image, qos.SENSOR
        )
        self._compressed: Subscription | None = None

    def choose_transport(self) -> None:
        """Follow what is published; called about once a second, since it asks the graph."""
        topic = self._raw.topic_name
        has_raw = self._node.count_publishers(topic) > 0
        has_compressed = self._node.count_publishers(topic + COMPRESSED_SUFFIX) > 0
        if self._compressed is None and has_compressed and not has_raw:
            self._compressed = self._node.create_subscription(
                CompressedImage, topic + COMPRESSED_SUFFIX, self._on_compressed, qos.SENSOR
            )
        elif self._compressed is not None and has_raw:
            self._node.destroy_subscription(self._compressed)
            self._compressed = None

    def to_rgb(self, message: Any) -> ImageArray:
        """A kept message as RGB, shape (height, width, 3).

        Raises:
            InputError: The data cannot be decoded.
        """
        if isinstance(message, CompressedImage):
            return compressed.decompress(self.stream.name, message)
        return images.to_rgb(message)

    def destroy(self) -> None:
        """Drop the subscriptions."""
        self._node.destroy_subscription(self._raw)
        if self._compressed is not None:
            self._node.destroy_subscription(self._compressed)

    def _on_image(self, message: Any) -> None:
        def build(stamp: float) -> Newest:
            images.check_image(self.stream.name, message)
            self._check_size(message.height, message.width)
            return Newest(stamp, message)

        self._arrival.take(self.stream, message.header.stamp, build)

    def _on_compressed(self, message: Any) -> None:
        def build(stamp: float) -> Newest:
            self._check_size(*compressed.check_compressed(self.stream.name, message))
            return Newest(stamp, message)

        self._arrival.take(self.stream, message.header.stamp, build)

    def _check_size(self, height: int, width: int) -> None:
        check_size(height, width, self._spec.height, self._spec.width, self._spec.name)
