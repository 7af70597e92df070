"""Does the camera match? What the model sees now, laid over what it saw in training."""

from __future__ import annotations

from collections.abc import Mapping

from rclpy.node import Node
from sensor_msgs.msg import Image

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.cameras import Camera
from dysl_vla_ros.ros.images import rgb_message
from dysl_vla_ros.ros.references import Comparison

TOPIC = '~/camera_check/'


class CameraCheck:
    """One topic per camera; a picture is looked at when somebody listens or can be compared."""

    def __init__(
        self, node: Node, cameras: Mapping[str, Camera], references: Mapping[str, ImageArray]
    ) -> None:
        """Create the publishers.

        Args:
            node: Their owner.
            cameras: By name.
            references: Camera -> what the model saw in training.
        """
        self._node = node
        self._cameras = cameras
        self._references = references
        self._publishers = {
            name: node.create_publisher(Image, TOPIC + name, qos.REQUEST) for name in cameras
        }
        self._newest: dict[str, Comparison] = {}

    def poll(self) -> None:
        """Compare and publish; called about once a second."""
        for name, camera in self._cameras.items():
            publisher = self._publishers[name]
            listened = publisher.get_subscription_count() > 0
            if not listened and name not in self._references:
                continue
            try:
                seen = camera.as_seen()
            except InputError:  # the next pass says so
                seen = None
            if seen is None:
                continue
            self._newest[name] = found = Comparison(seen, self._references.get(name))
            if listened:
                now = self._node.get_clock().now().to_msg()
                publisher.publish(rgb_message(found.overlay, name, now))

    def warning(self) -> str:
        """Cameras that show another light than in training, for people; else ''."""
        return '; '.join(
            f'{name}: {found.problem}' for name, found in self._newest.items() if found.problem
        )

    def values(self) -> dict[str, str]:
        """For diagnostics."""
        return {
            f'{name}.brightness_difference': f'{found.brightness:.0f}'
            for name, found in self._newest.items() if found.brightness is not None
        }  # fmt: skip

    def destroy(self) -> None:
        """Drop the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
