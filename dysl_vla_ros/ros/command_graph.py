"""Who else is at the command topic: the nodes that listen to it, and those that publish on it.

Read from the middleware's own picture of the graph: about 0.1 ms per call, no waiting.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rclpy.node import Node

UNKNOWN = '_NODE_NAME_UNKNOWN_'
"""What rclpy calls the owner of an endpoint while, or because, the graph does not name it."""
_UNKNOWN_PATIENCE_S = 1.0
"""An endpoint is seen a little before its node's name."""
_OBSERVERS = ('_', 'rosbag2_', 'vla_recorder', 'dysl_soak', 'foxglove_bridge',
              'plotjuggler', 'rqt', 'rviz')  # fmt: skip
"""Beginnings of the names of nodes that only look on: ``ros2 topic echo``, recorders, viewers."""
_MOST_ASKED = 8


def listening_nodes(node: Node, topic: str) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of the nodes behind a topic's subscriptions; we and observers are not.

    Args:
        node: Who asks.
        topic: Resolved name.
    """
    endpoints = node.get_subscriptions_info_by_topic(topic)
    ours = (node.get_namespace(), node.get_name())
    names = {(endpoint.node_namespace, endpoint.node_name) for endpoint in endpoints} - {ours}
    return tuple(sorted(name for name in names if _acts(name[1])))


def is_heard(node: Node, topic: str) -> bool:
    """Whether somebody receives what is published, and does not only look on.

    A subscription whose node has no name counts: what it belongs to is not known.

    Args:
        node: Who asks.
        topic: Resolved name.
    """
    ours = (node.get_namespace(), node.get_name())
    return any(
        not _named(endpoint) or _acts(endpoint.node_name)
        for endpoint in node.get_subscriptions_info_by_topic(topic)
        if (endpoint.node_namespace, endpoint.node_name) != ours
    )


def asked_nodes(node: Node, topic: str) -> tuple[tuple[str, str], ...]:
    """The first of ``listening_nodes``: so many are asked questions, and listened to."""
    return listening_nodes(node, topic)[:_MOST_ASKED]


def full_name(namespace: str, name: str) -> str:
    """``/left/arm`` of ``/left`` and ``arm``."""
    return f'{namespace.rstrip("/")}/{name}'


class CommandGraph:
    """Polled by a timer of the executor; the results may be read from any thread."""

    def __init__(self, node: Node, topic: str) -> None:
        """Nobody is known yet.

        Args:
            node: Who asks; itself is never in the results.
            topic: Resolved name of the command topic.
        """
        self._node = node
        self._topic = topic
        self._unknown_since: float | None = None
        self.heard = False
        """Whether one of them does not only look on."""
        self.listeners: tuple[str, ...] = ()
        """Full names of the nodes that receive commands."""
        self.others: tuple[str, ...] = ()
        """Full names of other nodes that publish commands, whoever they are."""

    def poll(self) -> None:
        """Look again."""
        self.heard = is_heard(self._node, self._topic)
        self.listeners = tuple(
            full_name(*name) for name in listening_nodes(self._node, self._topic)
        )
        self.others = tuple(sorted(self._publishers()))

    def _publishers(self) -> Iterable[str]:
        ours = full_name(self._node.get_namespace(), self._node.get_name())
        own = sum(publisher.topic_name == self._topic for publisher in self._node.publishers)
        names: list[str] = []
        nameless = False
        for endpoint in self._node.get_publishers_info_by_topic(self._topic):
            name = full_name(endpoint.node_namespace, endpoint.node_name)
            if not _named(endpoint):
                nameless = True
            elif name == ours and own > 0:
                own -= 1
            else:
                # Also a second node of our own name: it commands the arm as well.
                names.append(name)
        now = time.monotonic()
        self._unknown_since = (self._unknown_since or now) if nameless else None
        if self._unknown_since is not None and now - self._unknown_since > _UNKNOWN_PATIENCE_S:
            names.append('a participant without a node name')
        return set(names)


def _named(endpoint: Any) -> bool:
    return endpoint.node_name not in ('', UNKNOWN)


def _acts(name: str) -> bool:
    return bool(name) and not name.startswith(_OBSERVERS)
