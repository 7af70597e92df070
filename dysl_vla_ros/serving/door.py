"""The listening socket: who comes and says nothing keeps nobody else out.

A connection costs a descriptor and a thread before anybody knows whose it is. Those that have not
finished their handshake are few at a time, the newest; and an ``accept`` that fails, for want of
descriptors or because somebody vanished, is tried again as long as the server lives.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import Any

WAITING = 64
"""Connections at most whose handshake is not over."""
_LOOK_S, _AGAIN_S, _TOLD_S = 0.2, 0.1, 10.0
_log = logging.getLogger(__name__)


class Door:
    """What ``websockets`` needs of a listening socket."""

    def __init__(self, listening: socket.socket, waiting: int = WAITING) -> None:
        """Nobody has come yet.

        Args:
            listening: Bound and listening; of TLS where that is wanted. Closed by ``close``.
            waiting: Connections at most whose handshake is not over.
        """
        self._listening, self._most = listening, waiting
        self._listening.settimeout(_LOOK_S)  # what it accepts has none of it
        self._lock = threading.Lock()
        self._waiting: list[socket.socket] = []
        self._closed = False
        self._told_at = float('-inf')

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            OSError: The door was closed.
        """
        while not self._closed:
            try:
                found, address = self._listening.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._closed:
                    break
                self._tell('no connection could be taken (%s); trying again', error)
                self._send_away(self._most // 2)
                time.sleep(_AGAIN_S)
                continue
            with self._lock:
                self._waiting.append(found)
            if self._send_away(self._most):
                self._tell('more than %d connections say nothing: the oldest are ended',
                           self._most)  # fmt: skip
            return found, address
        raise OSError('the door is closed')

    def entered(self, one: socket.socket) -> None:
        """Its handshake is over."""
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(one)

    def fileno(self) -> int:
        """Of the listening socket."""
        return self._listening.fileno()

    def getsockname(self) -> Any:
        """Of the listening socket."""
        return self._listening.getsockname()

    @property
    def family(self) -> int:
        """Of the listening socket."""
        return self._listening.family

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._listening.close()

    def _send_away(self, most: int) -> int:
        """End the oldest until ``most`` wait; returns how many.

        Their own threads notice and close them.
        """
        with self._lock:
            self._waiting = [one for one in self._waiting if one.fileno() >= 0]
            old = self._waiting[: max(len(self._waiting) - most, 0)]
            self._waiting = self._waiting[len(old) :]
        for one in old:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return len(old)

    def _tell(self, words: str, value: object) -> None:
        now = time.monotonic()
        if now - self._told_at > _TOLD_S:
            self._told_at = now
            _log.warning(words, value)
