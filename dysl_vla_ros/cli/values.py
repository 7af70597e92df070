"""Numbers on a command line, judged while it is read: none out of range starts anything."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from dysl_vla_ros.cli.calls import meant
from dysl_vla_ros.errors import ConfigError


def whole(low: int, high: int | None = None, words: str = '') -> Callable[[str], int]:
    """A type of argparse: whole numbers within [low, high].

    Args:
        low: Smallest.
        high: Largest; None for no bound.
        words: What would be right, if more than the range.
    """
    wanted = words or _range('a whole number', low, high)

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'{text!r}: expected {wanted}') from None
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f'{text!r}: expected {wanted}')
        return value

    return read


def number(
    low: float, high: float = math.inf, above: bool = False, words: str = ''
) -> Callable[[str], float]:
    """A type of argparse: finite numbers within [low, high].

    Args:
        low: Smallest.
        high: Largest.
        above: ``low`` itself is too small.
        words: What would be right, if more than the range.
    """
    bound = high if high < math.inf else None
    wanted = words or _range('a number', low, bound, above)

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'{text!r}: expected {wanted}') from None
        if not math.isfinite(value) or not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f'{text!r}: expected {wanted}')
        return value

    return read


def _range(kind: str, low: float, high: float | None, above: bool = False) -> str:
    least = f'{kind} above {low:g}' if above else f'{kind}, at least {low:g}'
    if high is None:
        return least
    if above:
        return f'{least}, at most {high:g}'
    return f'{kind} within [{low:g}, {high:g}]' if abs(high) < 1e6 else (
        f'{kind} within [{low:.0f}, {high:.0f}]')  # fmt: skip


_BACKENDS = ('auto', 'onnxruntime', 'tensorrt', 'cuda')
PACKAGE = 'package:'
"""Before the name of what another package brings."""


def ours_or_package(known: Sequence[str]) -> Callable[[str], str]:
    """A type of argparse: one of ours, or ``package:NAME``."""

    def read(text: str) -> str:
        if text in known or (text.startswith(PACKAGE) and text != PACKAGE):
            return text
        raise argparse.ArgumentTypeError(
            f'{text!r}: expected one of {", ".join(known)}, {PACKAGE}NAME{meant(text, known)}'
        )

    return read


def add_backend(parser: Any, text: str = 'what runs the graphs') -> None:
    """Declare it."""
    parser.add_argument('--backend', default='auto', type=ours_or_package(_BACKENDS),
                        metavar='BACKEND',
                        help=f'{text}: {", ".join(_BACKENDS)}, or {PACKAGE}NAME of an engine '
                        'that another package brings')  # fmt: skip


def options_of(given: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping.

    Raises:
        ConfigError: A word has no name or no value.
    """
    pairs = [text.partition('=') for text in given]
    if bad := [''.join(pair) for pair in pairs if not (pair[0] and pair[1])]:
        raise ConfigError('option', bad, 'NAME=VALUE')
    return {name: value for name, _, value in pairs}


COUNT = whole(1)
COUNT_FROM_0 = whole(0)
WORKERS = whole(1, 1024)
SEED = whole(0, 2**31 - 1)
"""Every generator that is seeded takes it."""
ANY = number(-math.inf, words='a number')
POSITIVE = number(0, above=True)
FROM_0 = number(0)
TIME_LIMIT = number(0, 3600, above=True)
"""Of an episode, in seconds."""
SHARE = number(0, 1)
SHARE_ABOVE_0 = number(0, 1, above=True)
SHARE_INSIDE = number(1e-6, 1 - 1e-6, words='a share: a number above 0 and below 1')
DEPTH = number(0, 1, words='a share of the layers, within [0, 1]; 0: none')


def latency_seconds(text: str) -> float | None:
    """Seconds per pass of ``--latency``; None takes what each pass measures."""
    if text == 'measured':
        return None
    if text == 'zero':
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        raise ConfigError('latency', text, 'measured, zero, or a number of seconds') from None
    if not 0 <= seconds <= 10:
        raise ConfigError('latency', seconds, 'within [0, 10] seconds')
    return seconds
