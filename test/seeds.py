"""Random cases of a rule: some in every run, the others where there is time."""

from __future__ import annotations

from typing import Any

import pytest


def first(count: int, fast: int) -> list[Any]:
    """Values 0 to count - 1 of a parameter; those from ``fast`` on are marked slow."""
    return [
        pytest.param(value, marks=[] if value < fast else pytest.mark.slow)
        for value in range(count)
    ]
