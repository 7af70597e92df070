"""Parsed JSON -> frozen dataclasses, strictly: unknown keys and wrong types are errors."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dysl_vla_ros.errors import BundleError


def expect(name: str, value: object, holds: bool, expected: str) -> None:
    """Raise a BundleError that names field, value and what would be right, unless it holds."""
    if not holds:
        raise BundleError(f'{name} = {value!r}: expected {expected}')


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
        return value
    if origin is Literal:
        expect(where, value, value in arguments, 'one of ' + ', '.join(map(repr, arguments)))
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else parse(arguments[0], value, where)
    if origin is tuple:
        expect(where, value, isinstance(value, (list, tuple)), 'a list')
        if len(arguments) != 2 or arguments[1] is not Ellipsis:
            expect(where, value, len(value) == len(arguments), f'{len(arguments)} values')
        return tuple(parse(arguments[0], item, f'{where}[{i}]') for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        expect(where, type(value).__name__, isinstance(value, Mapping), 'an object')
        return {key: parse(arguments[1], item, f'{where}.{key}') for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    expect(where, value, not wrong, f'a {kind.__name__}')
    if kind is float:  # Python's JSON takes NaN and Infinity
        expect(where, value, math.isfinite(value), 'a finite number')
    return value


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    expect(where, type(value).__name__, isinstance(value, Mapping), 'an object')
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
