"""The line between the node and the policy server: what is said on it is passed on, or spoilt."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from dysl_vla_ros.engines.remote.protocol import pack, unpack
from dysl_vla_ros.ros.chaos.spoil import Filter

_OPEN_S, _CLOSE_S = 1.0, 0.2
_LARGEST = 64 << 20


class Wire:
    """An address for the node, with the real server behind it.

    Attributes:
        url: For ``remote.url``; stays the same when the server is started anew.
        spoil: What becomes of an answer: a map in, and out what is sent in its place, maps,
            bytes or texts; None passes it on untouched.
    """

    def __init__(self, behind: Callable[[], str]) -> None:
        """Args: where the server is, asked for each connection."""
        self.spoil: Filter | None = None
        self._behind = behind
        self._lock = threading.Lock()
        self._there: set[ServerConnection] = set()
        self._server = serve(self._between, '127.0.0.1', 0, compression=None,
                             max_size=_LARGEST, close_timeout=_CLOSE_S)  # fmt: skip
        self.url = f'ws://127.0.0.1:{self._server.socket.getsockname()[1]}'
        threading.Thread(target=self._server.serve_forever, name='wire', daemon=True).start()

    def cut(self) -> None:
        """Every connection ends, without a word; another one may be made at once."""
        with self._lock:
            there = list(self._there)
        for connection in there:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self.cut()

    def _between(self, client: ServerConnection) -> None:
        with self._lock:
            self._there.add(client)
        try:
            with connect(self._behind(), compression=None, proxy=None, max_size=_LARGEST,
                         open_timeout=_OPEN_S, close_timeout=_CLOSE_S) as server:  # fmt: skip
                client.send(server.recv())
                while True:
                    server.send(client.recv())
                    for said in self._answers(server.recv()):
                        client.send(said)
        except (OSError, EOFError, WebSocketException):
            pass  # either end is gone, and so is the other with it
        finally:
            with self._lock:
                self._there.discard(client)

    def _answers(self, frame: str | bytes) -> list[str | bytes]:
        spoil = self.spoil
        if spoil is None or isinstance(frame, str):
            return [frame]
        return [_frame(said) for said in spoil(unpack(frame))]


def _frame(said: Any) -> str | bytes:
    return pack(said) if isinstance(said, dict) else said
