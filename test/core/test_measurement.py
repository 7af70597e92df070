"""Which joint readings are believed."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.measurement import Measurement
from dysl_vla_ros.core.safety import MotionLimits

LIMITS = MotionLimits(('pan', 'turn'), [-2.0, -np.inf], [2.0, np.inf], [1.0, 1.0], 10.0, 0.3)


def seen(*readings, every=0.01):
    measurement = Measurement(LIMITS)
    refusals = [
        measurement.take(np.array(reading), index * every)
        for index, reading in enumerate(readings)
    ]
    return measurement, refusals


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e9, 1e308, -2.5])
def test_what_cannot_be_is_refused_by_joint_and_value(value):
    measurement, refusals = seen([0.0, 0.0], [value, 0.0])
    assert 'pan' in refusals[1]
    assert measurement.position.tolist() == [0.0, 0.0] and measurement.refused == 1


def test_another_number_of_joints_is_refused():
    _, refusals = seen([0.0, 0.0], [0.0])
    assert refusals[1] == 'joint_states: 1 joints, expected 2'


def test_a_jump_is_refused_and_the_next_good_reading_is_taken():
    measurement, refusals = seen([0.0, 0.0], [1.0, 0.0], [0.01, 0.0])
    assert '1.000 rad from the reading 0.010 s before' in refusals[1]
    assert refusals[2] == '' and measurement.position[0] == 0.01
    assert measurement.doubtful and measurement.persistent == ''


def test_a_joint_that_slides_is_believed_in_metres():
    slide = MotionLimits(('rail',), [0.0], [0.4], [0.1], 3.0, 0.01, units=('m',))
    measurement = Measurement(slide)
    assert measurement.take(np.array([0.2]), 0.0) == ''
    assert 'rail = 0.220, 0.020 m from the reading 0.010 s before: expected at most 0.006' in (
        measurement.take(np.array([0.22]), 0.01)
    )
    assert 'at most 0.01 beyond' in measurement.take(np.array([0.42]), 10.0)
    for index in range(40):
        measurement.take(np.array([0.2 + 0.0004 * index]), 20 + 0.01 * index)
    assert not measurement.still  # 0.04 m/s


def test_after_a_silence_the_arm_may_be_farther_away():
    measurement = Measurement(LIMITS)
    measurement.take(np.zeros(2), 0.0)
    assert measurement.take(np.array([0.9, 0.0]), 1.0) == ''


def test_refusals_that_go_on_are_persistent_and_are_forgotten_when_they_end():
    measurement, _ = seen([0.0, 0.0], *[[1.0, 0.0]] * 40)
    assert 'pan' in measurement.persistent
    for index in range(60):
        measurement.take(np.zeros(2), 0.5 + 0.01 * index)
    assert measurement.persistent == '' and not measurement.doubtful


def test_while_nobody_commands_a_jump_that_lasts_is_believed():
    measurement = Measurement(LIMITS)
    measurement.take(np.zeros(2), 0.0)
    taken = [
        measurement.take(np.array([1.0, 0.0]), 0.01 * index, believe_jumps=True)
        for index in range(1, 60)
    ]
    assert taken[5] != '' and taken[-1] == ''
    assert measurement.position[0] == 1.0


def test_two_that_disagree_are_never_believed_as_a_jump():
    measurement = Measurement(LIMITS)
    measurement.take(np.zeros(2), 0.0)
    for index in range(1, 200):
        measurement.take(np.array([0.5 * (index % 2), 0.0]), 0.01 * index)
    assert measurement.persistent != ''


def test_a_joint_without_limits_counts_on_past_half_a_turn():
    angles = np.arange(3.0, 3.4, 0.01)
    wrapped = (angles + np.pi) % (2 * np.pi) - np.pi
    measurement, refusals = seen(*[[0.0, value] for value in wrapped])
    assert not any(refusals)
    assert measurement.position[1] == pytest.approx(angles[-1])


def turning(*readings, every=0.01, silent=True):
    measurement = Measurement(LIMITS)
    refusals = [
        measurement.take(np.array([0.0, value]), index * every, silent=silent)
        for index, value in enumerate(readings)
    ]
    return measurement, refusals


@pytest.mark.parametrize('again', [6.98 - 2 * np.pi, 6.98 + 2 * np.pi, 6.98 - 8 * np.pi])
def test_a_driver_that_counts_its_turns_anew_is_believed_where_nothing_is_commanded(again):
    measurement, refusals = turning(*[6.98] * 30, *[again] * 30)
    assert not any(refusals) and measurement.position[1] == pytest.approx(again)
    assert measurement.still and measurement.moved(0.2)[1] == pytest.approx(0.0)


def test_while_it_is_commanded_another_count_of_turns_is_a_jump():
    measurement, refusals = turning(6.98, 6.98, 6.98 - 2 * np.pi, silent=False)
    assert 'turn = 0.697, 6.283 rad from the reading 0.010 s before' in refusals[2]
    assert measurement.position[1] == 6.98


@pytest.mark.parametrize('end', [np.pi, 2 * np.pi])
@pytest.mark.parametrize('silent', [True, False])
def test_an_angle_that_is_told_within_one_turn_counts_on_in_motion_and_is_as_told_at_rest(
    end, silent
):
    angles = np.arange(end - 0.1, end + 2 * np.pi + 0.1, 0.02)
    told = (angles - end) % (2 * np.pi) + end - 2 * np.pi
    measurement, refusals = turning(*told, every=0.04, silent=silent)
    assert not any(refusals)
    assert measurement.position[1] == pytest.approx(told[-1] if silent else angles[-1])
    assert measurement.moved(0.2)[1] == pytest.approx(0.1)


def test_what_was_counted_in_motion_is_forgotten_at_rest():
    measurement, _ = turning(3.1, 3.14, -3.1, silent=False)
    assert measurement.position[1] == pytest.approx(2 * np.pi - 3.1)
    measurement.take(np.array([0.0, -3.1]), 0.6)
    assert measurement.position[1] == pytest.approx(2 * np.pi - 3.1)
    assert measurement.take(np.array([0.0, -3.1]), 0.61, silent=True) == ''
    assert measurement.position[1] == -3.1


def test_a_count_of_turns_that_comes_with_a_jump_is_refused():
    measurement, refusals = turning(6.98, 6.98, 6.98 - 2 * np.pi + 0.5)
    assert '0.500 rad from the reading' in refusals[2]
    assert measurement.position[1] == 6.98


def test_a_reading_not_newer_than_the_last_is_ignored():
    measurement, _ = seen([0.0, 0.0], [0.01, 0.0])
    assert measurement.take(np.array([0.005, 0.0]), 0.01) == ''
    assert measurement.position[0] == 0.01


def test_an_arm_stands_still_when_it_has_not_moved_lately():
    moving, _ = seen(*[[0.005 * index, 0.0] for index in range(30)])
    standing, _ = seen(*[[0.001 * (index % 2), 0.0] for index in range(30)])
    assert not moving.still and standing.still


def test_whether_it_stands_still_is_not_known_from_a_reading_or_two_after_a_gap():
    measurement = Measurement(LIMITS)
    assert not measurement.still
    measurement.take(np.zeros(2), 0.0)
    assert not measurement.still, 'the first of all says nothing of before'
    for tick in range(1, 20):
        measurement.take(np.zeros(2), 0.03 * tick)
    assert measurement.still
    measurement.take(np.array([0.5, 0.0]), 1.1)
    measurement.take(np.array([0.5, 0.0]), 1.13)
    assert not measurement.still
    for tick in range(1, 20):
        measurement.take(np.array([0.5, 0.0]), 1.13 + 0.03 * tick)
    assert measurement.still


@pytest.mark.parametrize('rate', [2.5, 5.0, 8.0])
def test_an_arm_that_tells_its_place_seldom_is_known_to_stand_still_too(rate):
    standing, moving = Measurement(LIMITS), Measurement(LIMITS)
    for tick in range(4):
        standing.take(np.zeros(2), tick / rate)
        moving.take(np.array([0.2 * tick / rate, 0.0]), tick / rate)
    assert standing.still and not moving.still


def test_noise_is_no_motion():
    rng = np.random.default_rng(0)
    noisy, refusals = seen(*rng.normal(0, 0.01, (60, 2)).tolist())
    assert not any(refusals) and noisy.still
