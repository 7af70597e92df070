"""The package's actions and the benchmark's: physical units and an opening, or -1 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS, STEP_M, STEP_RAD

DROPPED_ROWS = 2
"""Rows of patches at the top of the third-person picture where nothing to handle ever shows."""
PATCH = 16


def physical(actions: NDArray[Any]) -> NDArray[np.float32]:
    """The benchmark's actions (..., 7) -> displacement [m, rad] and opening, 0 closed, 1 open."""
    found = np.array(actions, dtype=np.float32)
    found[..., :3] *= STEP_M
    found[..., 3:6] *= STEP_RAD
    found[..., 6] = (1.0 - found[..., 6]) / 2.0
    return found


def official(actions: NDArray[Any]) -> NDArray[np.float32]:
    """The inverse, within [-1, 1]; an opening is all the way open or all the way closed."""
    found = np.array(actions, dtype=np.float32)
    found[..., :3] /= STEP_M
    found[..., 3:6] /= STEP_RAD
    found[..., 6] = np.where(found[..., 6] > 0.5, -1.0, 1.0)
    return np.clip(found, -1.0, 1.0)


def patch_of(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Column and row, 0 to 1 (..., 2) -> number of the patch that shows it; -1 where none does."""
    side = CAMERAS['image'][1] // PATCH
    known = np.isfinite(pixels).all(-1)
    column, row = np.moveaxis(np.nan_to_num(pixels) * side, -1, 0).astype(np.int64)
    inside = known & (row >= DROPPED_ROWS) & (row < side) & (column < side)
    found: NDArray[np.int64] = np.where(inside, (row - DROPPED_ROWS) * side + column, -1)
    return found
