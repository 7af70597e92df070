"""Cells that tables of the results page share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.lab.evaluation.statistics import wilson_interval

Found = Mapping[str, Any]
"""The report of a command, as its JSON file has it."""


def won(wins: int, count: int) -> str:
    """A share of successes with its interval [%]."""
    low, high = wilson_interval(wins, count)
    return f'{100 * wins / count:.1f} % ({100 * low:.0f} to {100 * high:.0f})'


def difference(loss: float, low: float, high: float) -> str:
    """A paired difference with its interval [points]."""
    return f'{100 * loss:.1f} ({100 * low:.1f} to {100 * high:.1f})'


def measured(value: float | None, form: str, unit: str) -> str:
    """A figure with its unit; empty where nobody measured it."""
    return '' if value is None else f'{value:{form}}{unit}'
