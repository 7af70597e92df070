"""Processes and the one that started them: Ctrl-C is left to it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from typing import Any


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


def child_pool(
    processes: int, begin: Callable[..., None] | None = None, given: tuple[Any, ...] = ()
) -> Pool:
    """A pool of new interpreters, which leave Ctrl-C to their starter.

    Args:
        processes: How many.
        begin: Called once in each, before its first task.
        given: What it is called with.
    """
    with deaf_to_ctrl_c():
        return multiprocessing.get_context('spawn').Pool(processes, begin, given)
