"""Intervals against values computed by hand."""

from __future__ import annotations

import pytest

from dysl_vla_ros.lab.evaluation.statistics import paired_difference, wilson_interval


def test_the_wilson_interval_of_8_in_10_is_that_of_the_tables():
    low, high = wilson_interval(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_ten_of_ten_does_not_claim_certainty():
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-4) and high == pytest.approx(1.0)


def test_no_episode_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_is_an_error():
    with pytest.raises(ValueError, match='successes = 3'):
        wilson_interval(3, 2)


def test_equal_results_differ_by_zero_with_a_narrow_interval():
    results = [True] * 90 + [False] * 10
    difference, low, high = paired_difference(results, results)
    assert difference == 0 and low < 0 < high and high < 0.03


def test_losses_on_the_same_seeds_count_against_the_other():
    difference, low, high = paired_difference([True] * 100, [True] * 90 + [False] * 10)
    assert difference == pytest.approx(0.1)
    assert 0.03 < low < 0.1 < high < 0.2


def test_results_of_different_length_are_an_error():
    with pytest.raises(ValueError, match='expected 2'):
        paired_difference([True, False], [True])
