"""The only way out: limits hold for every window, and a command never jumps."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
from motion_checks import WindowChecks
from seeds import first

from dysl_vla_ros.core.chunk_scheduler import ChunkScheduler
from dysl_vla_ros.core.governor import SILENT_S, Governor, GovernorSettings
from dysl_vla_ros.core.safety import MotionLimits

TICK = 1 / 30
HORIZON = 8
PERIOD = 0.05


def limits(joints=2, velocity=1.0, acceleration=10.0, upper=2.0, max_lead=0.3):
    names = tuple('abcdefg'[:joints])
    return MotionLimits(names, [-upper] * joints, [upper] * joints, [velocity] * joints,
                        acceleration, max_lead)  # fmt: skip


class Bench:
    """A governor with its scheduler, an arm that follows at once, every window checked."""

    def __init__(self, start=0.0, allowed=None, bounds=None, **settings):
        self.limits = bounds or limits()
        self.rest = settings.get('rest', 0.5)
        self.governor = Governor(
            self.limits, GovernorSettings(**{'period': TICK, **settings}), allowed
        )
        self.scheduler = ChunkScheduler(PERIOD, max_stretch=3.0)
        self.checks = WindowChecks(self.limits, self.rest)
        self.now = 0.0
        self.arm = np.full(self.limits.size, float(start))
        self.follows = True
        self.commands = []

    def measure(self):
        return self.governor.measure(self.arm, self.now)

    def settle(self, from_measured=True):
        for _ in range(30):
            self.now += TICK
            self.measure()
            answer = self.governor.settle(self.now, self.scheduler.progress, from_measured)
            if answer[0] != 'wait':
                break
        if answer[0] == 'go':
            self.scheduler.anchor()
        return answer

    def tick(self, go=True, late=0.0, measure=True):
        self.now += self.governor.settings.period + late
        if measure:
            self.measure()
        knot = self.governor.advance(self.now, go, self.scheduler.top_speed)
        self.scheduler.note(
            self.now, knot.progress, knot.speed > 0, knot.position,
            self.governor.measurement.position,
        )  # fmt: skip
        times, positions, velocities = self.governor.plan.window()
        command = SimpleNamespace(
            stamp=self.now, positions=knot.position, window_times=times,
            window_positions=positions, window_velocities=velocities,
        )  # fmt: skip
        self.checks.check(command)
        self.commands.append(command)
        if self.follows:
            self.arm = knot.position
        return knot

    def chunk(self, steps, from_here=True):
        start = self.commands[-1].positions if self.commands else self.arm
        targets = np.vstack([start, start + np.cumsum(steps, axis=0)])
        targets = np.clip(targets, self.limits.lower, self.limits.upper)
        path = self.scheduler.accept(
            self.scheduler.progress, targets, np.zeros((len(steps), 1)), None, self.limits
        )
        if path is not None:
            self.governor.follow(path)

    def run(self, seconds, **given):
        for _ in range(round(seconds / self.governor.settings.period)):
            self.tick(**given)
        return self


def sweep(step=0.02, joints=2):
    return np.full((HORIZON, joints), step)


def moving(**given):
    bench = Bench(**given)
    assert bench.settle() == ('go', '')
    bench.chunk(sweep())
    return bench.run(0.25)


def test_the_first_command_is_the_measured_pose_at_rest():
    bench = Bench(start=0.7)
    bench.settle()
    knot = bench.tick()
    assert knot.position == pytest.approx([0.7, 0.7]) and not knot.velocity.any()


def test_a_plan_is_walked_to_its_end_and_rests_there():
    bench = Bench()
    bench.settle()
    bench.chunk(sweep(0.02))
    bench.run(2.0)
    assert bench.arm == pytest.approx([0.16, 0.16]) and bench.governor.at_rest


def test_too_fast_a_plan_is_walked_slowly_and_still_to_its_end():
    bench = Bench(bounds=limits(velocity=0.1))
    bench.settle()
    bench.chunk(sweep(0.05))
    bench.run(5.0)
    assert bench.arm == pytest.approx([0.4, 0.4])
    assert 0.95 < bench.checks.peak <= 1.0 + 1e-6


def test_a_chunk_that_needs_slower_playback_arrives_at_full_speed():
    bench = Bench(bounds=limits(velocity=0.9))
    bench.settle()
    bench.chunk(sweep(0.04))
    bench.run(0.25)
    bench.chunk(sweep(0.16))
    bench.run(3.0)
    assert bench.checks.peak <= 1.0 + 1e-6


def test_a_stop_rests_within_what_the_acceleration_needs():
    bench = moving(bounds=limits(velocity=0.5, acceleration=2.0))
    speed = np.abs(bench.commands[-1].window_velocities[0]).max()
    assert speed > 0.3
    bench.run(speed / 2.0 + 2 * TICK, go=False)
    assert bench.governor.at_rest


@pytest.mark.parametrize('holds_points', [False, True])
@pytest.mark.parametrize('hertz', [250, 500, 1000])
def test_a_stop_rests_within_what_the_acceleration_needs_at_high_rates_too(hertz, holds_points):
    bench = moving(
        bounds=limits(velocity=0.5, acceleration=2.0), period=1 / hertz,
        holds_points=holds_points,
    )  # fmt: skip
    speed = np.abs(bench.commands[-1].window_velocities[0]).max()
    assert speed > 0.3
    bench.run(speed / 2.0 + 0.025, go=False)
    assert bench.governor.at_rest


@pytest.mark.parametrize('late', [0.05, 0.1, 0.19, 0.25, 1.0, 30.0])
def test_a_late_tick_goes_on_where_the_last_window_has_led_the_arm(late):
    bench = moving()
    before = bench.commands[-1]
    knot = bench.tick(late=late)  # the checks compare it with the window
    bench.chunk(sweep())
    bench.run(1.0)
    assert np.abs(knot.position - before.window_positions[-1]).max() < 0.1


def test_a_receiver_that_holds_points_is_led_on_over_two_periods_at_most():
    bench = moving(holds_points=True)
    before = bench.commands[-1].positions
    bench.checks.restart()
    assert bench.tick(late=1.0).position == pytest.approx(before)
    bench = moving(holds_points=True)
    before, speed = bench.commands[-1].positions, bench.commands[-1].window_velocities[0]
    step = bench.tick(late=0.9 * TICK).position - before
    assert (np.abs(step) <= np.abs(speed) * 2 * TICK * 1.2).all() and step.any()


def test_a_tick_that_comes_just_two_periods_after_the_last_still_leads_on():
    for _ in range(3):
        bench = moving(holds_points=True)
        bench.checks.restart()
        before = bench.commands[-1].positions
        assert (bench.tick(late=TICK).position > before + 0.01).all()


def test_a_command_never_leaves_the_position_limits_at_any_speed():
    bench = Bench(start=1.0, bounds=limits(velocity=3.0, upper=1.5))
    bench.settle()
    for _ in range(12):
        bench.chunk(sweep(0.12))
        bench.run(0.2)
    assert bench.arm.max() <= 1.5 + 1e-6


def test_an_arm_a_little_outside_its_limits_comes_back_at_the_allowed_speed():
    bench = Bench(start=2.05, bounds=limits(velocity=0.2))
    assert bench.settle()[0] == 'go'
    bench.run(2.0)
    assert bench.arm == pytest.approx([2.0, 2.0])
    assert bench.checks.peak <= 1.0 + 1e-6


def test_an_arm_far_outside_its_limits_is_refused_by_joint_reading_and_limit():
    bench = Bench(start=2.5)
    assert bench.settle()[0] == 'wait'
    assert bench.governor.measurement.refusal == (
        'joint_states: a = 2.500: expected within its limits -2.000 to 2.000, at most 0.1 beyond'
    )


def test_nothing_is_anchored_on_an_old_reading():
    bench = Bench()
    bench.measure()
    answer, reason = bench.governor.settle(0.5, 0.0, True)
    assert answer == 'wait' and '0.50 s old' in reason


def test_nothing_is_anchored_while_the_arm_still_moves():
    bench = Bench()
    for index in range(10):
        bench.governor.measure(bench.arm + 0.01 * index, 0.01 * index)
    assert bench.governor.settle(0.1, 0.0, True) == ('wait', 'waiting until the arm stands still')


def stopped(push=0.0, **given):
    bench = moving(**given)
    bench.run(0.5, go=False)
    last = bench.commands[-1].positions
    bench.governor.release(bench.now)
    bench.checks.restart()
    bench.now += 1.0
    bench.arm = bench.arm + push
    return bench, last


def test_an_arm_that_stands_where_it_was_told_goes_on_from_there():
    bench, last = stopped(push=0.02)
    assert bench.settle(from_measured=False)[0] == 'go'
    assert bench.tick().position == pytest.approx(last)


def test_an_arm_that_was_moved_a_little_walks_back_from_where_it_is():
    bench, last = stopped(push=0.08)
    at = bench.arm
    assert bench.settle(from_measured=False)[0] == 'go'
    assert bench.tick().position == pytest.approx(at)
    bench.run(2.0)
    assert bench.arm == pytest.approx(last)


ENDLESS = MotionLimits(('a', 'turn'), [-2.0, -np.inf], [2.0, np.inf], [1.0] * 2, 10.0, 0.3)


@pytest.mark.parametrize('from_measured', [True, False])
def test_where_the_driver_counts_its_turns_anew_motion_begins_as_it_reads_and_after_a_silence(
    from_measured,
):
    bench, last = stopped(bounds=ENDLESS, start=1.0)
    bench.now -= 1.0  # the last window may still be followed
    bench.arm = last + np.array([0.0, 2 * np.pi])
    begun = bench.now
    assert bench.settle(from_measured)[0] == 'go'
    assert bench.now - begun >= SILENT_S
    assert bench.tick().position == pytest.approx(bench.arm)
    bench.run(1.0)
    assert bench.arm == pytest.approx(last + np.array([0.0, 2 * np.pi]))


def test_an_arm_that_was_moved_far_asks_for_a_start_also_where_its_turns_are_counted_anew():
    bench, last = stopped(bounds=ENDLESS, start=1.0)
    bench.arm = last + np.array([0.0, 2 * np.pi + 0.5])
    answer, reason = bench.settle(from_measured=False)
    assert answer == 'ask' and 'turn stands 0.5' in reason


def test_a_receiver_whose_clock_runs_slowly_ends_its_last_window_before_one_begins_elsewhere():
    bench = moving().run(0.5, go=False)
    bench.governor.release(bench.now)
    bench.arm = bench.arm + 0.08
    answer, waited = ('wait', ''), 0
    while answer[0] == 'wait' and waited < 1000:
        waited += 1
        bench.now += TICK
        bench.governor.clock.advance(bench.now, 0.1 * TICK)
        bench.measure()
        answer = bench.governor.settle(bench.now, 0.0, from_measured=True)
    assert answer == ('go', '')
    lasts = bench.governor.settings.look_ahead + SILENT_S
    assert waited * TICK == pytest.approx(lasts / 0.1, rel=0.1)


def test_an_arm_that_was_moved_far_asks_for_a_start_which_begins_where_it_is():
    bench, _ = stopped(push=0.4)
    at = bench.arm
    answer, reason = bench.settle(from_measured=False)
    assert answer == 'ask' and 'a stands 0.400 rad from the last command' in reason
    assert bench.settle(from_measured=True)[0] == 'go'
    assert bench.tick().position == pytest.approx(at)


def test_while_commands_go_out_an_anchor_elsewhere_waits_until_they_have_ended():
    bench = moving()
    bench.run(0.5, go=False)
    bench.follows = False
    bench.arm = bench.arm + 0.06
    bench.measure()
    for _ in range(30):
        bench.now += TICK
        bench.measure()
    answer, reason = bench.governor.settle(bench.now, 0.0, True)
    assert answer == 'wait' and bench.governor.plan is None
    assert bench.settle()[0] == 'go'


def test_a_command_begins_elsewhere_only_where_the_last_window_has_been_over_for_a_while():
    bench = moving()
    bench.run(0.5, go=False)
    bench.follows = False
    bench.arm = bench.arm + 0.06
    last = bench.now
    window_s = bench.governor.settings.look_ahead
    answers = {}
    for _ in range(60):
        bench.now += TICK
        bench.measure()
        answers[bench.now] = bench.governor.settle(bench.now, 0.0, True)[0]
    waited = min(at for at, answer in answers.items() if answer == 'go') - last
    assert waited > window_s + 0.25


def test_the_command_waits_for_a_blocked_arm_within_the_lead():
    bench = moving(bounds=limits(max_lead=0.1))
    bench.follows = False
    for _ in range(10):
        bench.chunk(sweep(0.04))
        bench.run(0.2)
    lead = np.abs(bench.governor.lead())
    assert 0.06 < lead.max() <= 0.1


def test_a_column_that_stands_still_is_waited_for_within_millimetres():
    column = MotionLimits(('pan', 'lift'), [-2.0, 0.0], [2.0, 0.4], [1.0, 0.1], [10.0, 3.0],
                          [0.12, 0.01], units=('rad', 'm'))  # fmt: skip
    bench = Bench(start=0.05, bounds=column)
    bench.settle()
    bench.follows = False
    for _ in range(10):
        bench.chunk(np.tile([0.0, 0.004], (HORIZON, 1)))
        bench.run(0.2)
    lead = np.abs(bench.governor.lead())
    assert 0.007 < lead[1] <= 0.01


def test_a_column_that_was_moved_a_centimetre_and_a_half_asks_for_a_start_in_metres():
    column = MotionLimits(('pan', 'lift'), [-2.0, 0.0], [2.0, 0.4], [1.0, 0.1], [10.0, 3.0],
                          [0.12, 0.01], units=('rad', 'm'))  # fmt: skip
    bench = Bench(start=0.05, bounds=column)
    bench.settle()
    bench.run(0.2, go=False)
    bench.governor.release(bench.now)
    bench.now += 1.0
    bench.arm = bench.arm + [0.05, 0.015]
    answer, reason = bench.settle(from_measured=False)
    assert answer == 'ask' and reason.startswith(
        'lift stands 0.015 m from the last command: expected at most start_max_jump_m = 0.01'
    )


def test_an_arm_that_moves_by_itself_is_told_from_one_that_follows():
    bench = moving()
    assert bench.governor.unasked_motion(bench.now) == ''
    bench.run(0.5, go=False)
    bench.follows = False
    for _ in range(14):
        bench.arm = bench.arm + np.array([0.03, 0.0])
        bench.tick(go=False)
    text = bench.governor.unasked_motion(bench.now)
    assert text == '' or 'somebody else moves the arm' in text
    bench.governor.limits = limits(max_lead=0.1)
    assert 'a moved' in bench.governor.unasked_motion(bench.now)


def test_outside_the_workspace_nothing_is_commanded():
    bench = Bench(allowed=lambda joints: bool(joints[0] <= 0.1))
    bench.settle()
    for _ in range(5):
        bench.chunk(sweep(0.04))
        bench.run(0.2)
    ends = [command.window_positions[:, 0].max() for command in bench.commands]
    assert max(ends) <= 0.1 + 1e-9 and max(ends) > 0.05


def fuzz(seed, chunks):
    """Random chunks, seams, stops, late ticks, glitches and pushes; every window is checked."""
    rng = np.random.default_rng(seed)
    joints = int(rng.integers(1, 8))
    velocity = float(rng.choice([0.05, 0.3, 1.0, 3.0]))
    acceleration = float(rng.choice([8.0, 10.0, 40.0])) if velocity < 3.0 else 10.0
    bench = Bench(
        start=rng.uniform(-1.9, 1.9), bounds=limits(joints, velocity, acceleration),
        period=float(rng.choice([0.005, 0.01, 0.02, TICK, 0.05])),
        fade=float(rng.choice([0.0, 0.2, 0.5])), look_ahead=float(rng.choice([0.05, 0.2, 0.4])),
    )  # fmt: skip
    assert bench.settle()[0] == 'go'
    for _ in range(chunks):
        size = rng.choice([0.0, 0.005, 0.03, 0.15]) * rng.normal(size=(1, joints))
        noise = rng.choice([0.0, 0.01, 0.1]) * rng.normal(size=(HORIZON, joints))
        bench.chunk(size + noise)
        often = 2 if bench.governor.settings.period < TICK else 1
        for _ in range(often * int(rng.integers(1, 10))):
            late = float(rng.exponential(0.01 if rng.random() < 0.8 else 0.3))
            bench.tick(go=bool(rng.random() > 0.02), late=late, measure=bool(rng.random() > 0.1))
    return bench.checks.seen


@pytest.mark.parametrize('seed', first(24, 3))
def test_whatever_comes_every_window_keeps_every_limit(seed):
    assert fuzz(seed, 40) > 40


# 5,000 chunks a part; DYSL_FUZZ_PARTS=20 is a hundred thousand, a quarter of an hour.
PARTS = int(os.environ.get('DYSL_FUZZ_PARTS', '2'))


@pytest.mark.slow
@pytest.mark.parametrize('part', range(PARTS))
def test_thousands_of_random_chunks_keep_every_limit(part):
    for seed in range(1000 + 25 * part, 1025 + 25 * part):
        fuzz(seed, 200)


@pytest.mark.parametrize('rate', [20, 30, 49, 50, 60, 100, 200, 500])
def test_an_arm_at_rest_stays_at_rest_whatever_the_rate_and_its_jitter(rate):
    governor = Governor(limits(), GovernorSettings(1.0 / rate))
    generator, still = np.random.default_rng(0), np.zeros(2)
    for k in range(60):
        governor.measure(still, 1.0 + 0.01 * k)
    assert governor.settle(1.6, 0.0, True)[0] == 'go'
    for k in range(200):
        now = 1.6 + (k + 1) / rate + generator.uniform(-0.3, 0.3) / rate
        governor.measure(still, now)
        governor.advance(now, False, 0.0)
        assert governor.at_rest
        times, _, _ = governor.plan.window(0.2)
        assert np.diff(times).min() > 1e-3  # what a controller can tell apart


def test_a_receiver_whose_clock_stands_keeps_the_command_where_it_is():
    """Its time is a difference of others: rounding takes it a little back and forth."""
    governor = Governor(limits(), GovernorSettings(TICK))
    generator, still, now = np.random.default_rng(0), np.zeros(2), 0.7
    for _ in range(60):
        now += 0.01
        governor.measure(still, now)
    assert governor.settle(now, 0.0, True)[0] == 'go'
    knots = [governor.advance(now, False, 0.0)]
    read = [governor.clock.at(now)]
    for _ in range(400):
        now += TICK * generator.uniform(0.7, 1.3)
        governor.clock.advance(now, 0.0)
        governor.measure(still, now)
        knots.append(governor.advance(now, False, 0.0))
        read.append(governor.clock.at(now))
    assert np.diff(read).min() < 0.0  # it did go back
    assert np.diff([knot.time for knot in knots]).min() >= 0.0
    assert not any(knot.position.any() or knot.velocity.any() for knot in knots)
