"""`~/path`: where the tip is going, for RViz; armed or in shadow, the same."""

from __future__ import annotations

from geometry_msgs.msg import PoseArray
from rclpy.node import Node

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.command_messages import pose_of


class PathView:
    """Publishes the poses of the tip along the chunk that is played; called by the worker."""

    def __init__(self, node: Node, frame_id: str) -> None:
        """Create the publisher.

        Args:
            node: Its owner.
            frame_id: Base frame of the kinematics; '' where nobody named one: nothing is shown.
        """
        self._node = node
        self._frame_id = frame_id
        self._publisher = node.create_publisher(PoseArray, '~/path', qos.REPORT)

    def destroy(self) -> None:
        """Drop the publisher."""
        self._node.destroy_publisher(self._publisher)

    def show(self, kinematics: ArmKinematics | None, targets: FloatArray) -> None:
        """Publish, where somebody looks.

        Args:
            kinematics: None while the arm is not described.
            targets: Joint targets that are left to play, shape (k, n) [rad].
        """
        if kinematics is None or not self._frame_id:
            return
        if not self._publisher.get_subscription_count():
            return
        message = PoseArray()
        message.header.frame_id = self._frame_id
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.poses = [pose_of(*kinematics.forward(joints)) for joints in targets]
        self._publisher.publish(message)
