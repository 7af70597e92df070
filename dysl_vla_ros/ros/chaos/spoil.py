"""What the relay may do to a message on its way; each maker gives a filter of one trial.

A filter takes a message and returns the messages to pass on. It may change the one it gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Filter = Callable[[Any], list[Any]]


def silent(message: Any) -> list[Any]:
    """Nothing arrives."""
    return []


def changed(change: Callable[[Any], None]) -> Filter:
    """Every message, changed in place."""

    def run(message: Any) -> list[Any]:
        change(message)
        return [message]

    return run


def only(count: int, inner: Filter) -> Filter:
    """The first ``count`` messages are spoilt."""
    left = [count]

    def run(message: Any) -> list[Any]:
        left[0] -= 1
        return inner(message) if left[0] >= 0 else [message]

    return run


def every(nth: int, inner: Filter) -> Filter:
    """Each n-th message is spoilt."""
    seen = [0]

    def run(message: Any) -> list[Any]:
        seen[0] += 1
        return inner(message) if seen[0] % nth == 0 else [message]

    return run


def flood(times: int) -> Filter:
    """Each message several times."""
    return lambda message: [message] * times


def late(seconds: float) -> Filter:
    """Messages are held back, and come with their old stamps."""
    waiting: list[tuple[float, Any]] = []

    def run(message: Any) -> list[Any]:
        now = time.monotonic()
        waiting.append((now, message))
        ready = [m for at, m in waiting if now - at >= seconds]
        del waiting[: len(ready)]
        return ready

    return run


def restamped(offset_s: float) -> Filter:
    """Stamps moved by so much."""

    def change(message: Any) -> None:
        stamp = message.header.stamp
        total = max(0, stamp.sec * 10**9 + stamp.nanosec + round(offset_s * 1e9))
        stamp.sec, stamp.nanosec = total // 10**9, total % 10**9

    return changed(change)


def unstamped() -> Filter:
    """Stamps of zero."""

    def change(message: Any) -> None:
        message.header.stamp.sec = message.header.stamp.nanosec = 0

    return changed(change)
