"""The socket: openpi's protocol at ``/``, that of ``vla-eval`` at ``/vla-eval``, health pages.

A connection has a thread for its frames; one thread of all of them asks the policy, whose engine
never sees a second one.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from dysl_vla_ros.engines.remote.contract import Contract
from dysl_vla_ros.engines.remote.protocol import LARGEST_MESSAGE, ReadPicture, pack, unpack
from dysl_vla_ros.engines.remote.request import ASK, NUMBERED
from dysl_vla_ros.engines.remote.same_model import CONTRACT, JOINTS, MODEL
from dysl_vla_ros.errors import ConfigError, DyslError
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.serving.door import Door
from dysl_vla_ros.serving.episode import Episode, ServeSettings
from dysl_vla_ros.serving.vla_eval import HarnessSession

HARNESS = '/vla-eval'
_HEALTH = ('/healthz', '/health')
_INTERNAL_ERROR, _GOING_AWAY, _LATER = 1011, 1001, 1013
_CLOSE_S = 1.0
_SILENT_S = 30.0
"""Who has said nothing for so long makes room where somebody else wants it."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where is listened, and who may come.

    Attributes:
        host: Address; the machine's own by default.
        port: 0 takes a free one.
        token: That clients must send (openpi's ``api_key``); '' asks for none.
        certificate: File of the certificate, for TLS; '' = none.
        key: File of its private key; '' = in the same file.
        largest: Bytes of the longest message.
        most: Connections at the same time.
    """

    host: str = '127.0.0.1'
    port: int = 8000
    token: str = ''
    certificate: str = ''
    key: str = ''
    largest: int = LARGEST_MESSAGE
    most: int = 8

    def context(self) -> ssl.SSLContext | None:
        """Of TLS; None without a certificate.

        Raises:
            ConfigError: The files are none.
        """
        if not self.certificate:
            if self.key:
                raise ConfigError('key', self.key, 'a certificate too')
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(
                Path(self.certificate).expanduser(),
                Path(self.key).expanduser() if self.key else None,
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                'certificate', self.certificate, f'a file of a certificate and its key ({error})'
            ) from None
        return context


class PolicyServer:
    """Serves one policy; ``start`` returns, ``close`` ends every connection.

    Attributes:
        place: As it was given.
        url: Where it is listening.
    """

    def __init__(
        self,
        policy: Policy,
        contract: Contract,
        settings: ServeSettings,
        place: Place | None = None,
        *,
        asked: ThreadPoolExecutor | None = None,
        named: bool = False,
        read_picture: ReadPicture | None = None,
        on_answer: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Listen; nobody is answered before ``start``.

        Args:
            policy: Opened and warmed up.
            contract: Of requests and answers.
            settings: How clients are served.
            place: Where.
            asked: The one thread that asks the policy, where it was opened in one: contexts of
                some devices belong to their thread. Shut down by ``close``.
            named: Whether the contract is of a file, which names the harness's keys too.
            read_picture: For pictures that come as files.
            on_answer: Told what is said beside the actions.

        Raises:
            ConfigError: The address cannot be listened on, or the files of TLS are none.
        """
        self.place = place = place or Place()
        self._policy, self._contract, self._settings = policy, contract, settings
        self._named, self._read_picture = named, read_picture
        self._on_answer = on_answer or (lambda said: None)
        self._asked = asked or ThreadPoolExecutor(1, 'policy')
        self._lock = threading.Lock()
        self._connections: dict[ServerConnection, float] = {}
        """When each that has said nothing yet came [s]; infinity for the others."""
        try:
            self._server: Server = serve(
                self._handle, place.host, place.port, ssl=place.context(), compression=None,
                max_size=place.largest, process_request=self._admit, open_timeout=5.0,
                close_timeout=_CLOSE_S,
            )  # fmt: skip
        except OSError as error:
            self._asked.shutdown()
            raise ConfigError(
                'host, port', f'{place.host}:{place.port}', 'an address of this machine, and a '
                f'port that is free ({error.strerror or error})',
            ) from None  # fmt: skip
        self._door = Door(self._server.socket)
        self._server.socket = cast('socket.socket', self._door)
        address = self._door.getsockname()
        name = f'[{address[0]}]' if ':' in address[0] else address[0]
        self.url = f'{"wss" if place.certificate else "ws"}://{name}:{address[1]}'
        self._thread = threading.Thread(
            target=self._server.serve_forever, name='serve', daemon=True
        )

    def start(self) -> None:
        """Take connections, in a thread."""
        self._thread.start()

    @property
    def listening(self) -> bool:
        """Whether somebody else could come."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Take no more, and end those that are there."""
        self._server.shutdown()
        with self._lock:
            there = list(self._connections)
        for connection in there:  # older releases of websockets leave them open
            with contextlib.suppress(ConnectionClosed, OSError):
                connection.close(_GOING_AWAY, 'the server ends')
        if self._thread.ident is not None:
            self._thread.join(2.0)
        self._asked.shutdown(wait=True, cancel_futures=True)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Health pages; a refusal for strangers, for too many, and for other paths."""
        path = request.path.partition('?')[0]
        if path == _HEALTH[0]:
            return connection.respond(HTTPStatus.OK, 'OK\n')
        if path == _HEALTH[1]:
            return connection.respond(HTTPStatus.OK, '{"status": "ok"}\n')
        if self.place.token and not self._knows(request):
            return connection.respond(
                HTTPStatus.UNAUTHORIZED, 'Authorization: Api-Key TOKEN expected\n'
            )
        if path not in ('', '/', HARNESS):
            return connection.respond(HTTPStatus.NOT_FOUND, f'/ or {HARNESS} expected\n')
        if self._full():
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f'{self._crowd()}\n')
        return None

    def _full(self) -> bool:
        """Whether nobody else may come; who has long said nothing makes room."""
        with self._lock:
            there = dict(self._connections)
        if len(there) < self.place.most:
            return False
        silent, since = min(there.items(), key=lambda one: one[1])
        if time.monotonic() - since < _SILENT_S:
            return True
        _log.warning('a connection that has said nothing is ended: another one wants its place')
        silent.close(_GOING_AWAY, 'nothing was said, and another one wants the place')
        with self._lock:
            self._connections.pop(silent, None)
        return False

    def _crowd(self) -> str:
        return f'{self.place.most} connections already'

    def _enters(self, connection: ServerConnection) -> bool:
        """Count it; handshakes may end at the same time, so that it is asked once more."""
        self._door.entered(connection.socket)
        with self._lock:
            fits = len(self._connections) < self.place.most
            if fits:
                self._connections[connection] = time.monotonic()
        if not fits:
            connection.close(_LATER, self._crowd())
        return fits

    def _received(self, connection: ServerConnection) -> str | bytes:
        """Its next message."""
        frame = connection.recv()
        with self._lock:
            if connection in self._connections:
                self._connections[connection] = float('inf')
        return frame

    def _knows(self, request: Request) -> bool:
        given = request.headers.get('Authorization', '').partition(' ')[2].strip()
        return hmac.compare_digest(given.encode(), self.place.token.encode())

    def _handle(self, connection: ServerConnection) -> None:
        if not self._enters(connection):
            return
        whom = 'somebody who vanished'
        try:
            whom = ':'.join(map(str, connection.remote_address[:2]))
            assert connection.request is not None
            harness = connection.request.path.partition('?')[0] == HARNESS
            _log.info('%s comes%s', whom, ' from vla-eval' if harness else '')
            (self._harness if harness else self._openpi)(connection)
        except (ConnectionClosed, OSError):
            pass
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            _log.info('%s goes', whom)

    def _openpi(self, connection: ServerConnection) -> None:
        episode = Episode(self._policy, self._contract, self._settings)
        connection.send(pack(self._about()))
        before = None
        while True:
            frame = self._received(connection)
            began = time.monotonic()
            try:
                request = self._read(frame)
                inferred = time.monotonic()
                answer = self._asked.submit(episode.answer, request).result()
                timing = {'infer_ms': 1e3 * (time.monotonic() - inferred)}
                if before is not None:
                    timing['prev_total_ms'] = 1e3 * before
                data = pack({**answer, 'server_timing': timing})
            except Exception as error:
                self._fail(connection, error)
                return
            self._on_answer(answer[ASK])
            connection.send(data)
            before = time.monotonic() - began

    def _harness(self, connection: ServerConnection) -> None:
        # What the harness plays it gets row by row: all that was given out was played.
        plays = self._settings.plays
        # A chunk may take longer to play, row by row, than a silence lasts: it says itself when
        # an episode begins.
        settings = replace(self._settings, silence_s=float('inf'))
        episode = Episode(self._policy, self._contract, settings, decides=True)
        session = HarnessSession(episode, plays, self._named)
        while True:
            frame = self._received(connection)
            try:
                message = self._read(frame)
                answer = self._asked.submit(session.answer, message).result()
                data = None if answer is None else pack(answer, text_keys=True)
            except Exception as error:
                self._fail(connection, error)
                return
            if data is not None:
                connection.send(data)

    def _read(self, frame: str | bytes) -> dict[str, Any]:
        if isinstance(frame, str):
            raise DyslError('a text frame: expected a binary one, of msgpack')
        return unpack(frame, self.place.largest, self._read_picture)

    def _fail(self, connection: ServerConnection, error: Exception) -> None:
        """Say what is wrong and end the connection, as openpi's own server does."""
        if isinstance(error, DyslError):
            text = str(error)
            _log.warning('refused: %s', text)
        else:
            text = f'internal error: {type(error).__name__}; the log of the server has more'
            _log.error('a request failed', exc_info=error)
        with contextlib.suppress(ConnectionClosed):
            connection.send(text)
            connection.close(_INTERNAL_ERROR, 'the frame before says why')

    def _about(self) -> dict[str, Any]:
        manifest, contract = self._policy.manifest, self._contract
        action = contract.action
        return {
            'policy': contract.name, 'device': self._policy.engine.device,
            'action_horizon': action.horizon, 'action_dim': action.dim,
            'action_space': action.space, 'action_period_s': action.period_s,
            'request': dict(contract.request),
            MODEL: manifest.digest, JOINTS: list(manifest.action.joint_names),
            CONTRACT: contract.digest,
            ASK: {
                'mode': self._settings.mode, 'layers_total': manifest.layers_total,
                'static_layers': list(manifest.static_layers), NUMBERED: True,
            },
        }  # fmt: skip
