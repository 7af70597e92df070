"""Options that a call has and its command could not obey: refused, not passed over."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence

from dysl_vla_ros.errors import ConfigError


def refuse_ignored(
    given: argparse.Namespace, options: Collection[str], beside: str, why: str
) -> None:  # fmt: skip
    """Refuse options of the call that would change nothing.

    Args:
        given: As ``cli.calls.Parser`` makes it.
        options: As they are written, ``--units``.
        beside: What they are given with, or without, in words.
        why: What decides in their place.

    Raises:
        ConfigError: Names all of them, and what was given.
    """
    if found := [option for option in given.said if option in options]:
        values = ', '.join(given.said[option] or 'given' for option in found)
        raise ConfigError(', '.join(found), values, f'to be left away {beside}: {why}')


def either(names: Sequence[str]) -> str:
    """``a``, ``a or b``, or ``a, b or c``."""
    return ' or '.join((', '.join(names[:-1]), names[-1]) if names[1:] else names)
