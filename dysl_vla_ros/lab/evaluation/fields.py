"""Which fields a report must have, as a table of kinds; one function that names what differs.

A plain ``dict`` in a table is an object with at least these fields. More may be there: reports
grow, and those of before stay readable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dysl_vla_ros.errors import ConfigError

_SHOWN = 10
"""Entries of a list or object that a message shows, and 6 times as many characters of a text."""
_EXACT = 1e-9
"""Sums in another order differ in their last digits."""


@dataclass(frozen=True)
class Number:
    """A finite number within [low, high]; ``above``: ``low`` itself is too small."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def fits(self, value: Any) -> bool:
        """Whether a value is one."""
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (plain and math.isfinite(value) and self.low <= value <= self.high
                and not (self.above and value == self.low))  # fmt: skip

    def __str__(self) -> str:
        return _range('a number', self.low, self.high, self.above)


@dataclass(frozen=True)
class Whole:
    """A whole number within [low, high]."""

    low: float = -math.inf
    high: float = math.inf

    def fits(self, value: Any) -> bool:
        """Whether a value is one."""
        plain = isinstance(value, int) and not isinstance(value, bool)
        return plain and self.low <= value <= self.high

    def __str__(self) -> str:
        return _range('a whole number', self.low, self.high)


@dataclass(frozen=True)
class Text:
    """A text that is not empty: all of ``pattern``, which ``words`` says to people."""

    pattern: str = r'(?s).+'
    words: str = 'a text'

    def fits(self, value: Any) -> bool:
        """Whether a value is one."""
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class OneOf:
    """One of these values."""

    choices: Sequence[Any]

    def fits(self, value: Any) -> bool:
        """Whether a value is one."""
        return any(type(value) is type(one) and value == one for one in self.choices)

    def __str__(self) -> str:
        return ('one of ' if len(self.choices) > 1 else '') + ', '.join(map(repr, self.choices))


@dataclass(frozen=True)
class Each:
    """An object of any names, at least so many, with values of one kind."""

    kind: Kind
    least: int = 0

    def __str__(self) -> str:
        return f'an object of at least {self.least} entries' if self.least else 'an object'


@dataclass(frozen=True)
class Listed:
    """A list of ``least`` to ``most`` values of one kind."""

    kind: Kind
    least: int = 0
    most: float = math.inf

    def __str__(self) -> str:
        if self.least == self.most:
            return f'a list of {self.least} entries'
        return f'a list of at least {self.least} entries' if self.least else 'a list'


@dataclass(frozen=True)
class Maybe:
    """Null, or of this kind."""

    kind: Kind

    def __str__(self) -> str:
        return f'null or {words_of(self.kind)}'


@dataclass(frozen=True)
class Perhaps:
    """A field that may be missing."""

    kind: Kind


Kind = Number | Whole | Text | OneOf | Each | Listed | Maybe | Perhaps | Mapping[str, Any]
SHARE = Number(0, 1)
TEXT = Text()
DATE = Text(r'\d{4}-\d\d-\d\d.*', 'a date, as 2026-11-28')


def check_fields(file: str, found: Any, kind: Kind, where: str = '') -> None:
    """Refuse what is not of a kind.

    Args:
        file: Whose name a message begins with.
        found: From JSON.
        kind: What it must be.
        where: Its place in the file, with dots; '' is the whole.

    Raises:
        ConfigError: Names file, field, value and what would be right.
    """
    if isinstance(kind, (Maybe, Perhaps)):
        if found is None and isinstance(kind, Maybe):
            return
        check_fields(file, found, kind.kind, where)
    elif isinstance(kind, Mapping):
        _expect(isinstance(found, Mapping), file, found, kind, where)
        for name, inner in kind.items():
            if name in found:
                check_fields(file, found[name], inner, _at(where, name))
            elif not isinstance(inner, Perhaps):
                refuse(file, _at(where, name), None, words_of(inner))
    elif isinstance(kind, Each):
        _expect(isinstance(found, Mapping) and len(found) >= kind.least, file, found, kind, where)
        for name, value in found.items():
            check_fields(file, value, kind.kind, _at(where, name))
    elif isinstance(kind, Listed):
        right = isinstance(found, list) and kind.least <= len(found) <= kind.most
        _expect(right, file, found, kind, where)
        for number, value in enumerate(found):
            check_fields(file, value, kind.kind, f'{where}[{number}]')
    else:
        _expect(kind.fits(found), file, found, kind, where)


def check_told(file: str, told: Any, wanted: Any, where: str, why: str) -> None:
    """Refuse figures that are told otherwise than what they are taken from says.

    Args:
        file: Whose name a message begins with.
        told: As the report says.
        wanted: As it follows; of objects the fields that both have.
        where: Place in the file.
        why: What ``wanted`` follows from, after it in the message.

    Raises:
        ConfigError: Names the first field that differs.
    """
    for place, given, right in _differences(told, wanted, where):
        refuse(file, place, given, f'{_brief(right)!r}, {why}')


def refuse(file: str, where: str, value: Any, expected: str) -> None:
    """Raise the ConfigError of a field of a file; of a long value it shows the beginning."""
    raise ConfigError(f'{file}: {where}' if where else file, _brief(value), expected)


def words_of(kind: Kind) -> str:
    """What a message says that would be right."""
    if isinstance(kind, Perhaps):
        return words_of(kind.kind)
    if isinstance(kind, Mapping):
        must = [name for name, inner in kind.items() if not isinstance(inner, Perhaps)]
        return f'an object with {", ".join(must)}' if must else 'an object'
    return str(kind)


def check_finite(file: str, found: Any, where: str = '') -> None:
    """Refuse numbers that are none, NaN and the infinities, wherever they stand."""
    if isinstance(found, Mapping):
        for name, value in found.items():
            check_finite(file, value, _at(where, name))
    elif isinstance(found, list):
        for number, value in enumerate(found):
            check_finite(file, value, f'{where}[{number}]')
    elif isinstance(found, float) and not math.isfinite(found):
        refuse(file, where, found, 'a finite number')


def _differences(told: Any, wanted: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(told, Mapping) and isinstance(wanted, Mapping):
        for name in told:
            if name in wanted:
                yield from _differences(told[name], wanted[name], _at(where, name))
    elif isinstance(told, (list, tuple)) and isinstance(wanted, (list, tuple)):
        if len(told) != len(wanted):
            yield where, told, wanted
        for number, (one, other) in enumerate(zip(told, wanted, strict=False)):
            yield from _differences(one, other, f'{where}[{number}]')
    elif not _equal(told, wanted):
        yield where, told, wanted


def _equal(told: Any, wanted: Any) -> bool:
    if isinstance(told, bool) or isinstance(wanted, bool) or told is None or wanted is None:
        return told is wanted
    if isinstance(told, (int, float)) and isinstance(wanted, (int, float)):
        return math.isclose(told, wanted, rel_tol=_EXACT, abs_tol=_EXACT)
    return bool(told == wanted)


def _expect(holds: bool, file: str, found: Any, kind: Kind, where: str) -> None:
    if not holds:
        refuse(file, where, found, words_of(kind))


def _brief(value: Any) -> Any:
    if isinstance(value, Mapping):
        return list(value)[:_SHOWN] if value else {}
    if isinstance(value, (list, tuple)):
        return [_brief(one) for one in value[:_SHOWN]]
    return value[: 6 * _SHOWN] if isinstance(value, str) else value


def _at(where: str, name: object) -> str:
    return f'{where}.{str(name)[:60]}' if where else str(name)[:60]


def _range(what: str, low: float, high: float, above: bool = False) -> str:
    if high < math.inf:
        return f'{what} within {"(" if above else "["}{low:g}, {high:g}]'
    if low > -math.inf:
        return f'{what} above {low:g}' if above else f'{what} of at least {low:g}'
    return what
