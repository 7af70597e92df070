"""When the gripper gets a new command, and when it is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.core.gripper_filter import GripperFilter, GripperRamp


def test_the_gripper_is_sent_on_change_only_with_hysteresis():
    gripper = GripperFilter(GripperConfig(hysteresis=0.2, dwell_s=0.0))
    sent = [gripper.update(value, True, t) for t, value in enumerate([0.5, 0.6, 0.75, 0.7, 0.3])]
    assert sent == [0.5, None, 0.75, None, 0.3]


def test_a_reversal_waits_for_the_dwell_and_then_happens():
    gripper = GripperFilter(GripperConfig(dwell_s=0.2))
    assert gripper.update(1.0, True, 0.0) == 1.0
    assert gripper.update(0.0, True, 0.1) == 0.0
    assert gripper.update(1.0, True, 0.2) is None
    assert gripper.update(1.0, True, 0.35) == 1.0


def test_fully_closed_is_reached_in_small_steps():
    gripper = GripperFilter(GripperConfig(hysteresis=0.5, dwell_s=0.0))
    assert gripper.update(0.3, True, 0.0) == 0.3
    assert gripper.update(0.1, True, 0.1) is None
    assert gripper.update(0.0, True, 0.2) == 0.0


@pytest.mark.parametrize('closes', [True, False])
def test_a_policy_that_means_an_end_and_never_says_it_exactly_reaches_it_and_stays(closes):
    wanted = [1.0, 0.5, 0.09, 0.03, 0.004, 0.006, 0.002, 0.02]
    openings = wanted if closes else [1.0 - opening for opening in wanted]
    sent = filtered(*openings, hysteresis=0.1, dwell_s=0.0)
    assert [None if opening is None else abs(opening - (not closes)) for opening in sent] == [
        1.0, 0.5, pytest.approx(0.09), None, pytest.approx(0.004), None, None, None,
    ]  # fmt: skip


def test_with_the_widest_hysteresis_both_ends_are_reached_where_they_are_only_meant():
    assert filtered(1.0, 0.003, 0.5, 0.996, 0.2, hysteresis=1.0, dwell_s=0.0) == [
        1.0, 0.003, None, 0.996, None,
    ]  # fmt: skip


def test_a_hold_never_moves_the_gripper():
    gripper = GripperFilter(GripperConfig(dwell_s=0.0))
    assert gripper.update(0.0, True, 0.0) == 0.0
    assert gripper.update(1.0, False, 0.1) is None
    assert gripper.update(None, True, 0.2) is None
    assert gripper.sent == 0.0


def filtered(*openings, every=1.0, **config):
    gripper = GripperFilter(GripperConfig(**config))
    return [gripper.update(value, True, every * t) for t, value in enumerate(openings)]


def test_a_change_of_exactly_the_hysteresis_is_sent():
    assert filtered(0.0, 0.25, hysteresis=0.25, dwell_s=0.0) == [0.0, 0.25]


def test_what_was_sent_is_not_sent_again_at_an_end_either():
    assert filtered(1.0, 1.0, 0.0, 0.0, dwell_s=0.0) == [1.0, None, 0.0, None]


def test_without_a_hysteresis_what_was_sent_is_not_sent_again_nor_counts_as_a_reversal():
    assert filtered(0.3, 0.3, 0.3, 0.31, 0.31, hysteresis=0.0, dwell_s=0.0) == [
        0.3, None, None, 0.31, None,
    ]  # fmt: skip
    rises = [0.3, 0.5, *[0.5] * 19, 0.6]  # what went on opening was no reversal meanwhile
    assert filtered(*rises, every=0.033, hysteresis=0.0, dwell_s=0.5)[-1] == 0.6


def test_going_on_in_the_same_direction_waits_for_no_dwell():
    assert filtered(0.1, 0.4, 0.7, 1.0, every=0.01, dwell_s=0.2) == [0.1, 0.4, 0.7, 1.0]


def test_a_second_reversal_waits_from_the_first_one_on():
    gripper = GripperFilter(GripperConfig(dwell_s=0.2))
    assert gripper.update(1.0, True, 0.0) == 1.0
    assert gripper.update(0.5, True, 0.1) == 0.5
    assert gripper.update(0.2, True, 0.25) == 0.2  # no reversal: the dwell still counts from 0.1
    assert gripper.update(1.0, True, 0.28) is None
    assert gripper.update(1.0, True, 0.31) == 1.0


@pytest.mark.parametrize(('opening', 'value'), [(0.0, 0.8), (1.0, 0.0), (0.25, 0.6)])
def test_an_opening_becomes_the_value_of_the_joint_also_where_closed_is_the_larger(opening, value):
    gripper = GripperFilter(GripperConfig(open_value=0.0, closed_value=0.8))
    assert gripper.joint_value(opening) == pytest.approx(value)


def test_nothing_counts_as_sent_before_the_first_command():
    gripper = GripperFilter(GripperConfig())
    assert gripper.update(1.0, False, 0.0) is None and gripper.sent is None


def test_a_gripper_joint_travels_to_its_target_and_begins_where_it_was_said_to_be():
    ramp = GripperRamp(GripperConfig(open_value=0.04, closed_value=0.0, stroke_s=0.5))
    times = np.array([0.0, 0.1, 0.2, 0.5])
    first = ramp.column(10.0, 0.04, times)
    assert first.tolist() == [0.04] * 4  # where it is
    going = ramp.column(10.1, 0.0, times)
    assert going[0] == 0.04
    rate = 0.04 / 0.5 / 1.5
    assert going == pytest.approx(0.04 - rate * times)
    later = ramp.column(10.3, 0.0, times)
    assert later[0] == pytest.approx(going[2])
    assert ramp.column(20.0, 0.0, times)[0] == pytest.approx(later[-1])  # there it stayed
    assert ramp.column(21.0, 0.0, times).tolist() == [0.0] * 4


def test_after_a_pause_a_gripper_told_single_values_goes_on_from_the_last_one():
    config = GripperConfig(open_value=1.0, closed_value=0.0, stroke_s=1.0, interface='forward')
    ramp, times, period = GripperRamp(config), np.array([0.0, 0.2]), 1 / 30
    rate = 1.0 / 1.0 / 1.5
    assert ramp.column(0.0, 1.0, times)[0] == 1.0
    told = [ramp.column(k * period, 0.0, times)[0] for k in range(1, 11)]
    assert np.abs(np.diff([1.0, *told])).max() <= rate * period + 1e-9
    assert told[-1] - ramp.column(60.0, 0.0, times)[0] <= rate * 0.1 + 1e-9


@pytest.mark.parametrize(('opened', 'closed'), [(1.0, 0.0), (0.0, 0.8)])
def test_where_no_action_is_played_it_closes_on_and_opens_no_further(opened, closed):
    config = GripperConfig(open_value=opened, closed_value=closed, interface='joint')
    times = np.array([0.0, 0.1, 0.3])
    for target, other in ((opened, closed), (closed, opened)):
        ramp = GripperRamp(config)
        ramp.column(0.0, other, times)
        ramp.column(0.1, target, times)
        column = ramp.column(0.2, target, times, may_open=False)
        assert (column[-1] == column[0]) == (target == opened)
        again = ramp.column(0.3, target, times)
        assert abs(again[-1] - target) < abs(again[0] - target)


def test_a_trajectory_is_followed_to_the_end_of_its_window_and_no_further():
    config = GripperConfig(open_value=1.0, closed_value=0.0, stroke_s=1.0, interface='joint')
    ramp, times = GripperRamp(config), np.array([0.0, 0.1, 0.3])
    ramp.column(0.0, 1.0, times)
    told = ramp.column(0.1, 0.0, times)
    assert ramp.column(60.0, 0.0, times)[0] == pytest.approx(told[-1])


@pytest.mark.parametrize('stroke', [0.1, 0.5, 2.0])
def test_a_window_begins_where_the_points_of_the_one_before_have_led_the_gripper(stroke):
    """Between two points far apart, as at the end of a brake, it is on the line between them."""
    config = GripperConfig(stroke_s=stroke, interface='joint')
    ramp, times, period = GripperRamp(config), np.array([0.0, 0.01, 0.02, 0.2]), 1 / 30
    told = ramp.column(0.0, 1.0, times)
    for tick in range(1, round(120 * stroke) + 30):
        begins = ramp.column(tick * period, 0.0, times)
        assert begins[0] == pytest.approx(float(np.interp(period, times, told)))
        told = begins
    assert told[-1] == pytest.approx(0.0, abs=0.01)


def test_a_gripper_told_single_values_opens_not_a_step_further_where_no_action_is_played():
    config = GripperConfig(stroke_s=1.0, interface='forward')
    ramp, times, period = GripperRamp(config), np.array([0.0, 0.2]), 1 / 30
    ramp.column(0.0, 0.0, times)
    for tick in range(1, 6):
        told = ramp.column(tick * period, 1.0, times)[0]
    for tick in range(6, 12):
        assert ramp.column(tick * period, 1.0, times, may_open=False)[0] == told
    assert ramp.column(12 * period, 1.0, times)[0] <= told + period
