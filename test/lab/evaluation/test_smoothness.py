"""Standstills and jerk of a path that was sampled."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.lab.evaluation.smoothness import Smoothness, smoothness

TICK = 0.1


def path_of(speeds):
    """One joint, at these speeds [rad/s], one tick each."""
    return [np.array([value]) for value in np.concatenate([[0.0], np.cumsum(speeds) * TICK])]


def test_a_standstill_counts_between_two_motions_and_neither_before_nor_after():
    found = smoothness(path_of([0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]), TICK)
    assert found.longest_still_s == pytest.approx(0.3)


def test_the_jerk_of_a_cubic_is_its_third_derivative_and_the_worst_joint_counts():
    t = np.arange(20) * TICK
    path = np.stack([2.0 * t**3, 5.0 * t], axis=1)
    found = smoothness(list(path), TICK)
    assert found.jerk_rms == pytest.approx(12.0) and found.jerk_peak == pytest.approx(12.0)


def test_the_peak_is_of_any_instant_and_the_way_is_that_of_all_joints_together():
    path = [np.array([0.3 * step, 0.4 * step]) for step in range(6)]
    assert smoothness(path, TICK).way == pytest.approx(2.5)
    path[5] = path[5] + [0.0, 0.01]
    found = smoothness(path, TICK)
    assert found.jerk_peak == pytest.approx(10.0) and found.jerk_rms < found.jerk_peak


def test_a_path_too_short_or_without_motion_says_nothing():
    assert smoothness(path_of([1, 1]), TICK) == Smoothness()
    assert smoothness(path_of([0] * 10), TICK) == Smoothness()
