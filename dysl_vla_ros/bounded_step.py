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
    # A joint at its bound that the whole pulls outwards is left out from the begin.
    free = ~(((low >= 0.0) & (wanted < 0.0)) | ((high <= 0.0) & (wanted > 0.0)))
    step: FloatArray = np.zeros(count)
    for _ in range(3 * count):
        best = _solved(square, wanted, step, free)
        if ((best < low) | (best > high)).any():
            way = best - step
            step = step + _share(step, way, low, high, free) * way
            met = free & (np.minimum(step - low, high - step) < _CLOSE)
            step = np.where(met, np.where(way < 0, low, high), step)
            free &= ~met
            continue
        step = best
        pull = wanted - square @ step
        inward = np.where(step <= low, pull, -pull)
        inward[free | (low == high)] = 0.0
        worst = int(np.argmax(inward))
        if inward[worst] <= _CLOSE:
            break
        free[worst] = True
    return np.minimum(np.maximum(step, low), high)


def _solved(
    square: FloatArray, wanted: FloatArray, step: FloatArray, free: NDArray[np.bool_]
) -> FloatArray:
    """The best step whose joints that are not free stay where they are."""
    best = step.copy()
    index = np.flatnonzero(free)
    if len(index):
        held = np.where(free, 0.0, step)
        rest = (wanted - square @ held)[index]
        best[index] = np.linalg.solve(square[index[:, None], index], rest)
    return best


def _share(
    step: FloatArray,
    way: FloatArray,
    low: FloatArray,
    high: FloatArray,
    free: NDArray[np.bool_],
) -> float:
    """How much of the way leads to the first bound, at most 1."""
    moves = free & (np.abs(way) > _CLOSE)
    room = np.where(way < 0, low - step, high - step)[moves]
    return min(float(np.min(room / way[moves], initial=1.0)), 1.0)
