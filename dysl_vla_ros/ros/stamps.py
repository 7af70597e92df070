"""A message's stamp becomes a time on the steady clock, once, on arrival."""

from __future__ import annotations

import bisect
import math
from collections import deque
from typing import Any

from dysl_vla_ros.errors import InputError

CLOCK_SKEW_S = 0.02
"""A stamp this far in the future is taken as now: clocks of two machines never agree exactly."""
_KEPT = 4000
"""Instants of a simulation that are remembered: several seconds of all messages."""


CLOCK_WARN_S = 0.02
"""Joint states that arrive so old at best, or a command period if that is longer: a warning;"""
CLOCK_REFUSE_S = 0.1
"""so old: stamped trajectories are not sent."""


def clock_problem(least_age: float | None, period: float) -> tuple[str, bool]:
    """Whether the clock that stamps `joint_states` agrees with the one that stamps trajectories.

    The controller begins a stamped trajectory at that instant of its own clock, the one that
    stamps its joint states: where they always arrive old, it is behind ours (or they are slow),
    and a trajectory begins late by as much.

    Args:
        least_age: Of the freshest joint states lately, on arrival [s]; None = unknown.
        period: Of the commands [s].

    Returns:
        A sentence, or '' where they agree; and whether the arm should not be commanded.
    """
    if least_age is None or least_age <= max(CLOCK_WARN_S, period):
        return '', False
    return (
        f'joint_states arrive {least_age:.3f} s old at best: the clock of the controller differs '
        'from the one here by as much, or joint_states are slow, and a stamped trajectory begins '
        'late by it; synchronise the clocks (chrony, PTP), or set trajectory.stamped: false'
    ), least_age > max(CLOCK_REFUSE_S, period)


def seconds_of(stream: str, stamp: Any) -> float:
    """A ``builtin_interfaces/Time`` in seconds.

    Raises:
        InputError: Its nanoseconds are not a part of a second.
    """
    if not 0 <= stamp.nanosec < 1_000_000_000:
        raise InputError(
            f'{stream}: header.stamp.nanosec = {stamp.nanosec}: expected within [0, 999999999]'
        )
    return float(stamp.sec + stamp.nanosec * 1e-9)


def steady_stamp(
    stream: str, stamp_s: float, ros_now_s: float, steady_now: float, max_age_s: float
) -> float:
    """When the message was stamped, on the steady clock.

    Args:
        stream: Topic name, for the message.
        stamp_s: ``header.stamp`` in ROS time [s].
        ros_now_s: ROS time on arrival [s].
        steady_now: Steady time on arrival [s].
        max_age_s: Oldest stamp that is accepted [s].

    Raises:
        InputError: Negative or too old age, or none at all; names both times.
    """
    age = ros_now_s - stamp_s
    if not math.isfinite(age):
        raise InputError(
            f"{stream}: header.stamp = {stamp_s} s at the node's ROS time {ros_now_s} s: "
            'expected finite times'
        )
    if age < -CLOCK_SKEW_S:
        raise InputError(
            f"{stream}: header.stamp = {stamp_s:.3f} s lies {-age:.3f} s after the node's ROS "
            f'time {ros_now_s:.3f} s: expected the past; synchronise the clocks, or set '
            'use_sim_time alike on both nodes'
        )
    if age > max_age_s:
        raise InputError(
            f"{stream}: header.stamp = {stamp_s:.3f} s is {age:.3f} s older than the node's ROS "
            f'time {ros_now_s:.3f} s: expected at most {max_age_s:g} s; stamp the message when it '
            'is measured, and set use_sim_time alike on both nodes'
        )
    return steady_now - max(age, 0.0)


class SimulatedTime:
    """Simulated seconds are longer or shorter than ours: when was it so late in the simulation?"""

    def __init__(self) -> None:
        """Nothing noted yet."""
        self._simulated: deque[float] = deque(maxlen=_KEPT)
        self._steady: deque[float] = deque(maxlen=_KEPT)

    def note(self, simulated: float, steady: float) -> None:
        """Both times of one instant [s]; a simulation that began again is another one."""
        if self._simulated and simulated < self._simulated[-1]:
            self._simulated.clear()
            self._steady.clear()
        if not self._simulated or simulated > self._simulated[-1]:
            self._simulated.append(simulated)
            self._steady.append(steady)

    def steady_at(self, simulated: float, otherwise: float) -> float:
        """Our time when the simulation's was this [s]; ``otherwise`` before anything was noted."""
        times = self._simulated
        after = bisect.bisect_left(times, simulated)
        if after == len(times):
            return self._steady[-1] if times else otherwise
        if after == 0:
            is_first = simulated == times[0]
            return self._steady[0] if is_first else min(self._steady[0], otherwise)
        share = (simulated - times[after - 1]) / (times[after] - times[after - 1])
        return self._steady[after - 1] + share * (self._steady[after] - self._steady[after - 1])
