"""JSON -> frozen dataclasses, strictly: unknown keys and wrong types are errors.

Whatever the text, it ends soon and in a BundleError: sizes are bounded before anything is built,
and messages show the beginning of a value only.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dysl_vla_ros.errors import BundleError

LARGEST_FILE = 4 << 20
"""Bytes of a manifest; one of 32 layers has 40,000."""
LARGEST_PUBLISHED = 64 << 20
"""Bytes of what comes with a published model; the tokenizer of a Llama has 9 million."""
_MOST = 10_000
"""Entries of a list or an object, and characters of a text."""
_DEEPEST = 32
_DIGITS = 18
_shown = reprlib.Repr()
_shown.maxlevel, _shown.maxother, _shown.maxlong = 4, 120, 40
_shown.maxstring = 120
_shown.maxlist = _shown.maxtuple = _shown.maxdict = 40


class _TwiceError(Exception):
    """A key that an object has two values for."""


def load(path: Path, largest: int = LARGEST_FILE) -> Any:
    """Parsed JSON of a file.

    Args:
        path: The file.
        largest: Bytes that it may have.

    Raises:
        BundleError: It cannot be read, is larger, is no JSON, or says a key twice.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise BundleError(f'{path}: {size} bytes, expected at most {largest}')
        return json.loads(
            path.read_text(encoding='utf-8'), object_pairs_hook=_once, parse_int=_integer
        )
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error.strerror}') from None
    except (ValueError, RecursionError) as error:
        words = 'nested too deeply' if isinstance(error, RecursionError) else error
        raise BundleError(f'{path}: not valid JSON: {words}') from None
    except _TwiceError as twice:
        raise BundleError(f'{path}: {twice}') from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _TwiceError(f'{shown(name)} stands twice: expected every key once')
            seen.add(name)
    return found


def _integer(text: str) -> int | float:
    """Of ten thousand digits, which take quadratic time, a float: refused where it stands."""
    return int(text) if len(text) <= _DIGITS else float(text)


def shown(value: object) -> str:
    """A value for a message: its beginning, whatever it is."""
    try:
        return _shown.repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return f'a {type(value).__name__} that is too large to show'


def expect(name: str, value: object, holds: bool, expected: str) -> None:
    """Raise a BundleError that names field, value and what would be right, unless it holds."""
    if not holds:
        raise BundleError(f'{name[-200:]} = {shown(value)}: expected {expected}')


def parse(kind: Any, value: Any, where: str) -> Any:
    """Turn parsed JSON into ``kind``.

    Args:
        kind: A dataclass, or the type of one of its fields.
        value: From ``json.loads``.
        where: Dotted name of the place, for messages.

    Raises:
        BundleError: A missing or unknown key, a wrong type, or a number that is not finite.
    """
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        _check_plain(value, where)
        return value
    if origin is Literal:
        known = isinstance(value, str) and value in arguments
        expect(where, value, known, 'one of ' + ', '.join(map(repr, arguments)))
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else parse(arguments[0], value, where)
    if origin is tuple:
        expect(where, value, isinstance(value, (list, tuple)), 'a list')
        expect(where, len(value), len(value) <= _MOST, f'at most {_MOST} entries')
        kinds = arguments
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            kinds = arguments[:1] * len(value)
        expect(where, value, len(value) == len(kinds), f'{len(kinds)} values')
        return tuple(parse(kind, item, f'{where}[{i}]')
                     for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))  # fmt: skip
    if origin is not None and issubclass(origin, Mapping):
        _check_object(value, where)
        return {key: parse(arguments[1], item, f'{where}.{key}') for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        expect(where, value, abs(value) < 10**_DIGITS, f'at most {_DIGITS} digits')
        value = float(value) if kind is float else value
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    expect(where, value, not wrong, f'a {kind.__name__}')
    if kind is str:
        expect(where, value, len(value) <= _MOST, f'at most {_MOST} characters')
        expect(where, value, _is_text(value), 'text that can be written as UTF-8')
    if kind is float:  # Python's JSON takes NaN and Infinity
        expect(where, value, math.isfinite(value), 'a finite number')
    return value


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    _check_object(value, where)
    hints = get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    expect(where, unknown, not unknown, f'only the keys {", ".join(fields)}')
    required = [
        name for name, item in fields.items()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    missing = [name for name in required if name not in value]
    expect(where, missing, not missing, 'these keys too')
    return kind(**{key: parse(hints[key], item, f'{where}.{key}') for key, item in value.items()})


def _check_object(value: Any, where: str) -> None:
    expect(where, type(value).__name__, isinstance(value, Mapping), 'an object')
    expect(where, len(value), len(value) <= _MOST, f'at most {_MOST} keys')
    for key in value:
        fits = isinstance(key, str) and len(key) <= _MOST and _is_text(key)
        expect(where, key, fits, f'a key of at most {_MOST} characters')


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Free values, a card: what can be written again, and by whom it is read."""
    expect(where, '...', depth <= _DEEPEST, f'at most {_DEEPEST} levels')
    if isinstance(value, Mapping):
        _check_object(value, where)
        for key, item in value.items():
            _check_plain(item, f'{where}.{key[:40]}', depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(item, where, depth + 1)
    elif isinstance(value, float):
        expect(where, value, math.isfinite(value), 'a finite number')
    elif isinstance(value, int):
        expect(where, value, abs(value) < 10**_DIGITS, f'at most {_DIGITS} digits')
    else:
        plain = value is None or (isinstance(value, str) and _is_text(value))
        expect(where, value, plain, 'a plain value')


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair, from an escape
        return False
    return True
