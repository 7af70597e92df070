"""Jobs for several tools at a time, each of which waits on a process of its own: threads do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import TypeVar

Tool = TypeVar('Tool')
Job = TypeVar('Job')


def side_by_side(
    tools: Sequence[Tool],
    jobs: Iterable[Job],
    work: Callable[[Tool, Job, Callable[[], None]], None],
) -> None:
    """Do every job with whichever tool is free.

    The first error, or an interruption, ends all of them: jobs that have not begun are dropped,
    those that have end where they next ask.

    Args:
        tools: No two jobs have one at the same time.
        jobs: In the order in which they begin.
        work: Called with a tool, a job, and what it shall call between two of its steps.

    Raises:
        Exception: What the first job that failed raised.
    """
    free: queue.SimpleQueue[Tool] = queue.SimpleQueue()
    for tool in tools:
        free.put(tool)
    ended = threading.Event()

    def go_on() -> None:
        if ended.is_set():
            raise CancelledError

    def do(job: Job) -> None:
        tool = free.get()
        try:
            work(tool, job, go_on)
        finally:
            free.put(tool)

    with ThreadPoolExecutor(len(tools)) as pool:
        try:
            for done in as_completed([pool.submit(do, job) for job in jobs]):
                done.result()
        except BaseException:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
