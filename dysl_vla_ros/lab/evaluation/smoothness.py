"""How an arm moved, from samples of its joints: its way, its standstills, its jerk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray

TICK_S = 1.0 / 30.0
AT_REST = 0.01
"""Slower than this no joint moves [rad/s]."""


@dataclass(frozen=True)
class Smoothness:
    """Of one motion.

    Attributes:
        longest_still_s: Longest time without motion between two motions [s].
        jerk_rms: Root mean square of the jerk of the joint that jerks most [rad/s^3].
        jerk_peak: Largest jerk of any joint [rad/s^3].
        way: Length of the path through the space of all joints [rad].
    """

    longest_still_s: float = 0.0
    jerk_rms: float = 0.0
    jerk_peak: float = 0.0
    way: float = 0.0


def smoothness(path: Sequence[FloatArray], tick: float = TICK_S) -> Smoothness:
    """Of the measured joints.

    Args:
        path: At every tick, (n,) each [rad].
        tick: Between two of them [s].
    """
    joints = np.array(path)
    if len(joints) < 5:
        return Smoothness()
    steps = np.diff(joints, axis=0)
    moves = (np.abs(steps) / tick).max(axis=1) > AT_REST
    longest = 0
    if moves.any():
        first, last = np.flatnonzero(moves)[[0, -1]]
        since = 0
        for moving in moves[first : last + 1]:
            since = 0 if moving else since + 1
            longest = max(longest, since)
    jerk = np.diff(joints, n=3, axis=0) / tick**3
    return Smoothness(
        longest_still_s=longest * tick,
        jerk_rms=float(np.sqrt((jerk**2).mean(axis=0)).max()),
        jerk_peak=float(np.abs(jerk).max()),
        way=float(np.linalg.norm(steps, axis=1).sum()),
    )
