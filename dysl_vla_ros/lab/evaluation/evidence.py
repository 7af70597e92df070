"""What a file of figures must say, so that it can be read without its author."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.errors import InputError

_QUANTILES = {'p50': float, 'p95': float, 'p99': float, 'runs': int}
SCHEMA: dict[str, Any] = {
    'device': str,
    'tokens': int,
    'stages': {'encode': _QUANTILES, 'backbone': _QUANTILES, 'decode': _QUANTILES},
    'full_pass': _QUANTILES,
    'layers_total': int,
    'depths': list,
    'controllers': (dict, type(None)),
    'same_bits': bool,
    'versions': {'python': str},
    'hardware': {'before': dict, 'after': dict, 'slowdowns': list},
    'command': str,
    'date': str,
}
"""Fields of ``dysl bench --json`` and of the GPU tests, and their kinds; more may be there."""


def check_evidence(document: Mapping[str, Any]) -> None:
    """Refuse figures that do not say where they come from.

    Raises:
        InputError: A field is missing or of another kind; names it.
    """
    _check(document, SCHEMA, '')


def _check(found: Any, wanted: Any, where: str) -> None:
    if isinstance(wanted, dict):
        if not isinstance(found, Mapping):
            raise InputError(f'{where or "evidence"}: {found!r}: expected an object')
        for name, kind in wanted.items():
            place = f'{where}.{name}' if where else name
            if name not in found:
                raise InputError(f'{place}: missing: expected {_words(kind)}')
            _check(found[name], kind, place)
        return
    kinds = wanted if isinstance(wanted, tuple) else (wanted,)
    number = float in kinds and isinstance(found, int) and not isinstance(found, bool)
    whole = isinstance(found, bool) and bool not in kinds
    if whole or not (number or isinstance(found, kinds)):
        raise InputError(f'{where}: {found!r}: expected {_words(wanted)}')


def _words(kind: Any) -> str:
    if isinstance(kind, dict):
        return f'an object with {", ".join(kind)}'
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return ' or '.join(one.__name__ for one in kinds)
