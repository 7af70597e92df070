"""One step of a least-squares search whose joints stay between bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray

_CLOSE = 1e-12


def bounded_step(
    jacobian: FloatArray, error: FloatArray, damping: float, low: FloatArray, high: FloatArray
) -> FloatArray:
    """The ``d`` between bounds that makes ``|J d - e|^2 + damping |d|^2`` smallest.

    An active set: a joint that meets its bound stays there, and the others are solved for again;
    it is let go when the sum would become smaller by its return. (Stark and Parker, "Bounded-
    variable least squares", 1995, on the normal equations: there are few joints.)

    Args:
        jacobian: Shape (m, n).
        error: Shape (m,).
        damping: More than 0.
        low: Lowest ``d``, shape (n,), at most 0.
        high: Highest ``d``, shape (n,), at least 0.
    """
    count = jacobian.shape[1]
    square = jacobian.T @ jacobian
    square[np.diag_indices(count)] += damping
    wanted = jacobian.T @ error
    inside = np.asarray(np.linalg.solve(square, wanted), dtype=np.float64)
    if (inside >= low).all() and (inside <= high).all():
        return inside
    free = np.ones(count, dtype=bool)
    step: FloatArray = np.zeros(count)
    for _ in range(3 * count):
        best = _solved(square, wanted, step, free)
        way = best - step
        share = _share(step, way, low, high, free)
        step = step + min(share, 1.0) * way
        if share < 1.0:
            met = free & (np.minimum(step - low, high - step) < _CLOSE)
            step = np.where(met, np.where(way < 0, low, high), step)
            free &= ~met
            continue
        pull = wanted - square @ step
        inward = np.where(step <= low, pull, -pull)
        inward[free | (low == high)] = 0.0
        worst = int(np.argmax(inward))
        if inward[worst] <= _CLOSE:
            break
        free[worst] = True
    return step


def _solved(
    square: FloatArray, wanted: FloatArray, step: FloatArray, free: NDArray[np.bool_]
) -> FloatArray:
    if free.all():
        return np.asarray(np.linalg.solve(square, wanted))
    best = step.copy()
    if free.any():
        rest = wanted[free] - square[np.ix_(free, ~free)] @ step[~free]
        best[free] = np.linalg.solve(square[np.ix_(free, free)], rest)
    return best


def _share(
    step: FloatArray,
    way: FloatArray,
    low: FloatArray,
    high: FloatArray,
    free: NDArray[np.bool_],
) -> float:
    """How much of the way leads to the first bound; 1 or more when none is met."""
    moves = free & (np.abs(way) > _CLOSE)
    if not moves.any():
        return 1.0
    room = np.where(way < 0, low - step, high - step)[moves]
    return float(np.min(room / way[moves]))
