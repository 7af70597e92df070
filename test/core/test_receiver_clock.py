"""The receiver's time: the same as ours, slower, faster, or standing."""

from __future__ import annotations

import pytest

from dysl_vla_ros.core.receiver_clock import ReceiverClock


def ticked(*steps, period=0.1):
    """A clock after steps of a period each, in which so many seconds passed for the receiver."""
    clock, now = ReceiverClock(), 10.0
    clock.advance(now, None)
    for passed in steps:
        now += period
        clock.advance(now, passed)
    return clock, now


def test_without_a_word_both_times_are_the_same_number():
    clock, now = ticked(None, None)
    assert clock.at(now) == now and clock.at(9.0) == 9.0 and clock.at(now + 0.03) == now + 0.03


def test_a_slow_receiver_falls_behind_and_past_instants_are_between():
    clock, now = ticked(0.03, 0.03)
    assert clock.at(now) == pytest.approx(10.06)
    assert clock.at(now - 0.1) == pytest.approx(10.03)
    assert clock.at(now - 0.05) == pytest.approx(10.045)


def test_the_rate_is_the_mean_of_the_last_seconds():
    assert ReceiverClock().rate == 1.0
    assert ticked(None, None)[0].rate == 1.0
    assert ticked(0.05, 0.1, 0.0)[0].rate == pytest.approx(0.5)


def test_a_receiver_that_stands_and_one_that_runs_at_twice_our_speed():
    clock, now = ticked(0.0, 0.0)
    assert clock.at(now) == pytest.approx(10.0)
    clock, now = ticked(0.2, 0.2)
    assert clock.at(now) == pytest.approx(10.4)


def test_back_at_full_speed_what_was_lost_stays_lost():
    clock, now = ticked(0.0, None, None)
    assert clock.at(now) == pytest.approx(now - 0.1)


def test_only_the_last_seconds_are_remembered():
    clock, now = ticked(*[0.05] * 2000)
    assert len(clock._times) <= 21
    assert clock.at(now) == pytest.approx(10.0 + 2000 * 0.05)


def test_a_second_tick_at_the_same_instant_divides_by_nothing():
    clock = ReceiverClock()
    clock.advance(0.0, None)
    clock.advance(0.0, None)
    assert clock.rate == 1.0 and clock.at(0.0) == 0.0
    clock.advance(0.02, 0.01)
    clock.advance(0.02, 0.0)
    assert clock.rate == pytest.approx(0.5) and clock.at(0.02) == pytest.approx(0.01)
