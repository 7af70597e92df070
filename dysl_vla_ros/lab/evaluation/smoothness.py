"""How an arm moved, from samples of its joints: how long it stood in between, and its jerk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dysl_vla_ros.data_types import FloatArray

TICK_S = 1.0 / 30.0
AT_REST = 0.01
"""Slower than this no joint moves [rad/s]."""


def smoothness(path: Sequence[FloatArray], tick: float = TICK_S) -> tuple[float, float]:
    """Of the measured joints.

    Args:
        path: At every tick, (n,) each [rad].
        tick: Between two of them [s].

    Returns:
        The longest time without motion between two motions [s], and the root mean square of the
        jerk of the joint that jerks most [rad/s^3].
    """
    joints = np.array(path)
    if len(joints) < 5:
        return 0.0, 0.0
    moves = (np.abs(np.diff(joints, axis=0)) / tick).max(axis=1) > AT_REST
    longest = 0
    if moves.any():
        first, last = np.flatnonzero(moves)[[0, -1]]
        since = 0
        for moving in moves[first : last + 1]:
            since = 0 if moving else since + 1
            longest = max(longest, since)
    jerk = np.diff(joints, n=3, axis=0) / tick**3
    return longest * tick, float(np.sqrt((jerk**2).mean(axis=0)).max())
