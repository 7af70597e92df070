"""The nodes as child processes: their logs kept, their end waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from dysl_vla_ros import bringup
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.hardware.parent import VARIABLE

_TAIL_LINES, _FATAL_LINES = 15, 3
_PATIENCE_S = 8.0


class ChildError(DyslError):
    """A node ended by itself; the message holds the end of its log."""


def environment(domain_id: int) -> dict[str, str]:
    """Environment variables of the nodes and of the watcher.

    Args:
        domain_id: ROS domain, so that a demo meets no other graph.
    """
    return {
        **os.environ,
        **bringup.environment(),
        'ROS_DOMAIN_ID': str(domain_id),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': os.environ.get(
            'ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'
        ),
        # One thread per process: with two, the chain of layers gets slower, not faster.
        'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
    }


class Program(Protocol):
    """What can be started: a node's ``NodeSpec``, or another program beside them."""

    @property
    def name(self) -> str:
        """Of its log."""

    @property
    def essential(self) -> bool:
        """Whether nothing goes on without it."""

    def command_line(self, python: str) -> list[str]:
        """Words, for this interpreter."""


class Children:
    """Starts nodes; as a context manager it stops them with SIGINT and waits."""

    def __init__(self, specs: Sequence[Program], env: dict[str, str]) -> None:
        """Prepare; entering starts.

        Args:
            specs: What to start, in order.
            env: Their environment.
        """
        self._specs = specs
        self._env = env
        self._folder = tempfile.TemporaryDirectory(prefix='dysl_demo_')
        self._running: list[tuple[Program, subprocess.Popen[bytes], Path]] = []
        self.exit_codes: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        """What those printed last whose exit code is not 0."""

    def __enter__(self) -> Children:
        """Start all."""
        env = {**self._env, VARIABLE: str(os.getpid())}
        for spec in self._specs:
            log = Path(self._folder.name) / f'{spec.name}.log'
            with log.open('wb') as stream:
                # A session of its own: Ctrl-C reaches the demo alone, which then stops the nodes.
                process = subprocess.Popen(
                    spec.command_line(sys.executable), env=env, stdin=subprocess.DEVNULL,
                    stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            self._running.append((spec, process, log))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """SIGINT, wait, and SIGKILL whoever does not end."""
        for _, process, _ in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _PATIENCE_S
        for spec, process, log in self._running:
            try:
                code = process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            self.exit_codes[spec.name] = code
            if code:
                self.reasons[spec.name] = _tail(log)
        self._folder.cleanup()

    @property
    def process_ids(self) -> dict[str, int]:
        """Name -> process id, of everything that was started."""
        return {spec.name: process.pid for spec, process, _ in self._running}

    def words(self, name: str) -> str:
        """All that a program has printed so far."""
        return '\n'.join(
            log.read_text(encoding='utf-8', errors='replace')
            for spec, _, log in self._running
            if spec.name == name
        )

    def printed_at(self, name: str, now: float) -> float:
        """When a program printed something last, on the steady clock that shows ``now`` [s]."""
        ages = [time.time() - log.stat().st_mtime for spec, _, log in self._running
                if spec.name == name]  # fmt: skip
        return now - min(ages, default=0.0)

    def last_words(self, name: str) -> str:
        """The end of what a program has printed."""
        return ''.join(_tail(log) for spec, _, log in self._running if spec.name == name)

    def check(self) -> None:
        """Complain about a node that ended and without which nothing goes on.

        Raises:
            ChildError: With its exit code and the end of its log.
        """
        for spec, process, log in self._running:
            code = process.poll()
            if code is not None and getattr(spec, 'essential', True):
                raise ChildError(f'{spec.name} ended with code {code}:\n{_tail(log)}')


def _tail(log: Path) -> str:
    """The end of a log; what was fatal stands first, wherever it stood."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    fatal = [line for line in lines if '[FATAL]' in line][-_FATAL_LINES:]
    shown = fatal + [line for line in lines[-_TAIL_LINES:] if line not in fatal]
    return '\n'.join(f'  {line}' for line in shown) or '  (it printed nothing)'
