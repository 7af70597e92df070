"""Resizing filters as what they are: each pixel of the result needs a few neighbours of many.

As whole matrices, 640x480 to 224x224 takes ten times the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
"""One row per pixel of the result, one column per pixel of the image."""

_BLOCK = 16
"""Rows of the result that are computed together."""


class Banded:
    """Weights (new, old) whose rows are zero but for a stretch; immutable."""

    def __init__(self, weights: NDArray[np.float64]) -> None:
        """Cut them into blocks of rows with the columns that they need."""
        self.shape = weights.shape
        self._blocks: list[tuple[int, int, Weights]] = []
        for first in range(0, len(weights), _BLOCK):
            rows = weights[first : first + _BLOCK]
            used = np.flatnonzero(rows.any(axis=0))
            start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            block = np.ascontiguousarray(rows[:, start:stop], dtype=np.float32)
            block.setflags(write=False)
            self._blocks.append((start, stop, block))

    def __matmul__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The product with (old, n), shape (new, n)."""
        found = np.empty((self.shape[0], values.shape[1]), np.float32)
        first = 0
        for start, stop, block in self._blocks:
            part = np.asarray(values[start:stop], dtype=np.float32)
            np.matmul(block, part, out=found[first : first + len(block)])
            first += len(block)
        return found


def apply(
    vertical: Banded | None, horizontal: Banded | None, image: NDArray[Any]
) -> NDArray[np.float32]:
    """Filter the rows, then the columns of (H, W, C); None leaves that side as it is."""
    values = np.asarray(image)
    rows, columns, channels = values.shape
    if vertical is not None:
        rows = vertical.shape[0]
        values = (vertical @ values.reshape(len(values), -1)).reshape(rows, columns, channels)
    if horizontal is not None:
        turned = np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(columns, -1)
        columns = horizontal.shape[0]
        values = (horizontal @ turned).reshape(columns, rows, channels).transpose(1, 0, 2)
    return np.ascontiguousarray(values, dtype=np.float32)
