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

    def take(
        self, stream: Stream, stamp: Any, build: Callable[[float], Newest], way_out: str = ''
    ) -> None:
        """Keep one message, or refuse it.

        Args:
            stream: Where it goes.
            stamp: ``builtin_interfaces/Time`` of its header; None = it was measured on arrival.
            build: Given the stamp on the steady clock, returns what to keep; may raise
                ``InputError``.
            way_out: Added to the refusal of a stamp.
        """
        now = time.monotonic()
        try:
            kept = build(now if stamp is None else self._steady(stream, stamp, now, way_out))
        except InputError as error:
            stream.refuse(str(error))
            self._node.get_logger().warning(str(error), throttle_duration_sec=_LOG_PERIOD_S)
            return
        stream.accept(kept, now)

    def _steady(self, stream: Stream, stamp: Any, now: float, way_out: str) -> float:
        clock: Any = self._node.get_clock()
        ros_now = clock.now().nanoseconds * 1e-9
        try:
            stamped = seconds_of(stream.name, stamp)
            when = steady_stamp(stream.name, stamped, ros_now, now, self._max_age)
        except InputError as error:
            raise InputError(f'{error}{way_out}') from None
        if not clock.ros_time_is_active:
            return when
        self._passed.note(ros_now, now)
        return self._passed.steady_at(stamped, when)
