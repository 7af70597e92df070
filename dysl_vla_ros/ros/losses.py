"""Pictures that a camera took and that never arrived, told by their stamps.

A camera takes a picture every so often; a gap of twice that is one picture lost, of three times
two. How often is not told by anybody: it is the shortest time that is common between two stamps,
which stays right when three of four pictures are lost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

WINDOW_S = 5.0
"""Of stamps."""
_FEWEST = 10
"""Gaps, before anything is said."""
_SHORTEST_S = 0.001
_COMMON = 0.1
"""Quantile of the gaps that begins the search for the period."""
_REGULAR = 0.15
"""Mean distance of the gaps from whole periods, in periods, beyond which stamps say nothing."""


@dataclass(frozen=True)
class LossReport:
    """Of the last seconds.

    Attributes:
        lost: Pictures that did not arrive.
        arrived: Pictures that did.
        taken_hz: Pictures that the camera takes per second.
    """

    lost: int
    arrived: int
    taken_hz: float

    @property
    def ratio(self) -> float:
        """Share that was lost."""
        return self.lost / (self.lost + self.arrived)


class Losses:
    """Fed with every stamp of one camera."""

    def __init__(self) -> None:
        """Nothing seen."""
        self._stamps: deque[float] = deque(maxlen=1000)

    def add(self, stamp: float) -> None:
        """Count a picture that arrived, unless it is no newer; ``stamp`` is its header's [s]."""
        stamps = self._stamps
        if stamps and stamp < stamps[-1] - WINDOW_S:  # the clock was set back
            stamps.clear()
        if stamps and stamp - stamps[-1] < _SHORTEST_S:
            return
        stamps.append(stamp)
        while stamps[0] < stamp - WINDOW_S:
            stamps.popleft()

    def report(self) -> LossReport | None:
        """What was lost; None with too few pictures, or with stamps that keep no rhythm."""
        gaps = np.diff(np.array(tuple(self._stamps)))
        if len(gaps) < _FEWEST:
            return None
        shortest = float(np.quantile(gaps, _COMMON))
        period = float(np.median(gaps[gaps < 1.5 * shortest]))
        whole = np.maximum(np.rint(gaps / period), 1.0)
        if float(np.abs(gaps / period - whole).mean()) > _REGULAR:
            return None
        return LossReport(int(whole.sum() - len(gaps)), len(gaps) + 1, 1.0 / period)
