"""One life of the model's process, seen from the node: start, ask with a deadline, kill."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from dysl_vla_ros.errors import EngineError, ModelProcessError
from dysl_vla_ros.policy_process.exit_codes import describe_exit
from dysl_vla_ros.policy_process.shared_memory import SharedMemory
from dysl_vla_ros.policy_process.wire import Bounds, Channel, Message, WireError

SERVER = (sys.executable, '-m', 'dysl_vla_ros.policy_process.server')
_REAP_S = 1.0
"""How long a dead process may take to be waited for: the kernel frees its memory first."""


class ModelProcess:
    """Asked by one thread; ``kill`` may be called by any."""

    def __init__(
        self, spawner: Executor, memory: SharedMemory, server: Sequence[str] = SERVER
    ) -> None:
        """Start it.

        Args:
            spawner: From ``spawning_thread``.
            memory: Where requests lie.
            server: Command to start; it is given the socket, the memory and our process id.

        Raises:
            ModelProcessError: It cannot be started.
        """
        self._busy = threading.Lock()
        self._killed_for = ''
        with contextlib.ExitStack() as opened:
            try:
                self._stream, theirs = map(opened.enter_context, socket.socketpair())
                self._process = spawner.submit(
                    subprocess.Popen,
                    [*server, str(theirs.fileno()), str(memory.descriptor), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), memory.descriptor),
                    env=_environment(),
                ).result()
            except (OSError, RuntimeError) as error:
                text = f'the model process cannot be started: {error}'
                raise ModelProcessError(text) from error
            theirs.close()
            opened.pop_all()
        self._channel = Channel(self._stream, memory)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked; costs a microsecond."""
        return not self._killed_for and self._process.poll() is None

    def ask(self, request: Message, timeout: float, bounds: Bounds | None = None) -> Message:
        """Send a request and wait for its answer.

        Args:
            request: Its arrays go through the shared memory.
            timeout: Longest time for both [s].
            bounds: Longest answer that is read.

        Raises:
            InputError: The arrays do not fit the shared memory.
            EngineError: Another thread is asking.
            ModelProcessError: It died, was killed, did not answer in time (then it is killed) or
                answered what is no message (then too).
        """
        if not self._busy.acquire(blocking=False):
            raise EngineError('another thread is asking the model process: expected one alone')
        try:
            if self._killed_for:
                raise ModelProcessError(f'the model process {self.describe_end()}')
            deadline = time.monotonic() + timeout
            self._channel.send(request, deadline, shared=True)
            return self._channel.receive(deadline, bounds)
        except TimeoutError:
            self.kill(f'hung: no answer in {timeout:g} s')
        except WireError as error:
            self.reject(error)
        except (EOFError, OSError):
            pass
        finally:
            self._busy.release()
        raise ModelProcessError(f'the model process {self.describe_end()}')

    def reject(self, error: WireError) -> None:
        """Kill it, for what it said was nonsense: from here on nothing it says can be trusted."""
        self.kill(f'answered nonsense: {error}')

    def kill(self, reason: str) -> None:
        """End it at once, also while another thread asks: that thread is woken.

        Args:
            reason: For ``describe_end``; the first one counts.
        """
        self._killed_for = self._killed_for or reason
        self._process.kill()
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def describe_end(self) -> str:
        """``'died of SIGSEGV'``; waits a moment, as the kernel closes its socket first."""
        if self._killed_for:
            return f'{self._killed_for} (killed)'
        try:
            return describe_exit(self._process.wait(_REAP_S))
        except subprocess.TimeoutExpired:
            self.kill('closed its connection and went on')
            return f'{self._killed_for} (killed)'

    def close(self, patience: float = 0.0) -> None:
        """Let go of it; a second call does nothing.

        Args:
            patience: How long it may take to close its engine before it is killed [s].
        """
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        if patience > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_S)
        self._killed_for = self._killed_for or 'closed'
        self._stream.close()


def spawning_thread() -> ThreadPoolExecutor:
    """A thread that starts processes and outlives them.

    The kernel ends a process that asks to die with its parent when the *thread* that started it
    ends, and the worker, which restarts the process, ends at each deactivation. SIGINT is blocked
    in it, and so in its children from their first instruction on: Ctrl-C goes to the whole group,
    and the node decides.
    """
    return ThreadPoolExecutor(
        max_workers=1,
        thread_name_prefix='spawn',
        initializer=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
    )


def _environment() -> dict[str, str]:
    """The child finds its modules where this process found them, and nowhere else."""
    search = [os.path.abspath(path) for path in sys.path]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(search), 'PYTHONSAFEPATH': '1'}
