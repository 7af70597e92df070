"""One number for what a manifest or a contract says: the same number, the same meaning."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any


def digest_of(one: Any, beside: Collection[str] = ()) -> str:
    """SHA-256, in hex, of all fields of a dataclass, and of those inside them.

    What a field says by default is left out: one that is new alters no digest of before.

    Args:
        one: A dataclass of plain values, mappings, tuples and dataclasses.
        beside: Fields of it that do not count.
    """
    told = {name: found for name, found in _told(one).items() if name not in beside}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _told(value: Any) -> Any:
    """As JSON."""
    if dataclasses.is_dataclass(value):
        pairs = ((part, getattr(value, part.name)) for part in dataclasses.fields(value))
        return {part.name: _told(found) for part, found in pairs if found != part.default}
    if isinstance(value, Mapping):
        return {name: _told(found) for name, found in value.items()}
    return [_told(found) for found in value] if isinstance(value, tuple) else value
