"""What was published: where the arm is at every instant, and that it ends at rest."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.motion_plan import Knot, MotionPlan, braking, resting
from dysl_vla_ros.core.safety import SHORTEST_BRAKE_S, MotionLimits

LIMITS = MotionLimits(('a', 'b'), [-9.0] * 2, [9.0] * 2, [3.0] * 2, [5.0, 10.0], 0.3)


def knot(time, position, velocity, progress=0.0, speed=0.0):
    return Knot(time, np.array(position, float), np.array(velocity, float), progress, speed)


def plan():
    """Two knots at a constant 1 rad/s and 20 actions/s, then a brake of 0.2 s."""
    return MotionPlan(
        (knot(1.0, [0.0, 0.0], [1.0, 0.5], 4.0, 20.0),
         knot(1.1, [0.1, 0.05], [1.0, 0.5], 6.0, 20.0)),
        0.2,
    )  # fmt: skip


def test_a_plan_passes_through_its_knots():
    for time, position, progress in ((1.0, [0.0, 0.0], 4.0), (1.1, [0.1, 0.05], 6.0)):
        there = plan().at(time)
        assert there.position == pytest.approx(position)
        assert there.velocity == pytest.approx([1.0, 0.5])
        assert there.progress == pytest.approx(progress) and there.speed == pytest.approx(20.0)
        assert there.time == time


def test_between_knots_position_and_progress_are_on_the_cubic():
    there = plan().at(1.025)
    assert there.position == pytest.approx([0.025, 0.0125])
    assert there.progress == pytest.approx(4.5) and there.speed == pytest.approx(20.0)


def test_between_three_knots_the_right_pair_is_taken():
    long = MotionPlan((*plan().knots, knot(1.2, [0.5, 0.05], [0.0, 0.0], 7.0, 0.0)), 0.02)
    assert 0.0 < long.at(1.05).position[0] < 0.1 < long.at(1.15).position[0] < 0.5
    assert long.at(1.1).position == pytest.approx([0.1, 0.05])


def test_after_the_last_knot_arm_and_playback_brake_to_rest():
    halfway, end, later = plan().at(1.2), plan().at(1.3), plan().at(99.0)
    assert halfway.position == pytest.approx([0.175, 0.0875])
    assert halfway.velocity == pytest.approx([0.5, 0.25])
    assert halfway.progress == pytest.approx(7.5) and halfway.speed == pytest.approx(10.0)
    assert end.position == pytest.approx([0.2, 0.1])
    assert end.progress == pytest.approx(8.0)
    for rest in (end, later):
        assert rest.position == pytest.approx(end.position)
        assert rest.at_rest or rest.speed == pytest.approx(0.0, abs=1e-12)
    assert later.at_rest and later.progress == pytest.approx(8.0)
    assert plan().rest_time == pytest.approx(1.3)


@pytest.mark.parametrize('early', [1e-12, 0.01])
def test_a_clock_that_stood_may_read_a_little_before_the_first_knot(early):
    standing = resting(np.array([0.3, -0.2]), 1.0, 4.0)
    for asked, first in ((standing, standing.knots[0]), (plan(), plan().knots[0])):
        there = asked.at(1.0 - early)
        assert there.time == 1.0
        assert there.position == pytest.approx(first.position, abs=1e-15)
        assert there.velocity == pytest.approx(first.velocity)
        assert there.progress == pytest.approx(first.progress)


def test_playback_never_runs_backwards_or_beyond_the_next_knot():
    """A cubic may overshoot where the speed falls at once from fast to 0."""
    sharp = MotionPlan((knot(0.0, [0, 0], [0, 0], 3.0, 90.0), knot(0.1, [0, 0], [0, 0], 4.0)), 0.1)
    found = [sharp.at(t) for t in np.linspace(0.0, 0.3, 61)]
    progress = [item.progress for item in found]
    assert min(progress) >= 3.0 and max(progress) <= 4.0
    assert min(item.speed for item in found) >= 0.0


def test_a_knot_rests_when_neither_arm_nor_playback_moves():
    assert knot(0, [1, 1], [0, 0]).at_rest
    assert not knot(0, [1, 1], [0, 1e-3]).at_rest
    assert not knot(0, [1, 1], [0, -1e-3]).at_rest
    assert not knot(0, [1, 1], [0, 0], 0.0, 0.1).at_rest


def test_a_window_holds_the_knots_from_now_on_and_a_brake_that_ends_at_rest():
    times, positions, velocities = plan().window()
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert positions[0].tolist() == [0.0, 0.0]
    assert positions[1:] == pytest.approx(np.array([[0.1, 0.05], [0.175, 0.0875], [0.2, 0.1]]))
    assert velocities == pytest.approx(np.array([[1, 0.5], [1, 0.5], [0.5, 0.25], [0, 0]]))
    assert not velocities[-1].any()  # exactly, not by rounding


def test_an_arm_that_stands_gets_a_window_in_which_times_grow():
    still = resting(np.array([0.3, 0.4]), 2.0, 5.0)
    times, positions, velocities = still.window()
    assert times == pytest.approx([0.0, 0.5 * SHORTEST_BRAKE_S, SHORTEST_BRAKE_S])
    assert positions == pytest.approx(np.array([[0.3, 0.4]] * 3)) and not velocities.any()
    there = still.at(7.0)
    assert there.progress == 5.0 and there.at_rest and there.position.tolist() == [0.3, 0.4]


def test_a_brake_begins_at_once_and_is_as_hard_as_the_joint_that_needs_longest():
    state = knot(3.0, [0, 0], [1.0, -1.0], 2.0, 10.0)
    plan = braking(state, LIMITS)
    assert plan.knots == (state,) and plan.brake == pytest.approx(0.2)  # 1 rad/s at 5 rad/s^2
    assert plan.at(3.2).position == pytest.approx([0.1, -0.1])


def test_a_window_never_ends_before_it_can_have_arrived():
    times, positions, velocities = resting(np.array([0.4, 0.1]), 2.0, 0.0).window(0.2)
    assert times[-1] == pytest.approx(0.2) and (np.diff(times) > 0).all()
    assert (positions == [0.4, 0.1]).all() and not velocities.any()
    moving, longer = plan().window(), plan().window(0.4)
    assert longer[0] == pytest.approx([*moving[0], 0.4])
    assert longer[1][-1] == pytest.approx(moving[1][-1]) and not longer[2][-2:].any()
    assert plan().window(0.25)[0] == pytest.approx(moving[0])


@pytest.mark.parametrize('early', [1e-3, 5e-9, 1e-9, 3e-11, 0.0, -3e-11])
def test_no_two_points_of_a_window_have_one_time_in_whole_nanoseconds(early):
    """A controller refuses a trajectory whose times do not grow."""
    end = 1.1 + plan().brake
    times, positions, velocities = plan().window(end + early - 1.0)
    assert (np.diff(np.round(times * 1e9)) > 0).all()
    assert times[-1] == pytest.approx(end + max(early, 0.0) - 1.0, abs=1e-10)
    assert not velocities[-1].any() and (positions[-1] == positions[-2]).all() == (early > 2e-9)
