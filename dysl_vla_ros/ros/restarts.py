"""The rule of restarts: how often the model's process may die before it is a fault."""

from __future__ import annotations

from collections import deque
from typing import Protocol, runtime_checkable

PERIOD_S = 600.0


@runtime_checkable
class Restartable(Protocol):
    """A policy whose model may die alone: ``policy_process.client.ProcessPolicy``."""

    @property
    def restarts(self) -> int:
        """Processes started after the first one."""

    @property
    def last_end(self) -> str:
        """How the last one ended."""

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""

    def kill(self, reason: str) -> None:
        """End it at once, from any thread."""

    def restart(self) -> None:
        """Start it again; slow, by the thread that asks it."""


class RestartRule:
    """At most so many within ten minutes."""

    def __init__(self, limit: int, period: float = PERIOD_S) -> None:
        """Args: how many restarts within how many seconds."""
        self.limit = limit
        self.period = period
        self._times: deque[float] = deque()

    @property
    def used(self) -> int:
        """Restarts that still count."""
        return len(self._times)

    def take(self, now: float) -> bool:
        """Count one more restart if the rule allows it; returns whether it does.

        Args:
            now: Steady time [s].
        """
        while self._times and now - self._times[0] > self.period:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return False
        self._times.append(now)
        return True
