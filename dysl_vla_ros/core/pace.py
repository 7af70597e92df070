"""How fast playback may go: the receiver's speed override and our own, judged at every tick."""

from __future__ import annotations

import math
from dataclasses import dataclass

OLDEST_S = 0.5
"""A factor older than this is not believed [s]."""
SLOWEST = 0.01
"""Below this factor the receiver counts as standing."""
_ABOVE = 0.01
"""A factor so far above 1 is rounding."""


@dataclass(frozen=True)
class Pace:
    """What one tick has to know.

    Attributes:
        passed: Seconds that passed for the receiver since the tick before; None = as for us.
        scale: Share of the playback speed that is wanted, 0 to 1.
        stands: Whether the receiver's clock stands by its override, and with it the arm.
        problem: Why nothing may be played; '' when it may.
    """

    passed: float | None = None
    scale: float = 1.0
    stands: bool = False
    problem: str = ''


class Override:
    """The newest speed factor of a controller or robot; written by a callback, read by a tick."""

    def __init__(self, source: str, per_unit: float = 1.0) -> None:
        """Nothing heard yet.

        Args:
            source: Where factors come from, for messages.
            per_unit: What is published at full speed: 1, or 100 for percent.
        """
        self.source = source
        self._per_unit = per_unit
        self._newest: tuple[float, float] | None = None
        self._believed = 1.0

    def take(self, value: float, now: float) -> None:
        """Keep a published value."""
        self._newest = (float(value), now)

    def factor(self, now: float) -> tuple[float, str]:
        """The factor in force, 0 to 1, and why nothing may be played; the last believed if so."""
        if self._newest is None:
            return self._believed, f'speed factor: nothing received yet on {self.source}'
        value, heard_at = self._newest
        if now - heard_at > OLDEST_S:
            return self._believed, (
                f'speed factor: the newest of {self.source} is {now - heard_at:.2f} s old, '
                f'expected at most {OLDEST_S:g} s'
            )
        factor = value / self._per_unit
        if not math.isfinite(factor) or not 0.0 <= factor <= 1.0 + _ABOVE:
            return self._believed, (
                f'speed factor: {self.source} says {value:g}, expected 0 to {self._per_unit:g} '
                '(speed.unit)'
            )
        self._believed = 0.0 if factor < SLOWEST else min(factor, 1.0)
        if self._believed == 0.0:
            return 0.0, f'speed factor: {self.source} says {value:g}: the controller stands'
        return self._believed, ''
