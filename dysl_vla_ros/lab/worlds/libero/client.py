"""The other end of the socket: LIBERO's scenes, from a process that knows nothing of LIBERO."""

from __future__ import annotations

import os
import subprocess
import tempfile
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.lab.worlds.libero.environment import APT, interpreter
from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS

_SERVER = 'dysl_vla_ros.lab.worlds.libero.inside.serve'
_START_S = 120.0
_END_S = 20.0


class LiberoClient:
    """A child process that answers; use as a context manager."""

    def __enter__(self) -> LiberoClient:
        """Start the child.

        Raises:
            ConfigError: LIBERO is not installed, or its graphics library is missing.
        """
        python = interpreter()
        self._folder = tempfile.TemporaryDirectory(prefix='dysl_libero.')
        address = str(Path(self._folder.name) / 'socket')
        errors = Path(self._folder.name) / 'errors'
        root = Path(__file__).resolve().parents[4]
        environment = {
            **os.environ, 'MUJOCO_GL': 'egl', 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1',
        }  # fmt: skip
        with Listener(address, 'AF_UNIX') as listener, errors.open('wb') as log:
            self._process = subprocess.Popen(
                [str(python), '-m', _SERVER, address], stdout=subprocess.DEVNULL, stderr=log,
                env=environment, cwd=self._folder.name,
            )  # fmt: skip
            # A child that cannot import never comes: accept must not wait for it for ever.
            socket: Any = listener._listener._socket  # type: ignore[attr-defined]
            socket.settimeout(1.0)
            pipe = self._accepted(listener)
        if pipe is None:
            self._process.kill()
            self._process.wait()
            said = (errors.read_text('utf-8', 'replace').strip().splitlines() or ['no word'])[-1]
            self._folder.cleanup()
            raise ConfigError('libero', said, f'an environment that runs: make libero, and {APT}')
        self._pipe = pipe
        return self

    def _accepted(self, listener: Listener) -> Connection | None:
        for _ in range(int(_START_S)):
            try:
                return listener.accept()
            except (TimeoutError, OSError):
                if self._process.poll() is not None:
                    break
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def ask(self, request: str, *arguments: Any) -> Any:
        """One request to ``inside.serve.Server``.

        Raises:
            EngineError: It failed there, or the child died.
        """
        try:
            self._pipe.send((request, *arguments))
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            code = self._process.poll()
            raise EngineError(f'libero: the simulator ended (exit code {code}): {error}') from None
        if not good:
            raise EngineError(f'libero: {request}: {answer}')
        return answer

    def look(self) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]:
        """Pictures by camera, (edge, edge, 3), black where none are drawn, and the state (8,)."""
        *pictures, state = self.ask('look')
        images = {
            name: np.frombuffer(data or bytes(3 * edge**2), np.uint8).reshape(edge, edge, 3)
            for (name, (_, edge)), data in zip(CAMERAS.items(), pictures, strict=True)
        }
        return images, np.frombuffer(state, np.float32)
