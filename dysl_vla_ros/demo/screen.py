"""The terminal of the demo: a live screen with keys, lines for a pipe, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dysl_vla_ros.demo.figures import Picture, number, why_no_pass
from dysl_vla_ros.demo.keys import Keys, Operator, Wish
from dysl_vla_ros.demo.view import Size, live_view

_REFRESH_S = 0.25
_KEY_S = 0.05
_LINE_S = 5.0
_WAIT_S = 5.0
"""Shorter waits are those of every start."""
_FIGURES = re.compile(r'[0-9.]+')


class Watched(Protocol):
    """What the screen needs of the graph."""

    picture: Picture
    requests: Any

    def spin(self, seconds: float) -> None:
        """Handle what arrives."""


class Screen:
    """A context manager; ``show`` takes a quarter of a second, or less when a key is hit."""

    def __init__(
        self, console: Console, watch: Watched, headless: bool, address: str = ''
    ) -> None:
        """Args: where to, of what, whether to show nothing, where a page shows the same."""
        self._address = address
        self._ended = 0
        self._console = console
        self._watch = watch
        self._live = console.is_terminal and not headless
        self._lines = not console.is_terminal and not headless
        self._keys = Keys()
        self._operator: Operator | None = None
        self._quits = False
        self._said_at = 0.0
        self._waits_for = self._told = ''
        self._waits_since = 0.0
        self._screen = Live(
            console=console, auto_refresh=False, screen=True, vertical_overflow='crop'
        )

    def __enter__(self) -> Screen:
        """Take the terminal."""
        if self._live:
            self._keys.__enter__()
            self._operator = Operator() if self._keys.there else None
            self._screen.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Give it back as it was."""
        if self._live:
            self._screen.__exit__(*error)
            self._keys.__exit__()

    def quits(self) -> bool:
        """Whether the operator wants to end it."""
        return self._quits

    def show(self, seconds: float) -> None:
        """Handle what arrives for a moment, then draw.

        Args:
            seconds: Since the demo began [s].
        """
        picture = self._watch.picture
        for _ in range(round(_REFRESH_S / _KEY_S)):
            self._watch.spin(_KEY_S)
            keys = self._keys.read()
            if keys and self._operator is not None:
                seed = int(number(picture.episode.get('seed', '')) or 0)
                wishes = self._operator.press(
                    keys, picture.command_value('state'), picture.policy_value('skip_mode'), seed
                )
                for wish in wishes:
                    self._ask(wish, self._operator)
                break
        ended = len(picture.outcomes) > self._ended
        self._ended = len(picture.outcomes)
        if ended and self._operator is not None:
            self._operator.judged(picture.judged, picture.outcomes[-1]['success'])
        if self._live:
            view = live_view(picture, seconds, _size(self._console), self._operator, self._address)
            self._screen.update(view, refresh=True)
        elif self._lines:
            self._line(picture, seconds, ended)
        if not self._live:
            self._tell_waiting(picture, seconds)

    def _tell_waiting(self, picture: Picture, seconds: float) -> None:
        """Why the model does not run, once it has lasted, and again when it is another reason."""
        reason = why_no_pass(picture) if picture.waits else ''
        kind = _FIGURES.sub('', reason)  # an age in it is no other reason
        if kind != self._waits_for:
            self._waits_for, self._waits_since = kind, seconds
        if kind and kind != self._told and seconds - self._waits_since >= _WAIT_S:
            self._told = kind
            self._console.print(Text(f'{seconds:.0f} s  {reason}'), soft_wrap=True)

    def _ask(self, wish: Wish, operator: Operator) -> None:
        if wish.what == 'quit':
            self._quits = True
            return
        shown = wish.what if wish.value is None else f'{wish.what} {wish.value}'
        operator.said = f'{shown} ...'
        self._watch.requests.ask(wish.what, wish.value).add_done_callback(_note(operator, wish))

    def _line(self, picture: Picture, seconds: float, ended: bool) -> None:
        if not ended and seconds - self._said_at < _LINE_S:
            return
        if ended:
            last = picture.outcomes[-1]
            how = 'done' if last['success'] else 'not done'
            self._console.print(Text(f'{seconds:.0f} s  seed {last["seed"]}: {how}'))
        self._said_at = seconds
        chunk = picture.chunk
        pass_ms = '-' if picture.pass_ms is None else f'{picture.pass_ms:.0f} ms'
        self._console.print(Text(
            f'{seconds:.0f} s  {picture.command_value("state") or "starting"}  '
            f'{picture.episode.get("instruction") or "-"}  '
            f'{picture.episode.get("phase") or "-"}  {chunk.get("layers_run", "-")} of '
            f'{chunk.get("layers_total", "-")} layers in {pass_ms}  '
            f'{picture.command_value("command_rate_hz") or "-"} Hz'
        ), soft_wrap=True)  # fmt: skip


def _note(operator: Operator, wish: Wish) -> Callable[[Future[Any]], None]:
    def note(done: Future[Any]) -> None:
        answer = done.result()
        operator.answered(wish, answer.success, answer.message)

    return note


def _size(console: Console) -> Size:
    # The last row stays free: a terminal scrolls when it is written to its end.
    colour = console.color_system is not None and not console.no_color
    return Size(console.size.width, console.size.height - 1, colour)
