"""A process that must not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal

VARIABLE = 'DYSL_ENDS_WITH'
"""Process id of the starter: ``dysl demo``, ``ros2 launch``."""
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when the starter is gone, however it went (SIGKILL included).

    Nothing happens where the variable is not set, or names another than the parent of this
    process: a debugger or a terminal in between has a life of its own.
    """
    starter = os.environ.get(VARIABLE, '')
    if starter != str(os.getppid()):
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    except (AttributeError, OSError):  # not Linux
        return
    if os.getppid() != int(starter):  # it went in between
        os.kill(os.getpid(), signal.SIGTERM)
