"""Processes that leave Ctrl-C to the one that started them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """What is started meanwhile ignores the interrupt of the terminal, from its first moment.

    The terminal sends it to every process. One that is ended by its starter says nothing; one that
    ends by itself prints where it was.
    """
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, where alone signals are set
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
