"""The time of whoever follows the windows, which need not pass as ours does.

A trajectory controller under a speed override runs its clock at the override's factor, and a
simulated one at the simulation's: a window means what it says in *its* seconds. Plans therefore
live in the receiver's time, and so do the limits, which then hold in ours too where the receiver
is slower. At a factor of 1 both times are the same number.
"""

from __future__ import annotations

import bisect
from collections import deque

_KEPT_S = 2.0
"""Past instants that can be converted: a reading of the joints is at most so old [s]."""


class ReceiverClock:
    """Converts the loop's time into the receiver's; moved on once per tick."""

    def __init__(self) -> None:
        """Both times are the same until told otherwise."""
        self._times: deque[float] = deque()
        self._offsets: deque[float] = deque()

    def advance(self, now: float, passed: float | None) -> None:
        """Let time pass.

        Args:
            now: Current time [s], not before the last call's.
            passed: What passed for the receiver since the last call [s]; None = the same.
        """
        offset = self._offsets[-1] if self._offsets else 0.0
        if passed is not None and self._times:
            offset += passed - (now - self._times[-1])
        if self._times and now <= self._times[-1]:  # a second look at the same instant
            self._offsets[-1] = offset
            return
        self._times.append(now)
        self._offsets.append(offset)
        while self._times[0] < now - _KEPT_S:
            self._times.popleft()
            self._offsets.popleft()

    @property
    def rate(self) -> float:
        """The receiver's seconds per second of ours, in the mean over the last ones."""
        if len(self._times) < 2:
            return 1.0
        return 1.0 + (self._offsets[-1] - self._offsets[0]) / (self._times[-1] - self._times[0])

    def at(self, time: float) -> float:
        """The receiver's time at one of ours, not much later than the last call of advance."""
        if not self._times:
            return time
        after = bisect.bisect_left(self._times, time)
        if after == 0:
            return time + self._offsets[0]
        if after == len(self._times):
            return time + self._offsets[-1]
        left, right = self._times[after - 1], self._times[after]
        share = (time - left) / (right - left)
        before = self._offsets[after - 1]
        return time + before + share * (self._offsets[after] - before)
