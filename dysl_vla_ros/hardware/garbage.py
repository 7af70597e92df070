"""What a start made stands outside the collection of garbage in cycles.

A full collection walks everything with the interpreter lock held: 30 ms over what a node imports,
which a command thread's period of 33 ms feels. So Python makes it rarely, and what only it gives
back, cycles and the lists of freed tuples, grows for tens of minutes. Set aside, what the start
made is not walked, and a full collection takes half a millisecond: it may come every few seconds.
"""

from __future__ import annotations

import gc


def set_aside() -> int:
    """Collect everything that is waste now, and never look at the rest again.

    Called again it begins anew, so that what was dropped since the last time is found.

    Returns:
        How many objects stand aside.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()


class Sweep:
    """Full collections at short intervals, once something stands aside."""

    def __init__(self, interval: float = 10.0) -> None:
        """Args: time between two of them [s]."""
        self._interval = interval
        self._last = 0.0

    def if_due(self, now: float) -> bool:
        """Collect if the last time is long ago.

        Args:
            now: Steady clock [s].

        Returns:
            Whether it did. Never while nothing stands aside: that would take long.
        """
        if now - self._last < self._interval or not gc.get_freeze_count():
            return False
        self._last = now
        gc.collect()
        return True
