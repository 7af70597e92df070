"""Pictures that a camera took and that never arrived, told by their stamps.

A camera takes pictures in a rhythm that nobody tells. Stamps that lie on one, even with most of
them missing, add up at its frequency like the hands of clocks that show the same time, and cancel
at others: the lowest frequency at which they add up is the camera's, and what is missing was lost.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray

WINDOW_S = 10.0
"""Of stamps."""
_MOST = 120
"""Stamps that are looked at."""
_FEWEST = 12
_SHORTEST_S = 0.001
_FASTEST_HZ = 125.0
_IN_STEP = 0.7
"""How far stamps must add up, of 1: a tremble of a tenth of the period leaves 0.8."""
_CHANCE = 11.0
"""Log of how often chance may not pass for a rhythm, over all frequencies: once in a hundred."""
_BIN_S, _POINTS = 0.002, 1 << 16
"""Stamps are rounded to such times; so many points give frequencies a hundredth of a Hz apart."""


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
        self._stamps: deque[float] = deque(maxlen=_MOST)
        self._known: tuple[float, LossReport | None] = (-math.inf, None)

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
        stamps = np.array(tuple(self._stamps))
        if len(stamps) < _FEWEST:
            return None
        if self._known[0] != stamps[-1]:
            self._known = (float(stamps[-1]), _look(stamps - stamps[0]))
        return self._known[1]


def _look(times: FloatArray) -> LossReport | None:
    gaps, count = np.diff(times), len(times)
    if float(gaps.max()) < 1.5 * float(np.median(gaps)):  # nothing is missing
        return LossReport(0, count, (count - 1) / float(times[-1]))
    taken = _frequency(times)
    if taken is None:
        return None
    return LossReport(max(0, round(float(times[-1]) * taken) + 1 - count), count, taken)


def _frequency(times: FloatArray) -> float | None:
    """Pictures per second of the slowest rhythm that all stamps keep [Hz]; None without one."""
    count = len(times)
    placed = np.bincount(np.rint(times / _BIN_S).astype(np.int64))
    together = np.abs(np.fft.rfft(placed, _POINTS)) / count
    slowest = math.floor(0.9 * (count - 1) / float(times[-1]) * _BIN_S * _POINTS)
    fastest = math.ceil(_FASTEST_HZ * _BIN_S * _POINTS)
    together = together[slowest:fastest]
    high = np.flatnonzero(together > max(_IN_STEP, math.sqrt(_CHANCE / count)))
    if not len(high):
        return None
    first = int(high[0])
    while first + 1 < len(together) and together[first + 1] > together[first]:
        first += 1
    return (slowest + first) / (_BIN_S * _POINTS)
