"""Commands meant for a simulated arm go to nobody else.

The simulated arm is armed, and an instruction starts it; a real one may listen to the same topic.
``sim_arm`` looks for such an arm before it says anything, but two nodes need not know of each
other for seconds. What does hold is that a publisher sends to no subscription that this process
does not know of: so before each command the known ones are compared with those that were there
when the graph was looked at, and one that is new is sent nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node

from dysl_vla_ros.ros.command_graph import UNKNOWN, full_name
from dysl_vla_ros.ros.joints import TOPIC

SETTLE_S = 0.5
"""So long a new subscription is sent nothing: what its process publishes is known by then."""


class OnlySimulated:
    """Polled by a timer of the executor; ``problem`` may be asked by any thread."""

    def __init__(
        self, node: Node, simulator: str, topic: str, listeners: Callable[[], int]
    ) -> None:
        """Nobody is admitted yet.

        Args:
            node: Who commands.
            simulator: Name of the node that simulates the arm, in the same namespace.
            topic: Resolved name of the command topic.
            listeners: Counts its subscriptions as the publisher has them.
        """
        self._node = node
        self._simulator = full_name(node.get_namespace(), simulator)
        self._measured = node.resolve_topic_name(TOPIC)
        self._topic = topic
        self._count = listeners
        self._admitted: frozenset[bytes] = frozenset()
        self._seen: frozenset[bytes] = frozenset()
        self._seen_at = 0.0
        self._problem = f'waiting for {self._simulator}'

    def poll(self) -> None:
        """Look who tells how the arm stands: a simulated one alone, or another arm too."""
        listeners, now = self._listeners(), time.monotonic()
        if listeners != self._seen:
            self._seen, self._seen_at = listeners, now
        self._problem = self._look()
        if now - self._seen_at >= SETTLE_S and not self._problem:
            self._admitted = listeners

    def problem(self) -> str:
        """Why nothing may be sent now; '' where only who was looked at would hear it."""
        if self._problem:
            return self._problem
        # The graph knows a subscription a little before the publisher does, and with some
        # middleware a little after.
        if self._listeners() <= self._admitted and self._count() <= len(self._admitted):
            return ''
        return 'somebody new receives the commands: looking whether it is another arm'

    def _listeners(self) -> frozenset[bytes]:
        found = self._node.get_subscriptions_info_by_topic(self._topic)
        return frozenset(bytes(end.endpoint_gid) for end in found)

    def _look(self) -> str:
        found = self._node.get_publishers_info_by_topic(self._measured)
        names = [full_name(end.node_namespace, end.node_name) for end in found]
        if self._simulator not in names:
            return f'waiting for {self._simulator}'
        names.remove(self._simulator)
        if not names:
            return ''
        others = ['a participant without a name' if UNKNOWN in name else name for name in names]
        return (
            f'{" and ".join(sorted(others))} publishes on {self._measured} beside the simulated '
            'arm: expected nobody else. For the arm that is there: robot:=PRESET'
        )
