"""The next knots: as fast as every limit allows, never faster, and always able to stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.core import spline
from dysl_vla_ros.core.motion_plan import Knot
from dysl_vla_ros.core.path import chunk_path, still
from dysl_vla_ros.core.roll_out import Demand, Fade, RollOut
from dysl_vla_ros.core.safety import MotionLimits, stop_position

HORIZON = 40
STEP_S = 1 / 30
DEMAND = Demand(top=20.0, ramp=200.0, look_ahead=0.4, fade=0.2, rest=0.9, step=STEP_S)


def limits(velocity=1.0, acceleration=10.0, upper=9.0, joints=2):
    names = tuple('abcd'[:joints])
    return MotionLimits(names, [-9.0] * joints, [upper] * joints, [velocity] * joints,
                        acceleration, 0.3)  # fmt: skip


def line(bounds, step=0.02, start=0.0):
    targets = start + step * np.arange(HORIZON + 1.0)[:, None] * np.ones(bounds.size)
    return chunk_path(0.0, HORIZON, targets, np.zeros((HORIZON, 1)), None, bounds)


def standing(position=0.0, joints=2, time=5.0):
    return Knot(time, np.full(joints, float(position)), np.zeros(joints), 0.0, 0.0)


def rolled(bounds=None, path=None, state=None, demand=DEMAND, allowed=None, fade=None):
    bounds = bounds or limits()
    path = path or line(bounds)
    return RollOut(bounds, allowed).plan(state or standing(), path, fade, demand)


def peaks(plan):
    """Largest velocity and acceleration of each piece between knots."""
    found = []
    for left, right in zip(plan.knots, plan.knots[1:], strict=False):
        a0, a1 = spline.end_accelerations(
            left.position, left.velocity, right.position, right.velocity, right.time - left.time
        )
        speed = spline.peak_speed(left.velocity, right.velocity, a0, a1, right.time - left.time)
        found.append((speed.max(), np.maximum(np.abs(a0), np.abs(a1)).max()))
    return np.array(found)


def test_knots_are_equally_spaced_from_where_the_arm_is_to_the_look_ahead():
    plan, _ = rolled()
    times = np.array([knot.time for knot in plan.knots])
    assert times.tolist() == pytest.approx((5.0 + STEP_S * np.arange(13)).tolist())
    assert plan.knots[0].position.tolist() == [0.0, 0.0]


def test_playback_speeds_up_by_the_ramp_to_the_top():
    plan, _ = rolled(demand=replace(DEMAND, ramp=90.0))
    speeds = [knot.speed for knot in plan.knots]
    assert speeds[:5] == pytest.approx([0.0, 3.0, 6.0, 9.0, 12.0])
    assert max(speeds) == pytest.approx(20.0) and speeds[-1] == pytest.approx(20.0)


@pytest.mark.parametrize('velocity', [0.1, 0.25])
def test_where_the_path_is_too_fast_it_is_walked_at_the_velocity_limit(velocity):
    plan, _ = rolled(limits(velocity=velocity))
    found = peaks(plan)
    assert found[:, 0].max() <= velocity + 1e-9
    assert plan.knots[-1].velocity == pytest.approx([velocity] * 2, rel=0.06)


@pytest.mark.parametrize('acceleration', [1.0, 3.0])
def test_the_arm_speeds_up_with_its_acceleration_and_no_more_whatever_the_ramp(acceleration):
    for ramp in (200.0, 1e6):
        plan, _ = rolled(limits(acceleration=acceleration), demand=replace(DEMAND, ramp=ramp))
        found = peaks(plan)
        assert 0.5 * acceleration < found[:, 1].max() <= acceleration * (1 + 1e-9)


def test_the_window_is_cut_where_the_arm_could_not_rest_in_time():
    plan, _ = rolled(demand=replace(DEMAND, rest=0.25))
    assert plan.rest_time - plan.knots[0].time <= 0.25 + 1e-9
    assert len(plan.knots) > 3
    whole, _ = rolled()
    assert len(plan.knots) < len(whole.knots)


def test_a_speed_from_which_the_arm_could_not_rest_in_time_is_never_reached():
    """At 1 rad/s^2 only (0.3 s - 1/30 s) * 1 = 0.267 rad/s can be braked in time."""
    bounds = limits(velocity=3.0, acceleration=1.0)
    state = standing()
    for _ in range(60):
        plan, _ = rolled(bounds, line(bounds, 0.05), state, replace(DEMAND, rest=0.3))
        state = plan.at(state.time + STEP_S)
        assert plan.rest_time - state.time <= 0.3 + STEP_S
    assert 0.2 < np.abs(state.velocity).max() <= 0.3 - STEP_S + 1e-9


def test_from_every_knot_a_straight_brake_stays_inside_the_position_limits():
    bounds = limits(velocity=3.0, upper=0.3)
    state, path = standing(), line(limits(upper=9.0), 0.06)
    for _ in range(60):
        plan, _ = rolled(bounds, path, state)
        for knot in plan.knots:
            end = stop_position(knot.position, knot.velocity, bounds)
            assert max(knot.position.max(), end.max()) <= 0.3 + 1e-8
        state = plan.at(state.time + STEP_S)
    assert state.position.max() > 0.2


def test_it_stops_at_the_end_of_the_path_and_rests_there():
    bounds = limits()
    short = chunk_path(0.0, 3, 0.02 * np.arange(9.0)[:, None] * np.ones(2), np.zeros((8, 1)),
                       None, bounds)  # fmt: skip
    plan, _ = rolled(bounds, short, demand=replace(DEMAND, look_ahead=2.0, rest=3.0))
    last = plan.knots[-1]
    assert last.at_rest and last.progress == pytest.approx(3.0)
    assert last.position == pytest.approx([0.06, 0.06])
    assert last.time < 5.0 + 1.0  # no further knots once it rests
    assert all(a.progress <= b.progress for a, b in zip(plan.knots, plan.knots[1:], strict=False))


def test_an_arm_beside_the_path_fades_onto_it_inside_the_limits():
    plan, fade = rolled(state=standing(0.05), demand=replace(DEMAND, look_ahead=2.0, rest=3.0))
    assert fade.offset == pytest.approx([0.05, 0.05]) and fade.begin == 5.0
    assert fade.length >= 0.2
    found = peaks(plan)
    assert found[:, 0].max() <= 1.0 + 1e-9 and found[:, 1].max() <= 10.0 + 1e-6
    position, _ = line(limits()).sample(np.array([plan.knots[-1].progress]))
    assert plan.knots[-1].position == pytest.approx(position[0], abs=1e-9)


def test_a_longer_way_fades_for_longer():
    near, far = rolled(state=standing(0.01))[1], rolled(state=standing(0.5))[1]
    assert near.length == pytest.approx(0.2)
    # by velocity: 1.5 * 0.5 rad at a quarter of 1 rad/s
    assert far.length == pytest.approx(3.0)


def test_a_fade_in_force_is_kept_while_the_arm_is_where_it_says():
    plan, fade = rolled(state=standing(0.05))
    here = plan.knots[3]
    assert rolled(state=here, fade=fade)[1] is fade
    moved = replace(here, position=here.position + 2e-4)
    assert rolled(state=moved, fade=fade)[1] is not fade
    faster = replace(here, velocity=here.velocity + 0.02)
    assert rolled(state=faster, fade=fade)[1] is not fade


def test_a_fade_takes_offset_and_velocity_to_zero_and_stays_there():
    fade = Fade(2.0, 0.5, np.array([0.3]), np.array([-0.2]))
    for time, offset, slope in ((2.0, 0.3, -0.2), (1.0, 0.3, -0.2), (2.5, 0.0, 0.0),
                                (9.0, 0.0, 0.0)):  # fmt: skip
        found = fade.at(time)
        assert found[0] == pytest.approx([offset]) and found[1] == pytest.approx([slope])
    assert 0.0 < fade.at(2.25)[0][0] < 0.3


def test_a_moving_arm_keeps_its_speed_onto_a_path_that_leads_the_same_way():
    moving = Knot(5.0, np.zeros(2), np.full(2, 0.3), 0.0, 0.0)
    plan, fade = rolled(state=moving)
    assert plan.knots[0].speed == pytest.approx(15.0)  # 0.3 rad/s at 0.02 rad per action
    assert fade.slope == pytest.approx([0.0, 0.0])
    back = Knot(5.0, np.zeros(2), np.full(2, -0.3), 0.0, 0.0)
    assert rolled(state=back)[0].knots[0].speed == 0.0
    fast = Knot(5.0, np.zeros(2), np.full(2, 0.9), 0.0, 0.0)
    assert rolled(state=fast)[0].knots[0].speed == pytest.approx(20.0)  # never beyond the top


def test_a_playback_that_must_slow_down_does_so_as_fast_as_the_joints_can_and_no_faster():
    bounds, zero = limits(acceleration=3.0), np.zeros(2)
    fast = Knot(5.0, np.full(2, 0.06), np.full(2, 0.4), 3.0, 20.0)
    plan, _ = rolled(bounds, line(bounds), fast, replace(DEMAND, top=5.0),
                     fade=Fade(4.0, 0.2, zero, zero))  # fmt: skip
    speeds = [knot.speed for knot in plan.knots]
    assert speeds[:2] == pytest.approx([20.0, 17.0])
    assert speeds == sorted(speeds, reverse=True) and speeds[-1] == pytest.approx(5.0, rel=0.1)
    assert peaks(plan)[:, 1].max() <= 3.0 * (1 + 1e-9)


def lead(*values, speed):
    return replace(DEMAND, lead=np.array(values), lead_speed=np.full(2, speed))


def test_a_joint_that_leads_the_arm_walks_no_faster_ahead_than_it_is_told():
    plan, _ = rolled(demand=lead(0.2, 0.0, speed=0.05))
    assert peaks(plan)[:, 0].max() == pytest.approx(0.05, rel=0.1)


def test_a_joint_on_its_way_back_to_the_arm_is_not_held_up():
    free, _ = rolled()
    plan, _ = rolled(demand=lead(-0.2, -0.2, speed=0.001))
    assert peaks(plan)[:, 0].max() == pytest.approx(peaks(free)[:, 0].max())


def test_a_lead_of_which_no_speed_is_left_stops_the_playback():
    plan, _ = rolled(demand=lead(0.3, 0.0, speed=0.0))
    assert all(not knot.velocity.any() for knot in plan.knots)


def test_where_nothing_may_be_commanded_nothing_moves():
    def allowed(joints):
        return bool(joints[0] <= 0.05)

    plan, _ = rolled(allowed=allowed, demand=replace(DEMAND, look_ahead=2.0, rest=3.0))
    ends = [stop_position(k.position, k.velocity, limits())[0] for k in plan.knots]
    assert max(ends) <= 0.05 and max(ends) > 0.02
    blocked, _ = rolled(allowed=lambda joints: False)
    assert len(blocked.knots) == 1 and blocked.knots[0].at_rest


def test_whether_the_arm_may_stop_depends_on_limits_and_workspace():
    roll = RollOut(limits(upper=0.1), lambda joints: bool(joints[1] > -0.5))
    fast = Knot(0.0, np.array([0.0, 0.0]), np.array([1.0, 0.0]), 0.0, 0.0)  # stops at 0.05
    assert roll.may_stop(fast)
    assert not roll.may_stop(replace(fast, position=np.array([0.06, 0.0])))
    assert not roll.may_stop(replace(fast, position=np.array([0.0, -0.6])))
    low = RollOut(replace(limits(), lower=np.array([-0.1, -9.0])))
    back = replace(fast, position=np.array([-0.06, 0.0]), velocity=np.array([-1.0, 0.0]))
    assert not low.may_stop(back)
    assert low.may_stop(replace(back, position=np.array([-0.04, 0.0])))


def test_an_arm_outside_its_limits_may_come_back_and_not_go_farther():
    bounds = limits(upper=0.3)
    inward, _ = rolled(bounds, still(np.array([0.3, 0.3]), 0.0), standing(0.4),
                       replace(DEMAND, look_ahead=2.0, rest=3.0))  # fmt: skip
    assert inward.knots[-1].position == pytest.approx([0.3, 0.3])
    outward, _ = rolled(bounds, still(np.array([0.6, 0.6]), 0.0), standing(0.4))
    assert max(knot.position.max() for knot in outward.knots) <= 0.4 + 1e-8


def test_the_state_it_is_given_is_not_changed():
    state = Knot(5.0, np.zeros(2), np.full(2, 0.3), 0.0, 0.0)
    plan, _ = rolled(state=state)
    assert state.speed == 0.0 and plan.knots[0] is not state
