"""A chunk as a curve, and how fast it may be walked."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.path import GRID, chunk_path, slopes, speed_limits, still
from dysl_vla_ros.core.path import straight as straight_way
from dysl_vla_ros.core.safety import MotionLimits


def limits(velocity=1.0, acceleration=10.0, joints=1):
    names = tuple('abcdef'[:joints])
    return MotionLimits(names, [-9.0] * joints, [9.0] * joints, [velocity] * joints,
                        acceleration, 0.3)  # fmt: skip


def straight(step=0.01, horizon=8):
    return step * np.arange(horizon + 1.0)[:, None]


def path(targets, end=None, **given):
    horizon = len(targets) - 1
    return chunk_path(0.0, horizon if end is None else end, targets, np.zeros((horizon, 1)), None,
                      limits(**given))  # fmt: skip


def test_the_curve_passes_through_every_target_and_never_beyond():
    targets = np.array([[0.0], [0.1], [0.1], [0.3], [0.2]])
    curve = path(targets)
    assert curve.sample(np.arange(5.0))[0] == pytest.approx(targets)
    fine, _ = curve.sample(np.linspace(0, 4, 401))
    assert fine.max() <= 0.3 + 1e-12 and fine.min() >= -1e-12
    middle, _ = curve.sample(np.linspace(1, 2, 50))
    assert middle == pytest.approx(np.full((50, 1), 0.1))


def test_a_plan_that_turns_round_has_slope_zero_there():
    assert slopes(np.array([[0.0], [0.1], [0.0]]))[1] == 0.0


def test_a_straight_path_may_be_walked_at_the_velocity_limit_and_stops_at_its_end():
    curve = path(straight(0.1), velocity=1.0, acceleration=100.0)
    assert curve.top_speed(1.0) == pytest.approx(10.0)  # 0.1 rad per action, 1 rad/s
    assert curve.top_speed(8.0) == 0.0
    nearing = [curve.top_speed(at) for at in (7.0, 7.5, 7.9)]
    assert nearing == sorted(nearing, reverse=True)


def test_the_speed_towards_the_end_can_be_braked_inside_the_acceleration():
    curve = path(straight(0.05), velocity=9.0, acceleration=10.0)
    speeds = np.array([curve.top_speed(at) for at in np.arange(0, 8.0, 1 / GRID)])
    change = (speeds[:-1] ** 2 - speeds[1:] ** 2) / (2 / GRID)  # [actions/s^2]
    assert (change * 0.05 <= 10.0).all()


def test_a_bend_is_walked_slowly_enough_for_the_acceleration():
    targets = np.array([[0.0], [0.1], [0.2], [0.2], [0.2], [0.2]])
    curve = path(targets, velocity=50.0, acceleration=10.0)
    at = np.linspace(0, 1.99, 400)  # behind it the path is flat
    position, slope = curve.sample(at)
    speed = np.array([curve.top_speed(place) for place in at])
    bend = np.gradient(slope[:, 0], at)
    assert (np.abs(bend) * speed**2 <= 10.0 * 1.05).all()


def test_a_prefix_ends_before_its_chunk_does():
    curve = path(straight(), end=3)
    assert curve.top_speed(3.0) == 0.0 and curve.top_speed(2.5) > 0
    assert curve.sample(np.array([7.0]))[0] == pytest.approx(0.03)


def test_a_place_goes_nowhere():
    rest = still(np.array([0.4]), 12.0)
    position, slope = rest.sample(np.array([12.0, 13.0]))
    assert position == pytest.approx(np.full((2, 1), 0.4)) and not slope.any()
    assert rest.top_speed(12.0) == 0.0 and rest.horizon == 0


def test_several_joints_are_bounded_by_the_slowest():
    targets = np.hstack([straight(0.1), straight(0.01)])
    bound = speed_limits(targets, slopes(targets), 8.0, limits(joints=2, acceleration=1000.0))
    assert bound[8] == pytest.approx(100.0)  # (1 rad/s / 0.1 rad)^2


def test_a_straight_way_has_no_step_longer_than_asked_for():
    way = straight_way(np.array([0.0, 1.0]), np.array([0.5, 0.94]), np.array([0.2, 0.02]))
    assert len(way) == 4 and way[0].tolist() == [0.0, 1.0] and way[-1].tolist() == [0.5, 0.94]
    assert (np.abs(np.diff(way, axis=0)) <= [0.2, 0.02 + 1e-12]).all()
    assert straight_way(np.zeros(2), np.zeros(2), np.ones(2)).shape == (2, 2)
