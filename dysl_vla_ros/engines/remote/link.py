"""The connection to a policy server: kept up by a thread of its own, asked with one deadline.

The protocol has no numbers on its messages, so an answer that comes after its deadline would be
taken for that of the next request. A connection is therefore dropped with the first request that
was not answered in time, and made anew: at once, then with growing pauses while that fails. A
server of ours, which says so, answers with the number of the request: what stands between, and
mixes up two robots or two requests, is found out.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dysl_vla_ros.engines.remote.protocol import LARGEST_MESSAGE, ProtocolError, pack, unpack
from dysl_vla_ros.engines.remote.request import ASK, NUMBER, NUMBERED
from dysl_vla_ros.errors import ConfigError, LinkError

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_HANDSHAKE_S = 5.0
_CLOSE_S = 0.2
_LOOK_S = 0.5
_LONGEST_ERROR = 300
_LEAST_S = 1e-3
_NUMBERS = 1 << 48


@dataclass(frozen=True)
class Address:
    """Where a policy server is, and how it is asked.

    Attributes:
        url: ``ws://host:port``, or ``wss://`` for TLS.
        token: Sent as openpi's ``Authorization: Api-Key``; '' sends none.
        ca_file: Certificates that a ``wss://`` server may be signed by; '' = the system's.
        largest: Bytes of the longest message in either direction.
    """

    url: str
    token: str = ''
    ca_file: str = ''
    largest: int = LARGEST_MESSAGE

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        try:
            parts = urlsplit(self.url)
            right = parts.scheme in ('ws', 'wss') and bool(parts.hostname)
            right = right and (parts.port is None or parts.port > 0)
        except ValueError:
            right = False
        if not right:
            raise ConfigError('remote.url', self.url, "'ws://host:port', or 'wss://host:port'")

    def context(self) -> ssl.SSLContext | None:
        """What TLS trusts; None without TLS.

        Raises:
            ConfigError: The file of certificates is none.
        """
        if not self.url.startswith('wss'):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError('remote.ca_file', self.ca_file,
                              f'a file of certificates ({error})') from None  # fmt: skip


class _OutOfStepError(Exception):
    """Something lies there that nobody asked for: the next answer would not be the next one's."""


class Link:
    """``ask`` belongs to one thread; the connection comes and goes in another."""

    def __init__(
        self,
        address: Address,
        clock: Callable[[], float] = time.monotonic,
        fits: Callable[[Mapping[str, Any]], None] = lambda said: None,
    ) -> None:
        """Begin to connect; ``wait`` says how that went.

        Args:
            address: Of the server.
            clock: Seconds.
            fits: Called with what a server says of itself, at every connection; a ``LinkError``
                refuses it.
        """
        self.address = address
        self._clock = clock
        self._fits = fits
        self._context = address.context()
        self._lock = threading.Lock()
        self._connection: ClientConnection | None = None
        self._metadata: dict[str, Any] = {}
        self._up, self._wake = threading.Event(), threading.Event()
        self._closed = False
        self._problem = 'not connected yet'
        self._refused = ''
        self._pause = 0.0
        self._requests = self._failures = self._connects = 0
        self._round_trip = 0.0
        self._number = secrets.randbelow(_NUMBERS)
        self._thread = threading.Thread(target=self._keep_up, name='link', daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._up.is_set()

    def report(self) -> dict[str, str | float]:
        """For diagnostics."""
        return {
            'state': 'connected' if self.up else f'down: {self._problem}',
            'requests': self._requests,
            'failures': self._failures,
            'connects': self._connects,
            'round_trip_ms': round(1e3 * self._round_trip, 2),
        }

    def wait(self, timeout: float) -> dict[str, Any]:
        """What the server says about itself, once it is connected.

        Args:
            timeout: Longest time to wait [s].

        Raises:
            LinkError: It is not there in time, or it is not the one that is expected.
        """
        until = self._clock() + timeout
        while not self._up.wait(min(max(until - self._clock(), 0.0), _LOOK_S)):
            if self._refused:  # it would say the same again
                raise LinkError(f'{self.address.url}: {self._refused}')
            if self._clock() >= until:
                raise self._down(timeout)
        return dict(self._metadata)

    def ask(self, request: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            request: A map of plain values and arrays.
            deadline_s: Of all of it: waiting for a connection, sending, the answer [s].

        Raises:
            LinkError: There is no answer in time, or it is an error, or none of the protocol.
        """
        number = self._next_number()
        said = {} if number is None else {ASK: {**request.get(ASK, {}), NUMBER: number}}
        data = pack({**request, **said})
        if len(data) > self.address.largest:
            raise LinkError(
                f'a request of {len(data)} bytes: expected at most {self.address.largest}; send '
                'smaller pictures, or raise remote.max_message_mb'
            )
        began = self._clock()
        deadline = began + deadline_s
        self._requests += 1
        try:
            try:
                answer = self._exchange(data, deadline, deadline_s)
            except (ConnectionClosed, _OutOfStepError):
                # Closed by the other side, perhaps long ago: what was asked changes nothing
                # there, so it is asked once more, in what is left of the time.
                answer = self._exchange(data, deadline, deadline_s)
        except (ConnectionClosed, _OutOfStepError) as error:
            self._failures += 1
            raise LinkError(f'the link to {self.address.url} was cut: {_words(error)}') from None
        except LinkError:
            self._failures += 1
            raise
        if number is not None and _number_of(answer, number) != number:
            problem = f'{self.address.url} answered another request'
            self.drop(problem)
            raise LinkError(problem)
        self._round_trip = self._clock() - began
        return answer

    def drop(self, problem: str) -> None:
        """Let go of the connection, whose answer was none, and make another.

        Args:
            problem: What is wrong with the answer.
        """
        self._failures += 1
        self._drop(problem)

    def close(self) -> None:
        """Drop the connection; a second call does nothing."""
        self._closed = True
        self._drop('closed')
        self._wake.set()
        self._thread.join(_CLOSE_S)

    def _next_number(self) -> int | None:
        """Of a request to a server that answers with it; None for another.

        Numbers begin anywhere, so that no two robots count alike.
        """
        with self._lock:
            ours = self._metadata.get(ASK)
        if not (isinstance(ours, dict) and ours.get(NUMBERED)):
            return None
        self._number = (self._number + 1) % _NUMBERS
        return self._number

    def _exchange(self, data: bytes, deadline: float, deadline_s: float) -> dict[str, Any]:
        if not self._up.wait(max(deadline - self._clock(), 0.0)):
            raise self._down(deadline_s)
        with self._lock:
            connection = self._connection
        if connection is None:
            raise self._down(deadline_s)
        # Sending has no deadline of its own: when the other side reads no more it would wait for
        # ever, so the connection is cut under it.
        late = threading.Timer(max(deadline - self._clock(), _LEAST_S), _cut, (connection,))
        late.daemon = True
        late.start()
        try:
            self._in_step(connection)
            connection.send(data)
            answer = connection.recv(timeout=max(deadline - self._clock(), _LEAST_S))
        except (TimeoutError, ConnectionClosed, OSError) as error:
            if isinstance(error, TimeoutError) or self._clock() >= deadline:
                problem = f'no answer of {self.address.url} within {deadline_s:g} s'
                self._drop(problem)
                raise LinkError(problem) from None
            self._drop(_words(error))
            if isinstance(error, ConnectionClosed):
                raise
            raise LinkError(f'the link to {self.address.url} broke: {error}') from None
        finally:
            late.cancel()
        if isinstance(answer, str):
            lines = answer.strip().splitlines() or ['(nothing)']
            problem = f'the policy server says: {lines[-1][:_LONGEST_ERROR]}'
            self._drop(problem)  # the reference server closes after an error, too
            raise LinkError(problem)
        try:
            return unpack(answer, self.address.largest)
        except ProtocolError as error:
            self._drop(str(error))
            raise

    def _in_step(self, connection: ClientConnection) -> None:
        """What came unasked, or twice, would be taken for the answer to what is asked now."""
        with contextlib.suppress(TimeoutError):
            connection.recv(timeout=0)
            self._drop('a message that nobody asked for')
            raise _OutOfStepError('a message that nobody asked for')

    def _down(self, waited: float) -> LinkError:
        return LinkError(f'no link to {self.address.url} for {waited:g} s: {self._problem}')

    def _drop(self, problem: str) -> None:
        """Let go of the connection; the thread makes another."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._problem = problem
            self._up.clear()
        if connection is not None:
            _cut(connection)
        self._wake.set()

    def _keep_up(self) -> None:
        while not self._closed:
            self._wake.clear()
            if self._pause and not self._closed:
                self._wake.wait(self._pause)
            if self._closed:
                return
            try:
                connection, metadata = self._connect()
            except Exception as error:  # also what a library says of a strange address
                self._problem = _words(error)
                self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                continue
            self._pause = 0.0
            with self._lock:
                self._connection, self._metadata = connection, metadata
                self._connects += 1
            if self._connects > 1:
                _log.info('the link to %s is back', self.address.url)
            self._up.set()
            if self._closed:
                self._drop('closed')
            while self._connection is connection:
                self._wake.wait(_LOOK_S)
                self._wake.clear()
                if connection.close_code is not None:  # nobody was asking, and it went
                    self._drop('the server closed the connection')
            with contextlib.suppress(Exception):  # whatever the end of a dead connection raises
                connection.close()
            if not self._closed:
                _log.warning('the link to %s is down: %s', self.address.url, self._problem)

    def _connect(self) -> tuple[ClientConnection, dict[str, Any]]:
        headers = {'Authorization': f'Api-Key {self.address.token}'} if self.address.token else {}
        opening = connect(
            self.address.url, ssl=self._context, compression=None, proxy=None,
            max_size=self.address.largest, additional_headers=headers,
            open_timeout=_HANDSHAKE_S, close_timeout=_CLOSE_S,
        )  # fmt: skip
        connection = opening.__enter__()  # left by closing it, in another method
        try:
            first = connection.recv(timeout=_HANDSHAKE_S)
            if isinstance(first, str):
                raise ProtocolError(f'the server begins with {first[:80]!r}: expected metadata')
            metadata = unpack(first, self.address.largest)
            self._refused = ''
            try:
                self._fits(metadata)
            except LinkError as error:
                self._refused = str(error)
                raise
            return connection, metadata
        except BaseException:
            _cut(connection)
            connection.close()
            raise


def _number_of(answer: Mapping[str, Any], otherwise: int) -> Any:
    """The request that was answered; of what is no answer at all others say what is wrong."""
    said = answer.get(ASK)
    return said.get(NUMBER) if isinstance(said, dict) else otherwise


def read_token(path: str) -> str:
    """The first line of a file; '' for no file.

    Raises:
        ConfigError: It cannot be read, or is no token.
    """
    if not path:
        return ''
    try:
        token = Path(path).expanduser().read_text(encoding='utf-8')[:4096].strip()
    except (OSError, ValueError) as error:
        raise ConfigError('remote.token_file', path, f'a file with the token ({error})') from None
    if not token or not token.isprintable() or not token.isascii():
        raise ConfigError('remote.token_file', path, 'a file with one line, the token')
    return token


def _cut(connection: ClientConnection) -> None:
    """End both directions under whoever sends or waits."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)


def _words(error: BaseException) -> str:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in (401, 403):
            return f'the server refuses the token (HTTP {status}): see remote.token_file'
        return f'the server answers with HTTP {status}: expected a WebSocket'
    return ' '.join((str(error) or type(error).__name__).split())[:_LONGEST_ERROR]
