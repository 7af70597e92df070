"""One cubic between two knots: what a controller makes of two published points.

A joint_trajectory_controller that gets positions and velocities runs the cubic Hermite polynomial
between them. Its acceleration is linear in time, so that every peak has a closed form: a limit
that holds here holds for the motion, not only for the points.

All functions take many candidates at once: shapes broadcast to (..., n).
"""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.data_types import FloatArray


def sample(
    left: tuple[FloatArray, FloatArray],
    right: tuple[FloatArray, FloatArray],
    duration: float,
    elapsed: float,
) -> tuple[FloatArray, FloatArray]:
    """Position and velocity on the cubic.

    Args:
        left: Position and velocity at its begin, each (n,).
        right: The same at its end.
        duration: Seconds from begin to end, more than 0.
        elapsed: Seconds since the begin, within [0, duration].
    """
    (p0, v0), (p1, v1) = left, right
    a0, a1 = end_accelerations(p0, v0, p1, v1, duration)
    jerk = (a1 - a0) / duration
    t = elapsed
    return p0 + v0 * t + a0 * t**2 / 2 + jerk * t**3 / 6, v0 + a0 * t + jerk * t**2 / 2


def end_accelerations(
    p0: FloatArray, v0: FloatArray, p1: FloatArray, v1: FloatArray, duration: float
) -> tuple[FloatArray, FloatArray]:
    """Acceleration at begin and end; between them it is linear, so these are its extremes."""
    way = (p1 - p0) / duration
    return (6 * way - 4 * v0 - 2 * v1) / duration, (2 * v0 + 4 * v1 - 6 * way) / duration


def peak_speed(
    v0: FloatArray, v1: FloatArray, a0: FloatArray, a1: FloatArray, duration: float
) -> FloatArray:
    """Largest |velocity| on the cubic, from its end velocities and accelerations."""
    ends = np.maximum(np.abs(v0), np.abs(v1))
    span = a0 - a1
    turns = a0 * a1 < 0  # the acceleration passes zero inside: the velocity has its peak there
    share = np.divide(a0, span, out=np.zeros_like(span), where=turns)
    inside = v0 + a0 * share * duration / 2
    return np.where(turns, np.maximum(ends, np.abs(inside)), ends)


def extent(
    p0: FloatArray, v0: FloatArray, p1: FloatArray, v1: FloatArray, duration: float
) -> tuple[FloatArray, FloatArray]:
    """Bounds that the positions of the cubic do not leave: those of its control polygon."""
    corners = (p0 + v0 * duration / 3, p1 - v1 * duration / 3, p1)
    low = high = p0
    for corner in corners:
        low, high = np.minimum(low, corner), np.maximum(high, corner)
    return low, high
