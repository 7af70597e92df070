"""The last guard: finite, inside the limits, no faster, not ahead, ending at rest."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.safety import (
    MotionLimits,
    braking_tail,
    check_finite,
    clamp_positions,
    guard_step,
    lead_excess,
    time_scale,
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


def test_steps_beyond_the_velocity_limit_take_longer_in_proportion():
    targets = np.array([[0.0, 0.0], [0.1, 0.0]])
    assert time_scale(targets, 0.05, limits()) == pytest.approx(2.0)


def test_a_step_far_beyond_the_velocity_limit_refuses_the_chunk_by_joint():
    with pytest.raises(
        ChunkError, match='action 0 moves elbow at 10.0 times its velocity limit 2'
    ):
        time_scale(np.array([[0.0, 0.0], [0.0, 1.0]]), 0.05, limits())


def test_slow_steps_keep_their_time():
    assert time_scale(np.array([[0.0, 0.0], [0.01, 0.0]]), 0.05, limits()) == 1.0


def test_the_guard_never_lets_a_joint_move_faster_than_its_limit():
    allowed, limited = guard_step(np.zeros(2), np.array([0.5, 0.01]), 0.1, limits())
    assert allowed == pytest.approx([0.1, 0.01])
    assert limited == ('velocity:shoulder',)


def test_the_guard_never_leaves_the_position_limits():
    allowed, _ = guard_step(np.array([0.99, 0.0]), np.array([1.05, 0.0]), 1.0, limits())
    assert allowed[0] == 1.0


def test_a_command_too_far_ahead_names_the_joint_and_the_distance():
    problem = lead_excess(np.array([0.0, 0.35]), np.zeros(2), limits())
    assert 'elbow is 0.350 rad behind its command, limits.max_lead = 0.2' in problem


def test_a_command_near_the_arm_is_fine():
    assert lead_excess(np.array([0.1, 0.1]), np.zeros(2), limits()) == ''


def test_the_braking_tail_ends_at_rest_inside_the_acceleration_limit():
    times, positions, velocities = braking_tail(np.zeros(2), np.array([0.5, -0.25]), 5.0)
    assert velocities[-1].tolist() == [0.0, 0.0]
    assert times[-1] == pytest.approx(0.1)
    decelerations = np.diff(np.vstack([[0.5, -0.25], velocities]), axis=0) / 0.025
    assert np.abs(decelerations).max() == pytest.approx(5.0)
    assert positions[-1] == pytest.approx([0.025, -0.0125])


def test_the_braking_tail_at_rest_stays_where_it_is_with_growing_times():
    times, positions, velocities = braking_tail(np.array([0.3, 0.4]), np.zeros(2), 5.0)
    assert (np.diff(times) > 0).all()
    assert positions.tolist() == [[0.3, 0.4]] * 4 and not velocities.any()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'lower': np.array([1.0, -2.0])}, 'limits.lower of shoulder'),
        ({'velocity': np.array([0.0, 1.0])}, 'limits.velocity of shoulder'),
        ({'upper': np.array([1.0])}, 'limits.upper'),
        ({'upper': np.array([np.nan, 1.0])}, 'limits.upper'),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        limits(**changes)
