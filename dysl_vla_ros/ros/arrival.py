"""What happens to every stamped message: its time is converted once, or it is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros.stamps import SimulatedTime, seconds_of, steady_stamp
from dysl_vla_ros.ros.streams import Newest, Stream

_LOG_PERIOD_S = 5.0


class Arrival:
    """Puts messages into streams; a refusal is counted, logged now and then, and kept."""

    def __init__(self, node: Node, max_age: float) -> None:
        """Args: the node whose clock counts, and the oldest stamp accepted [s]."""
        self._node = node
        self._max_age = max_age
        self._passed = SimulatedTime()

    def take(self, stream: Stream, stamp: Any, build: Callable[[float], Newest]) -> None:
        """Keep one message, or refuse it.

        Args:
            stream: Where it goes.
            stamp: ``builtin_interfaces/Time`` of its header.
            build: Given the stamp on the steady clock, returns what to keep; may raise
                ``InputError``.
        """
        now = time.monotonic()
        ros_now = self._node.get_clock().now().nanoseconds * 1e-9
        try:
            stamped = seconds_of(stream.name, stamp)
            when = steady_stamp(stream.name, stamped, ros_now, now, self._max_age)
            clock: Any = self._node.get_clock()
            if clock.ros_time_is_active:
                self._passed.note(ros_now, now)
                when = self._passed.steady_at(stamped, when)
            kept = build(when)
        except InputError as error:
            stream.refuse(str(error))
            self._node.get_logger().warning(str(error), throttle_duration_sec=_LOG_PERIOD_S)
            return
        stream.accept(kept, now)
