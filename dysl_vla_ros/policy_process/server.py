"""The model's process: opens the policy that it is told to, then answers one request at a time.

Started by ``process.ModelProcess``, never by hand. One thread does everything, so an engine
never sees a second one. Nothing heavy is imported before it is sure to end with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import resource
import signal
import socket
import sys

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_OOM_SCORE = '500'


def main(arguments: list[str]) -> int:
    """Serve until the other side is gone.

    Args:
        arguments: Descriptor of the socket, descriptor of the memory, the parent's process id.

    Returns:
        Exit code.
    """
    stream, memory, parent = map(int, arguments)
    if not _end_with(parent):
        return 0
    # Ctrl-C goes to the whole group: the parent brakes first, then closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    # Writing a core of gigabytes would keep the arm waiting for its next chunk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError), open('/proc/self/oom_score_adj', 'w') as file:
        file.write(_OOM_SCORE)  # when memory is short, the model goes before the node

    from dysl_vla_ros.policy_process.serve import serve

    return serve(socket.socket(fileno=stream), memory)


def _end_with(parent: int) -> bool:
    """Have the kernel end this process with the thread that started it; False: it is gone."""
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    library.prctl(_PR_SET_NAME, b'vla_model', 0, 0, 0)
    return os.getppid() == parent


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
