"""Whether two numbers move together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_STILL = 1e-6
"""Share of its size by which a number moves from rounding alone."""


def correlation(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """Of two columns, -1 to 1; 0 where one of them stands still."""
    found = [np.asarray(values, np.float64) for values in (one, other)]
    for values in found:
        if not len(values) or values.std() <= max(_STILL * float(np.abs(values).max()), 1e-9):
            return 0.0
    return float(np.corrcoef(found[0], found[1])[0, 1])
