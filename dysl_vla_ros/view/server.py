"""The server: one page, one WebSocket; what is new goes out at a steady rate, requests come in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.view.access import Access
from dysl_vla_ros.view.feed import PICTURE_HZ, Answer, Cursor, Feed
from dysl_vla_ros.view.pictures import jpeg

RATE_HZ = 15.0
ANSWER_S = 6.0
"""So long the page waits for an answer of the node."""
_MOST_BYTES = 16_384
"""Of a message of the page."""
_MOST_WAITING = 16
_PAGES = 8
PAGE = Path(__file__).parent / 'page'
_FILES = {'/': ('index.html', 'text/html'), '/view.js': ('view.js', 'text/javascript'),
          '/arm.js': ('arm.js', 'text/javascript'), '/charts.js': ('charts.js', 'text/javascript'),
          '/view.css': ('view.css', 'text/css')}  # fmt: skip
_HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    'Referrer-Policy': 'no-referrer',  # the token stands in the address
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
}  # fmt: skip


class Robot(Protocol):
    """What the server needs of the graph."""

    feed: Feed

    def watch(self, watched: bool) -> None:
        """Somebody looks, or nobody any more: cameras and joints are heard only while."""

    def ask(self, what: str, value: Any) -> Future[Answer]:
        """Pass a request on; refuses in the answer, never raises."""


class Server:
    """Serves until it is stopped; ``run`` is a coroutine."""

    def __init__(self, robot: Robot, access: Access) -> None:
        """Args: the graph, and who may look and ask."""
        self._robot = robot
        self._access = access
        self._pages: set[web.WebSocketResponse] = set()
        self._pictures: dict[str, tuple[int, bytes]] = {}
        self.port = 0

    async def run(self, port: int, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        """Serve until ``stop`` is set.

        Args:
            port: 0 takes a free one.
            stop: Ends it.
            ready: Called with the address to open once it is served.

        Raises:
            ConfigError: The address or the port is not to be had.
        """
        app = web.Application(client_max_size=_MOST_BYTES)
        for path in _FILES:
            app.router.add_get(path, self._file)
        app.router.add_get('/live', self._live)
        runner = web.AppRunner(app, access_log=None)  # a log would hold the token
        await runner.setup()
        pump = asyncio.create_task(self._pump())
        try:
            site = web.TCPSite(runner, self._access.host, port)
            try:
                await site.start()
            except (OSError, OverflowError) as error:
                raise ConfigError(
                    '--host, --port', f'{self._access.host}, {port}',
                    f'an address of this machine and a port that is free ({error})',
                ) from None  # fmt: skip
            self.port = runner.addresses[0][1]
            ready(self._access.address(self.port))
            await stop.wait()
        finally:
            pump.cancel()
            for page in list(self._pages):
                await page.close()
            await runner.cleanup()

    # ---- requests of the browser ---------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        # Scripts and styles hold nothing secret, and their address no token.
        self._check(request, with_token=request.path == '/')
        name, kind = _FILES[request.path]
        text = (PAGE / name).read_text(encoding='utf-8')
        return web.Response(text=text, content_type=kind, headers=_HEADERS)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        self._check(request, with_token=True)
        may_write = self._access.may_write(request.query.get('token', ''))
        if len(self._pages) >= _PAGES:
            raise web.HTTPServiceUnavailable(text=f'{_PAGES} pages are open already')
        page = web.WebSocketResponse(max_msg_size=_MOST_BYTES, compress=False, heartbeat=5.0)
        await page.prepare(request)
        self._pages.add(page)
        self._robot.watch(True)
        push = asyncio.create_task(self._push(page, may_write))
        waiting: set[asyncio.Task[None]] = set()
        try:
            async for message in page:
                if message.type is not WSMsgType.TEXT:
                    break
                self._take(page, message.data, may_write, waiting)
        finally:
            push.cancel()
            self._pages.discard(page)
            self._robot.watch(bool(self._pages))
        return page

    def _check(self, request: web.Request, with_token: bool) -> None:
        refusal = self._access.refusal(request.headers)
        may_read = self._access.may_read(request.query.get('token', ''))
        if not refusal and with_token and not may_read:
            refusal = 'the token is missing or wrong: open the address that dysl view printed'
        if refusal:
            raise web.HTTPForbidden(text=refusal, headers=_HEADERS)

    def _take(
        self, page: web.WebSocketResponse, text: str, may_write: bool, waiting: set[Any]
    ) -> None:
        """One message of the page; never waits, so that an e-stop is not behind another."""
        number, what, value = _request(text)
        if not may_write:
            reply = self._say(page, number, Answer(False, 'read only: this page has no token'))
        elif not what:
            reply = self._say(page, number, Answer(False, 'not a request'))
        elif len(waiting) >= _MOST_WAITING and what != 'estop':
            reply = self._say(page, number, Answer(False, 'too many requests are waiting'))
        else:
            reply = self._answer(page, number, self._robot.ask(what, value))
        task = asyncio.ensure_future(reply)
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    async def _answer(
        self, page: web.WebSocketResponse, number: Any, future: Future[Answer]
    ) -> None:
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S)
        except asyncio.TimeoutError:
            answer = Answer(False, f'no answer within {ANSWER_S:g} s')
        await self._say(page, number, answer)

    async def _say(self, page: web.WebSocketResponse, number: Any, answer: Answer) -> None:
        said = {'answer': number, 'success': answer.success, 'message': answer.message}
        await _sent(page.send_str(json.dumps(said)))

    # ---- what goes out -------------------------------------------------------------------------

    async def _push(self, page: web.WebSocketResponse, may_write: bool) -> None:
        """To one page; a slow one gets the newest less often, and holds nobody up."""
        cursor, shown = Cursor(), dict[str, int]()
        due = time.monotonic()
        while not page.closed:
            told, cursor = self._robot.feed.since(cursor)
            told['may_write'] = may_write
            told['cameras'] = sorted(self._pictures)
            if not await _sent(page.send_str(json.dumps(told, allow_nan=False))):
                return
            for index, (name, (number, data)) in enumerate(sorted(self._pictures.items())):
                if shown.get(name) != number:
                    shown[name] = number
                    if not await _sent(page.send_bytes(bytes([index]) + data)):
                        return
            due = max(due + 1.0 / RATE_HZ, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _pump(self) -> None:
        """Encodes each picture once, for all pages, and only while there is one."""
        loop = asyncio.get_running_loop()
        while True:
            shots = self._robot.feed.shots() if self._pages else {}
            for name in set(self._pictures) - set(shots):
                del self._pictures[name]
            for name, shot in shots.items():
                if self._pictures.get(name, (-1, b''))[0] != shot.number:
                    data = await loop.run_in_executor(None, jpeg, shot)
                    self._pictures[name] = (shot.number, data)
            await asyncio.sleep(1.0 / PICTURE_HZ)


def _request(text: str) -> tuple[Any, str, Any]:
    """Number, request and value of a message; an empty request for what is none."""
    try:
        message = json.loads(text)
        what = message['do']
        return message.get('id'), what if isinstance(what, str) else '', message.get('value')
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, '', None


async def _sent(sending: Awaitable[None]) -> bool:
    """Whether the page was still there."""
    try:
        await sending
    except (ConnectionError, RuntimeError):
        return False
    return True
