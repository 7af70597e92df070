"""Limits: finite, inside them, no faster than the arm can be, and how it stops."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.safety import (
    MotionLimits,
    brake_sample,
    brake_time,
    check_finite,
    check_speed,
    clamp_positions,
    stop_position,
)
from dysl_vla_ros.errors import ChunkError, ConfigError


def limits(**changes):
    values = {
        'names': ('shoulder', 'elbow'),
        'lower': np.array([-1.0, -2.0]),
        'upper': np.array([1.0, 2.0]),
        'velocity': np.array([1.0, 2.0]),
        'acceleration': 5.0,
        'max_lead': 0.2,
    }
    return MotionLimits(**{**values, **changes})


def test_a_value_that_is_not_finite_is_refused_with_its_index():
    with pytest.raises(ChunkError, match=r'actions\[1, 0\] = nan: expected finite'):
        check_finite(np.array([[0.0], [np.nan]]), 'actions')


def test_targets_outside_the_limits_are_moved_inside_and_named():
    inside, moved = clamp_positions(np.array([[0.0, 2.5], [1.5, 0.0]]), limits())
    assert inside.tolist() == [[0.0, 2.0], [1.0, 0.0]]
    assert moved == ('position:shoulder', 'position:elbow')


def test_targets_inside_the_limits_stay_untouched():
    targets = np.array([[0.5, -1.5]])
    inside, moved = clamp_positions(targets, limits())
    assert inside.tolist() == targets.tolist() and moved == ()


def test_a_step_far_beyond_what_the_arm_can_do_refuses_the_chunk_by_joint():
    with pytest.raises(
        ChunkError, match='action 0 moves elbow at 10.0 times its velocity limit 2'
    ):
        check_speed(np.array([[0.0, 0.0], [0.0, 1.0]]), 0.05, limits())


def test_a_chunk_is_measured_against_the_arm_and_not_against_a_velocity_scale():
    targets = np.array([[0.0, 0.0], [0.05, 0.0]])  # 1 rad/s
    slow = limits(velocity=np.array([0.05, 0.05]), rated=np.array([1.0, 2.0]))
    check_speed(targets, 0.05, slow)
    with pytest.raises(ChunkError, match='20.0 times'):
        check_speed(targets, 0.05, limits(velocity=np.array([0.05, 0.05])))


def test_all_joints_stop_together_in_the_time_of_the_hardest():
    velocity = np.array([0.5, -0.25])
    assert brake_time(velocity, limits()) == pytest.approx(0.1)
    assert brake_time(velocity, limits(acceleration=np.array([5.0, 1.0]))) == pytest.approx(0.25)


def test_a_brake_is_a_parabola_to_rest():
    start, velocity = np.zeros(2), np.array([0.5, -0.25])
    halfway, speed = brake_sample(start, velocity, 0.1, 0.05)
    assert halfway == pytest.approx([0.01875, -0.009375])
    assert speed == pytest.approx([0.25, -0.125])
    end, rest = brake_sample(start, velocity, 0.1, 9.0)
    assert end == pytest.approx([0.025, -0.0125]) and not rest.any()
    assert stop_position(start, velocity, limits()) == pytest.approx(end)


def test_an_arm_at_rest_needs_a_moment_so_that_times_grow():
    assert brake_time(np.zeros(2), limits()) == 0.02


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'lower': np.array([1.0, -2.0])}, 'limits.lower of shoulder'),
        ({'velocity': np.array([0.0, 1.0])}, 'limits.velocity of shoulder'),
        ({'acceleration': np.array([0.0, 1.0])}, 'limits.acceleration of shoulder'),
        ({'upper': np.array([1.0])}, 'limits.upper'),
        ({'upper': np.array([np.nan, 1.0])}, 'limits.upper'),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        limits(**changes)
