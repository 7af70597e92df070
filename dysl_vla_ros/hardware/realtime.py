"""Scheduling and memory of a thread that must not be late, as far as the system allows it.

SCHED_FIFO runs the thread as soon as it is due, whatever else wants the processor; locked memory
is never paged out. Neither makes Python real-time: they take away the delays that others cause.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from dataclasses import dataclass

PRIORITY = 40
"""Below ros2_control's controller_manager (50) and the kernel's interrupt threads (50)."""
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14


@dataclass(frozen=True)
class Realtime:
    """What a thread obtained.

    Attributes:
        fifo: Its scheduler is SCHED_FIFO.
        locked: The memory of its process stays where it is.
        problems: Why not, one sentence each.
    """

    fifo: bool = False
    locked: bool = False
    problems: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """``'SCHED_FIFO 40, memory locked'``, for logs and diagnostics."""
        scheduler = f'SCHED_FIFO {PRIORITY}' if self.fifo else 'ordinary scheduling'
        return f'{scheduler}, memory {"locked" if self.locked else "not locked"}'


def claim(priority: int = PRIORITY) -> Realtime:
    """Ask for both, for the calling thread and its process; never raises.

    Args:
        priority: Of SCHED_FIFO, 1 to 99.
    """
    problems = [*_claim_scheduler(priority), *_lock_memory()]
    fifo = not any('SCHED_FIFO' in problem for problem in problems)
    locked = not any('memory' in problem for problem in problems)
    return Realtime(fifo, locked, tuple(problems))


def try_out() -> Realtime:
    """What a thread of this process would obtain; leaves everything as it was."""
    obtained: list[Realtime] = []
    thread = threading.Thread(target=lambda: obtained.append(claim()))
    thread.start()
    thread.join()
    if obtained[0].locked:
        ctypes.CDLL(None).munlockall()
    return obtained[0]


def _claim_scheduler(priority: int) -> list[str]:
    try:
        # Threads and processes that this one starts are ordinary ones again.
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except (AttributeError, OSError) as error:
        return [f'SCHED_FIFO {priority} is refused ({error})']
    return []


def _lock_memory() -> list[str]:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _may_lock_all():
        # Locked under a limit, the process would one day be refused memory: worse than paging.
        return [f'memory is not locked: the limit memlock is {soft // 1024} KiB, not unlimited']
    try:
        library = ctypes.CDLL(None, use_errno=True)
        # On fault: what is mapped and never touched (images, libraries) costs no memory.
        failed = library.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)
    except (AttributeError, OSError) as error:
        return [f'memory is not locked: {error}']
    return [f'memory is not locked: {os.strerror(ctypes.get_errno())}'] if failed else []


def _may_lock_all() -> bool:
    try:
        with open('/proc/self/status', encoding='ascii') as file:
            line = next(line for line in file if line.startswith('CapEff:'))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
