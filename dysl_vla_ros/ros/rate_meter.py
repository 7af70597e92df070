"""How regular the commands are: achieved rate, gaps and jitter."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

KEPT_S = 30.0
RATE_WINDOW_S = 1.0


@dataclass(frozen=True)
class RateReport:
    """Regularity of the last 30 s.

    Attributes:
        rate_hz: Over the last second; None before the first second is full.
        gap_max: Longest time between two commands [s]; None before the second command.
        jitter_p99: 99 % quantile of |interval - period| [s]; None likewise.
    """

    rate_hz: float | None
    gap_max: float | None
    jitter_p99: float | None


class RateMeter:
    """Noted by the command thread, read by diagnostics."""

    def __init__(self, period: float) -> None:
        """Args: the nominal time between two commands [s]."""
        self._period = period
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=int(RATE_WINDOW_S / period * 4) + 8)
        self._intervals: deque[float] = deque(maxlen=int(KEPT_S / period) + 1)
        self._last: float | None = None
        self._since: float | None = None

    def note(self, now: float) -> None:
        """A command was sent at ``now``."""
        with self._lock:
            if self._last is not None:
                self._intervals.append(now - self._last)
            else:
                self._since = now
            self._last = now
            self._times.append(now)

    def pause(self) -> None:
        """No command is due: what comes next is no gap."""
        with self._lock:
            self._last = self._since = None
            self._times.clear()

    def report(self, now: float) -> RateReport:
        """The regularity up to ``now``."""
        with self._lock:
            rate = None
            if self._since is not None and now - self._since >= RATE_WINDOW_S:
                recent = sum(1 for time in self._times if time > now - RATE_WINDOW_S)
                rate = recent / RATE_WINDOW_S
            if not self._intervals:
                return RateReport(rate, None, None)
            intervals = np.array(self._intervals)
        jitter = float(np.quantile(np.abs(intervals - self._period), 0.99))
        return RateReport(rate, float(intervals.max()), jitter)
