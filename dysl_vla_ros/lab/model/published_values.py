"""Values of JSON that others wrote: of the kind that is needed, or an error that names them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.bundle.strict_json import expect

MOST_LAYERS = 1000
_MOST = 1 << 24


def whole(
    found: Mapping[str, Any], name: str, default: int, where: str, least: int = 1,
    most: int = _MOST,
) -> int:  # fmt: skip
    """A whole number; ``default`` where there is none of this name.

    Args:
        found: A JSON object.
        name: Of the number.
        default: What it is where the file leaves it out.
        where: File and place of the object, for the message.
        least: Smallest.
        most: Largest: before anything of that size is made.

    Raises:
        BundleError: It is something else.
    """
    return check_whole(found.get(name, default), f'{where}{name}', least, most)


def check_whole(value: Any, where: str, least: int = 1, most: int = _MOST) -> int:
    """The value, which is a whole number; errors as for ``whole``."""
    holds = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    expect(where, value, holds, f'a whole number, {least} to {most}')
    return int(value)


def above_zero(found: Mapping[str, Any], name: str, default: float, where: str) -> float:
    """A finite number above 0; arguments and errors as for ``whole``."""
    value = found.get(name, default)
    expect(f'{where}{name}', value, is_number(value) and value > 0, 'a number above 0')
    return float(value)


def part(found: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """An object, empty where there is none of this name; errors as for ``whole``."""
    value = found.get(name)
    expect(f'{where}{name}', value, value is None or isinstance(value, Mapping), 'an object')
    return value or {}


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300 and math.isfinite(value)
