"""A message's stamp becomes a time on the steady clock, once, on arrival."""

from __future__ import annotations

import math
from typing import Any

from dysl_vla_ros.errors import InputError

CLOCK_SKEW_S = 0.02
"""A stamp this far in the future is taken as now: clocks of two machines never agree exactly."""


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
            f'{stream}: header.stamp = {stamp_s} s at the node\'s ROS time {ros_now_s} s: '
            'expected finite times'
        )
    if age < -CLOCK_SKEW_S:
        raise InputError(
            f'{stream}: header.stamp = {stamp_s:.3f} s lies {-age:.3f} s after the node\'s ROS '
            f'time {ros_now_s:.3f} s: expected the past; synchronise the clocks, or set '
            'use_sim_time alike on both nodes'
        )
    if age > max_age_s:
        raise InputError(
            f'{stream}: header.stamp = {stamp_s:.3f} s is {age:.3f} s older than the node\'s ROS '
            f'time {ros_now_s:.3f} s: expected at most {max_age_s:g} s; stamp the message when it '
            'is measured, and set use_sim_time alike on both nodes'
        )
    return steady_now - max(age, 0.0)
