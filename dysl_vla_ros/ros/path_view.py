"""`~/path`, `~/path_marker`: where the tip is going; armed or in shadow, of two colours."""

from __future__ import annotations

from geometry_msgs.msg import Point, PoseArray
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.command_messages import pose_of

_ARMED, _SHADOW = ColorRGBA(r=0.2, g=0.7, b=0.3, a=1.0), ColorRGBA(r=1.0, g=0.6, b=0.1, a=1.0)
_WIDTH_M = 0.006
_LIFETIME_S = 2
"""A path that is not renewed goes away: the arm has stopped."""


class PathView:
    """Publishes the poses of the tip along the chunk that is played; called by the worker."""

    def __init__(self, node: Node, frame_id: str) -> None:
        """Create the publishers.

        Args:
            node: Its owner.
            frame_id: Base frame of the kinematics; '' where nobody named one: nothing is shown.
        """
        self._node = node
        self._frame_id = frame_id
        self._publisher = node.create_publisher(PoseArray, '~/path', qos.REPORT)
        self._marker = node.create_publisher(Marker, '~/path_marker', qos.REPORT)

    def destroy(self) -> None:
        """Drop the publishers."""
        self._node.destroy_publisher(self._publisher)
        self._node.destroy_publisher(self._marker)

    def show(
        self, kinematics: ArmKinematics | None, targets: FloatArray, armed: bool = True
    ) -> None:
        """Publish, where somebody looks.

        Args:
            kinematics: None while the arm is not described.
            targets: Joint targets that are left to play, shape (k, n) [rad].
            armed: Whether the arm goes there, or only would.
        """
        if kinematics is None or not self._frame_id:
            return
        looked_at = [
            bool(item.get_subscription_count()) for item in (self._publisher, self._marker)
        ]
        if not any(looked_at):
            return
        message = PoseArray()
        message.header.frame_id = self._frame_id
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.poses = [pose_of(*kinematics.forward(joints)) for joints in targets]
        if looked_at[0]:
            self._publisher.publish(message)
        if looked_at[1]:
            self._marker.publish(_marker(message, armed))


def _marker(path: PoseArray, armed: bool) -> Marker:
    """The path as a line: green where the arm goes there, orange in shadow."""
    marker = Marker(
        header=path.header, ns='path', type=Marker.LINE_STRIP, action=Marker.ADD,
        color=_ARMED if armed else _SHADOW,
        points=[Point(x=p.position.x, y=p.position.y, z=p.position.z) for p in path.poses],
    )  # fmt: skip
    marker.pose.orientation.w = 1.0
    marker.scale.x = _WIDTH_M
    marker.lifetime.sec = _LIFETIME_S
    return marker
