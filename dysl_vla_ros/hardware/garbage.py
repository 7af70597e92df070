"""Garbage and memory of a process that must not be late.

What a start made stands outside the collection of garbage in cycles. A full collection walks
everything with the interpreter lock held: 30 ms over what a node imports, which a command
thread's period of 33 ms feels. So Python makes it rarely, and what only it gives back, cycles and
the lists of freed tuples, grows for tens of minutes. Set aside, what the start made is not walked,
and a full collection takes half a millisecond: it may come every few seconds.
"""

from __future__ import annotations

import ctypes
import gc

_ROOM = 4 << 20
"""What Python takes of the system in advance [bytes], for its peaks.

Of a leak of small objects, resident memory shows only what goes beyond it.
"""
_ARENA = 1 << 20
"""How much it takes at a time; it gives one back when nothing is left in it."""
_SMALL = 448
"""An object that Python keeps in its own arenas, with its head: 512 bytes at most."""

_M_MMAP_THRESHOLD = -3
_LARGE = 128 << 10
"""glibc's own first value [bytes]; left alone it grows with each large block that is freed."""

_held: list[bytes] = []


def set_aside() -> int:
    """Collect everything that is waste now, and never look at the rest again.

    The memory of later peaks is taken now too: a page that is touched for the first time costs
    time, and a command thread should not pay for it. Called again it begins anew, so that what
    was dropped since the last time is found.

    Returns:
        How many objects stand aside.
    """
    gc.unfreeze()
    gc.collect()
    if not _held:
        _held.extend(_room())
    gc.freeze()
    return gc.get_freeze_count()


def give_back_large_blocks() -> bool:
    """From now on memory of 128 KB and more goes back to the system when it is freed.

    For a process that makes and drops large things, as a simulation does with each scene: from
    glibc's heap they leave holes of megabytes.

    Returns:
        Whether the C library does it; another one than glibc need not.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE))
    except (AttributeError, OSError):
        return False


def _room() -> list[bytes]:
    """Fill some arenas, and keep so few of the objects that each still has one."""
    filled = [bytes(_SMALL) for _ in range(_ROOM // (_SMALL + 64))]
    return filled[:: _ARENA // (_SMALL + 64) // 2]


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
