"""Keys of a terminal, one by one, without waiting; and what they ask for."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from dataclasses import dataclass
from typing import Any

MODES = ('auto', 'full', 'max_skip', 'fixed', 'compare')
"""Not ``by_instruction``: the bundled model names no exits by instruction."""
HELP = 'i tell  m mode  n scene  p pause  q quit'
_ENTER, _ESCAPE, _DELETE = '\r\n', '\x1b', '\x7f\x08'
_LONGEST = 200
_CHUNK = 256


class Keys:
    """The terminal in a mode in which a key needs no Enter; a context manager that puts it back.

    Where standard input is no terminal there are no keys.
    """

    def __init__(self) -> None:
        """Nothing is changed yet."""
        self._before: list[Any] | None = None

    def __enter__(self) -> Keys:
        """Ctrl-C stays a signal."""
        if sys.stdin is not None and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(self, *error: object) -> None:
        """As it was."""
        if self._before is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
            self._before = None

    @property
    def there(self) -> bool:
        """Whether there is a terminal to type in."""
        return self._before is not None

    def read(self) -> str:
        """What was typed since; '' without."""
        if self._before is None or not select.select([self._file], [], [], 0.0)[0]:
            return ''
        try:
            data = os.read(self._file, _CHUNK)
        except OSError:  # the terminal is gone
            data = b''
        if not data:  # its end: no more keys
            self._before = None
        text = data.decode(errors='ignore')
        # An arrow key and its like are not a wish to cancel.
        return _ESCAPE if text == _ESCAPE else '' if text.startswith(_ESCAPE) else text


@dataclass(frozen=True)
class Wish:
    """What a key asks for, in the words of ``ViewRequests.ask``; ``quit`` ends the demo."""

    what: str
    value: Any = None


class Operator:
    """Turns keys into wishes.

    Attributes:
        typed: The instruction that is being typed; None while none is.
        said: What came of the last wish, for people.
        told: The instruction that is being tried; '' while none is.
        refused: Modes that the node refused while it was in this one: ``m`` leaves them out.
    """

    def __init__(self) -> None:
        """Nothing typed."""
        self.typed: str | None = None
        self.said = ''
        self.told = ''
        self.refused: set[str] = set()
        self._mode = ''

    def answered(self, wish: Wish, success: bool, message: str) -> None:
        """What came of a wish."""
        self.said = message if success else f'refused: {message}'
        if wish.what == 'instruct' and success:
            self.told = str(wish.value)
        if wish.what == 'mode' and not success:
            self.refused.add(str(wish.value))

    def judged(self, instruction: str, success: bool) -> None:
        """An episode has ended: of what was told, say how."""
        if self.told and instruction == self.told:
            self.said = f'{instruction}: {"done" if success else "not done"}; i tell, n next scene'
            self.told = ''

    def press(self, keys: str, state: str, mode: str, seed: int) -> list[Wish]:
        """What they ask for.

        Args:
            keys: In order.
            state: Of the node: ``p`` resumes what is paused.
            mode: Of skipping: ``m`` takes the next.
            seed: Of the scene: ``n`` takes the next.
        """
        if mode != self._mode:
            self._mode = mode
            self.refused.clear()
        wishes = []
        for key in keys:
            wish = self._typing(key) if self.typed is not None else None
            if self.typed is None and wish is None:
                wish = self._plain(key, state, mode, seed)
            elif wish is not None and wish.what == '':
                wish = None  # given up
            if wish is not None:
                wishes.append(wish)
        return wishes

    def _typing(self, key: str) -> Wish | None:
        assert self.typed is not None
        if key in _ENTER:
            text, self.typed = self.typed.strip(), None
            self.said = '' if text else 'nothing typed: nothing told'
            return Wish('instruct', text) if text else Wish('')
        if key == _ESCAPE:
            self.typed = None
            return Wish('')
        if key in _DELETE:
            self.typed = self.typed[:-1]
        elif key.isprintable():
            self.typed = (self.typed + key)[:_LONGEST]
        return None

    def _plain(self, key: str, state: str, mode: str, seed: int) -> Wish | None:
        if key == 'q':
            return Wish('quit')
        if key == 'i':
            self.typed, self.said = '', ''
        elif key == 'p':
            return Wish('pause', state != 'paused')
        elif key == 'n':
            return Wish('scene', seed + 1)
        elif key == 's':
            return Wish('start')
        elif key == 'm':
            after = MODES.index(mode) + 1 if mode in MODES else 0
            others = [*MODES[after:], *MODES[:after]]
            return Wish('mode', next((m for m in others if m not in self.refused), others[0]))
        return None
