"""One topic of a camera, subscribed as reliably as it is published.

Best effort loses a whole picture with any of its hundred packets; reliable asks for the packet
again. A reliable subscription gets nothing from a best-effort publisher, so the publishers decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from dysl_vla_ros.ros import qos

_WINDOW_S = 2.0


class CameraTopic:
    """A subscription that is made anew when the publishers' reliability changes."""

    def __init__(
        self, node: Node, kind: Any, topic: str, on_message: Callable[[Any], None]
    ) -> None:
        """Subscribe.

        Args:
            node: Owner of the subscription.
            kind: Message class.
            topic: Resolved name.
            on_message: Called with every message.
        """
        self.topic = topic
        self.reliable = False
        self._node = node
        self._kind = kind
        self._type = type_name(kind)
        self._on_message = on_message
        self._heard: deque[float] = deque(maxlen=500)
        self._offers()
        self._subscription = self._subscribe()

    def follow(self) -> None:
        """Look at the publishers again; never waits."""
        before = self.reliable
        self._offers()
        if self.reliable != before:
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()

    def heard(self, now: float) -> None:
        """Note that a message came at ``now``."""
        self._heard.append(now)

    def rate(self, now: float) -> float:
        """Messages per second over the last 2 s."""
        return sum(time > now - _WINDOW_S for time in self._heard) / _WINDOW_S

    def silent(self, now: float, seconds: float, since: float) -> bool:
        """Whether nothing came for so many seconds, counted from ``since`` at the earliest."""
        return now - max(since, self._heard[-1] if self._heard else since) > seconds

    def destroy(self) -> None:
        """Drop the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Any:
        profile = qos.SENSOR_RELIABLE if self.reliable else qos.SENSOR
        return self._node.create_subscription(self._kind, self.topic, self._on_message, profile)

    def _offers(self) -> None:
        """Reliable where every publisher is; with no publisher it stays as it was."""
        offered = [
            endpoint.qos_profile.reliability
            for endpoint in self._node.get_publishers_info_by_topic(self.topic)
            if endpoint.topic_type == self._type
        ]
        if offered:
            self.reliable = all(kind == ReliabilityPolicy.RELIABLE for kind in offered)


def types_on(node: Node, topic: str) -> set[str]:
    """Types of what is published on a resolved topic."""
    return {endpoint.topic_type for endpoint in node.get_publishers_info_by_topic(topic)}


def type_name(kind: Any) -> str:
    """``sensor_msgs/msg/Image`` of a message class."""
    package, folder = kind.__module__.split('.')[:2]
    return f'{package}/{folder}/{kind.__name__}'
