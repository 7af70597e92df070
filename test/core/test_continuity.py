"""Continuity: by hand, across a chunk border, and drops with hysteresis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.core.continuity import (
    ContinuityHistory,
    DropDetector,
    DropState,
    continuity,
)

ONES = np.ones(2)


def test_continuity_of_three_displacements_is_minus_the_mean_step_computed_by_hand():
    displacements = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    assert continuity(displacements, 5, ONES) == pytest.approx(-(5.0 + 0.0) / 2)


def test_only_the_last_window_of_steps_counts():
    displacements = np.array([[100.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    assert continuity(displacements, 2, ONES) == pytest.approx(-1.0)


def test_a_weight_scales_the_difference_of_its_dimension():
    displacements = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert continuity(displacements, 5, np.array([1.0, 0.0])) == pytest.approx(-3.0)


@pytest.mark.parametrize('known', [0, 1])
def test_with_fewer_than_two_displacements_continuity_is_unknown(known):
    assert continuity(np.zeros((known, 2)), 5, ONES) is None


def test_extending_a_history_by_a_chunk_crosses_the_seam():
    history = ContinuityHistory(2, ONES)
    for value in (0.0, 1.0):
        history.append(np.array([value, 0.0]))
    values = history.extended_by(np.array([[5.0, 0.0], [5.0, 0.0]]))
    assert values == pytest.approx([-(1 + 4) / 2, -(4 + 0) / 2])


def test_extending_changes_nothing_that_was_executed():
    history = ContinuityHistory(3, ONES)
    history.append(np.zeros(2))
    history.append(np.ones(2))
    before = history.last()
    history.extended_by(np.full((8, 2), 9.0))
    assert history.last() == before


def test_the_first_value_of_a_chunk_without_history_is_unknown():
    assert ContinuityHistory(5, ONES).extended_by(np.zeros((3, 2)))[0] is None


@given(st.lists(st.lists(st.floats(-1, 1), min_size=2, max_size=2), min_size=2, max_size=12))
def test_continuity_is_never_positive(rows):
    value = continuity(np.array(rows), 5, ONES)
    assert value is not None and value <= 0


def feed(detector, values, state=None):
    state = state or DropState()
    states = []
    for value in values:
        state = detector.step(state, value)
        states.append(state.in_drop)
    return states


DETECTOR = DropDetector(threshold=0.5, hysteresis=0.3, window=5)


def test_a_fall_beyond_the_threshold_begins_a_drop():
    assert feed(DETECTOR, [-0.1, -0.2, -0.65]) == [False, False, True]


def test_a_fall_within_the_threshold_is_no_drop():
    assert feed(DETECTOR, [-0.1, -0.2, -0.55]) == [False, False, False]


def test_a_drop_ends_only_beyond_the_hysteresis():
    # level -0.1, drop below -0.6, ends above -0.3
    assert feed(DETECTOR, [-0.1, -0.7, -0.5, -0.35, -0.25]) == [False, True, True, True, False]


def test_a_slow_decline_over_more_than_a_window_is_no_drop():
    assert not any(feed(DETECTOR, [-0.09 * step for step in range(30)]))


def test_only_the_value_that_begins_a_drop_is_reported_as_first():
    assert DETECTOR.first_drop(DropState(), [-0.1, -0.9, -0.9]) == 1


def test_a_drop_that_goes_on_is_not_reported_again():
    state = DETECTOR.step(DETECTOR.step(DropState(), -0.1), -0.9)
    assert state.in_drop
    assert DETECTOR.first_drop(state, [-0.9, -1.0, -1.5]) is None


def test_unknown_values_change_nothing():
    state = DETECTOR.step(DropState(), -0.1)
    assert DETECTOR.step(state, None) == state
