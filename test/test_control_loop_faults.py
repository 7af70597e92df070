"""The control loop when something is wrong: readings, silence, the model, a hand, a request.

Every window is checked as it is published (``Bench``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_control_loop import (
    HORIZON,
    LAYOUT,
    LIMITS,
    READY,
    STALE,
    STEP,
    TICK,
    Bench,
    DeltaPlanner,
    PerfectPolicy,
    slowing,
)

from dysl_vla_ros.control_loop import ControlLoop

FAR = 5.0


def moving(seconds=1.0, **given):
    given.setdefault('latency', 0.05)
    return Bench(PerfectPolicy(goal=FAR), **given).started().run(seconds)


def tick_until(bench, condition, seconds=20.0):
    for _ in range(round(seconds / TICK)):
        if condition():
            return
        bench.tick()
    raise AssertionError(f'not within {seconds} s')


def rerun_asked_for(bench):
    return lambda: any(item.rerun for item in bench.deliveries)


def told(bench, since=0):
    return [round(float(command.positions[0]), 12) for command in bench.commands[since:]]


# ---- readings that cannot be -------------------------------------------------------------------


@pytest.mark.parametrize('wrong', [1.0, -1.0, 1e9, np.nan])
def test_an_implausible_sample_in_motion_changes_nothing(wrong):
    clean, spoiled = moving(), moving()
    spoiled.offset = wrong
    for bench in (clean, spoiled):
        bench.tick()
        bench.offset = 0.0
        bench.run(1.0)
    assert told(spoiled) == told(clean)
    assert spoiled.loop.state == 'running'
    status = spoiled.loop.status()
    assert status.readings_refused == 1 and clean.loop.status().readings_refused == 0


@pytest.mark.parametrize(('wrong', 'words'), [
    (1.0, 'rad from the reading'), (1e9, 'expected within its limits'), (np.nan, 'finite'),
])  # fmt: skip
def test_implausible_samples_that_persist_are_a_fault_and_the_arm_rests(wrong, words):
    bench = moving()
    bench.offset = wrong
    bench.run(0.25)
    assert bench.loop.state != 'fault'
    bench.run(0.5)
    assert bench.loop.state == 'fault'
    assert bench.loop.reason.startswith('joint_states: joint = ') and words in bench.loop.reason
    last = bench.commands[-1]
    assert not last.window_velocities[-1].any() and last.window_times[-1] <= 0.5


def test_two_publishers_that_disagree_are_a_fault_and_the_wrong_one_is_never_followed():
    bench = moving()
    for index in range(20):
        bench.offset = 0.5 * (index % 2)
        bench.tick()
    assert bench.loop.state == 'fault' and 'rad from the reading' in bench.loop.reason
    assert np.abs(np.diff(bench.positions)).max() < 0.02


def test_a_start_is_refused_while_readings_are_doubted_and_names_the_reading():
    bench = Bench().run(0.3)
    bench.offset = 1.0
    bench.tick()
    assert 'joint_states: joint = 1.000' in bench.loop.start(bench.now)
    bench.offset = 0.0
    bench.run(1.0)
    assert bench.loop.start(bench.now) == ''


def test_a_reset_waits_until_the_readings_are_good_again():
    bench = moving()
    bench.offset = 1.0
    bench.run(1.0)
    assert bench.loop.state == 'fault'
    bench.offset = 0.0
    bench.tick()
    assert 'joint_states' in bench.loop.reset_estop(bench.now, READY)
    bench.run(0.8)
    assert bench.loop.reset_estop(bench.now, READY) == ''
    assert bench.loop.start(bench.now) == ''


def test_while_two_publishers_disagree_nothing_is_reset_or_started():
    bench = moving()
    for index in range(60):
        bench.offset = 0.3 * (index % 2)
        bench.tick()
    assert bench.loop.state == 'fault'
    for index in range(90):
        bench.offset = 0.3 * (index % 2)
        bench.tick()
        refusal = bench.loop.reset_estop(bench.now, READY)
        assert 'do two nodes publish joint_states?' in refusal
    assert abs(bench.loop._playback.governor.measurement.position[0] - bench.arm[0]) < 0.1


# ---- joint states fall silent -------------------------------------------------------------------


def silenced():
    """Running, then no reading until nothing is published any more."""
    bench = moving()
    bench.silent = True
    bench.run(0.23)
    assert bench.loop.state == 'stale'
    assert 'joint_states: newest is 0.2' in bench.loop.reason
    assert 'expected at most 0.2 s' in bench.loop.reason
    bench.run(1.5)
    return bench, len(bench.commands)


def test_without_joint_states_the_arm_brakes_rests_and_then_nothing_is_published():
    bench, sent = silenced()
    last = bench.commands[-1]
    assert last.stamp < bench.now - 1.0
    assert not last.window_velocities[-1].any()
    # Rested by itself where the last window ended.
    assert bench.arm[0] == pytest.approx(last.window_positions[-1, 0], abs=1e-3)
    bench.run(1.0)
    assert len(bench.commands) == sent


def test_after_silence_the_first_command_follows_a_fresh_reading_and_is_no_jump():
    bench, sent = silenced()
    left = bench.commands[-1].window_positions[-1, 0]
    bench.silent = False
    came_back = bench.now
    bench.run(1.5)
    first = bench.commands[sent]
    assert first.stamp > came_back
    assert first.positions[0] == pytest.approx(left, abs=1e-9) and not first.velocities.any()
    assert bench.loop.state == 'running' and bench.arm[0] > left + 0.05


def test_an_arm_that_was_pushed_during_the_silence_is_not_commanded_until_a_start():
    bench, sent = silenced()
    bench.arm = bench.arm + 0.5
    bench.silent = False
    bench.run(2.0)
    assert len(bench.commands) == sent and bench.loop.state == 'ready'
    assert 'joint stands 0.5' in bench.loop.reason and '~/start' in bench.loop.reason
    at = float(bench.arm[0])
    assert bench.loop.start(bench.now) == ''
    bench.run(1.0)
    assert bench.commands[sent].positions[0] == pytest.approx(at, abs=1e-9)


def silent_then(bench, seconds, elsewhere):
    bench.silent = True
    bench.run(seconds)
    bench.robot.push(np.array([elsewhere]))
    bench.silent = False
    sent = len(bench.commands)
    bench.run(3.0)
    return len(bench.commands) - sent


def test_a_start_while_joint_states_are_silent_moves_no_arm_that_comes_back_elsewhere():
    bench = moving()
    bench.silent = True
    bench.run(3.0)
    assert bench.loop.state == 'stale'
    assert 'stale: joint_states: newest is' in bench.loop.start(bench.now)
    assert silent_then(bench, 12.0, 0.5) == 0
    assert bench.loop.state == 'ready' and '~/start begins' in bench.loop.reason
    assert bench.loop.start(bench.now) == ''
    assert bench.run(2.0).loop.state == 'running'


@pytest.mark.parametrize('by', ['silence', 'pause', 'interlock'])
def test_a_start_that_had_not_begun_when_it_was_held_up_moves_no_arm_that_was_moved_since(by):
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05).started()
    bench.tick()
    assert not bench.commands
    if by == 'silence':
        assert silent_then(bench, 15.0, 0.5) == 0
    else:
        hold = bench.loop.pause if by == 'pause' else lambda now, why: bench.loop.interlock(why)
        hold(bench.now, 'held up')
        bench.run(1.0)
        bench.robot.push(np.array([0.5]))
        bench.run(1.0)
        if by == 'pause':
            bench.loop.resume(bench.now)
        else:
            bench.loop.interlock('')
        bench.run(2.0)
        assert not bench.commands
    assert bench.loop.state == 'ready' and '~/start begins' in bench.loop.reason


def test_a_start_while_a_hand_moves_the_arm_does_not_begin_where_it_is_let_go():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05).started()
    for _ in range(60):
        bench.robot.push(np.array([0.4 * TICK]))
        bench.tick()
    bench.run(1.0)
    assert not bench.commands and bench.loop.state == 'ready'
    assert 'from where it was when it was asked for' in bench.loop.reason
    assert bench.loop.start(bench.now) == '' and bench.run(1.0).loop.state == 'running'


def test_a_start_for_where_the_arm_was_is_refused_where_it_is_not_there_any_more():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05)
    bench.run(0.2)
    place = bench.loop.measured
    bench.robot.push(np.array([0.5]))
    bench.run(1.0)
    assert 'stands 0.500 rad from where it was' in bench.loop.start(bench.now, None, place)
    assert bench.loop.start(bench.now, None, bench.loop.measured) == ''


def test_a_start_that_was_held_up_begins_by_itself_where_the_arm_still_stands():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05).started()
    bench.tick()
    assert silent_then(bench, 2.0, 0.0) > 0
    assert bench.loop.state == 'running'


def test_before_the_first_reading_nothing_starts():
    bench = Bench()
    bench.silent, bench.reading = True, None
    bench.run(0.2)
    assert bench.loop.start(bench.now) == 'no joint states received yet'
    assert bench.commands == []


# ---- a model that does not answer ---------------------------------------------------------------


def test_a_model_that_never_answers_is_named_as_such_and_becomes_a_fault():
    bench = Bench(latency=1e9, starvation_fault_s=3.0).started().run(2.0)
    assert bench.loop.state == 'holding'
    slow = 'the model has been at this pass for '
    assert bench.loop.status().warning.startswith(slow)
    assert bench.loop.reason.startswith(slow)
    bench.run(1.5)
    assert bench.loop.state == 'fault'
    assert bench.loop.reason.startswith(f'no chunk for 3.0 s: {slow}')


def verifying(seconds=0.0, **parameters):
    """A re-run was asked for, and does not come."""
    bench = slowing(**parameters)
    tick_until(bench, rerun_asked_for(bench))
    bench.pending = (*bench.pending[:2], 1e9)
    return bench.run(seconds)


def test_verifying_for_ever_is_a_fault():
    bench = verifying(1.5, starvation_fault_s=2.0)
    assert bench.loop.state == 'verifying'
    bench.run(2.0)
    assert bench.loop.state == 'fault'
    assert bench.loop.reason.startswith('the full pass after a drop of continuity has not come')


def test_a_chunk_says_what_its_pass_was():
    bench = moving(0.5)
    result = bench.policy.predict
    stages = {'encode': 0.5}
    bench.policy.predict = lambda observation, plan: replace(
        result(observation, plan), stage_seconds=stages, instruction='pick'
    )
    bench.run(0.5)
    chunk = bench.deliveries[-1].chunk
    assert chunk.stage_seconds == stages and chunk.instruction == 'pick'
    assert chunk.mode == 'full' and chunk.trace.layers_total == LAYOUT.layers_total
    numbers = [item.chunk.chunk_id for item in bench.deliveries if item.chunk is not None]
    assert numbers == list(range(len(numbers)))


# ---- nothing unverified -------------------------------------------------------------------------


def beyond_the_old_chunk(prefix_policy, jerk_at):
    """Actions played while a re-run is awaited, beyond those of the old chunk."""
    bench = slowing(**{'rerun.prefix_policy': prefix_policy})
    bench.policy.jerk_at = jerk_at
    tick_until(bench, rerun_asked_for(bench))
    bench.pending = (*bench.pending[:2], 1e9)
    path = bench.loop._playback.scheduler._path
    bench.run(1.5)
    assert bench.commands[-1].hold and bench.states[-1] == 'verifying'
    return bench.loop._playback.scheduler.progress - path.end


def test_while_verifying_with_hold_nothing_but_the_old_chunk_is_played():
    """With ``prefix`` the smooth actions before the drop are, where there are any."""
    places = [0.30 + 0.01 * index for index in range(8)]
    held = [beyond_the_old_chunk('hold', at) for at in places]
    assert held == pytest.approx([0.0] * 8, abs=1e-6)
    prefix = [beyond_the_old_chunk('prefix', at) for at in places]
    assert max(prefix) > 0.9 and min(prefix) > -1e-6


def test_of_an_action_that_is_played_in_part_what_is_left_is_verified():
    bench = moving(3.0, latency=0.05)
    parts = [item for item in bench.deliveries if item.accepted and 0.1 < item.played % 1 < 0.9]
    assert len(parts) > 3
    for item in parts:
        assert len(item.continuity) == HORIZON - int(item.played)


def test_the_first_pass_after_a_hold_is_dense():
    policy = PerfectPolicy(goal=FAR, skips=True)
    bench = Bench(policy, latency=0.05, **{'chunk.strategy': 'sync', 'skip.rule': 'level'})
    bench.started().run(4.0)
    assert len(policy.plans) > 4  # each began after its chunk had run out
    assert all(plan.allow == LAYOUT.full_plan().allow for plan in policy.plans)


@pytest.mark.parametrize('how', ['stop', 'estop', 'pause'])
def test_no_opening_is_commanded_while_the_arm_brakes_or_holds(how):
    bench = Bench(PerfectPolicy(goal=FAR)).started().run(1.0)
    assert bench.commands[-1].gripper == 1.0
    before = len(bench.commands)
    getattr(bench.loop, how)(bench.now, 'a person says so')
    bench.run(1.0)
    braking = bench.commands[before:]
    assert any(not command.hold for command in braking)
    assert {command.gripper for command in braking} == {None}


def test_a_prefix_never_moves_a_gripper_that_was_never_commanded():
    """Only a first pass that skipped can meet one: with ``max_skip``."""
    policy = PerfectPolicy(goal=FAR, jerk_at=4 * STEP, skips=True, gripper_at=0.0)
    flat = {'continuity.threshold': 0.05, 'continuity.hysteresis': 0.02, 'skip.mode': 'max_skip',
            'rerun.prefix_policy': 'prefix'}  # fmt: skip
    bench = Bench(policy, latency=0.05, **flat).started()
    tick_until(bench, lambda: bench.deliveries)
    assert bench.deliveries[0].rerun
    bench.pending = (*bench.pending[:2], bench.now + 1.0)
    bench.run(0.9)
    assert bench.states[-1] == 'verifying'
    assert all(command.gripper is None for command in bench.commands)
    assert bench.arm[0] == 0.0
    bench.run(1.0)
    assert bench.commands[-1].gripper == 0.0  # the full pass does


# ---- arming and disarming -----------------------------------------------------------------------


def test_arming_while_the_shadow_moves_ends_it_and_the_arm_begins_where_it_is_by_a_start():
    bench = moving(armed=False)
    assert bench.commands[-1].positions[0] > 0.02 and bench.arm[0] == 0.0
    bench.loop.armed = True
    assert bench.loop.armed
    sent = len(bench.commands)
    bench.run(1.0)
    assert bench.loop.state == 'ready' and bench.loop.reason == 'armed, not started'
    assert len(bench.commands) == sent and bench.arm[0] == 0.0
    assert bench.loop.start(bench.now) == ''
    bench.run(1.0)
    first = bench.commands[sent]
    assert first.positions[0] == pytest.approx(0.0, abs=1e-9) and not first.velocities.any()
    assert bench.arm[0] > 0.02


def test_disarming_ends_the_commands_and_the_shadow_begins_by_a_start():
    bench = moving()
    bench.loop.armed = False
    sent = len(bench.commands)
    bench.run(1.0)
    assert bench.loop.reason == 'disarmed' and len(bench.commands) == sent
    at = float(bench.arm[0])
    assert bench.loop.start(bench.now) == ''
    bench.run(1.0)
    assert bench.commands[sent].positions[0] == pytest.approx(at, abs=1e-4)  # it still settled
    assert bench.commands[-1].positions[0] > at + 0.02
    assert bench.arm[0] == pytest.approx(at, abs=1e-4)


def test_arming_twice_stops_nothing():
    bench = moving()
    epoch = bench.loop.status().epoch
    bench.loop.armed = True
    bench.run(0.2)
    assert bench.loop.state == 'running' and bench.loop.status().epoch == epoch


# ---- stops are levels ---------------------------------------------------------------------------


def test_an_interlock_is_a_level_whatever_was_asked_for_in_between():
    bench = moving()
    bench.loop.interlock('dead-man')
    bench.run(1.0)
    assert bench.loop.state == 'paused' and bench.loop.reason == 'dead-man'
    at = float(bench.commands[-1].window_positions[-1, 0])
    bench.loop.resume(bench.now)
    bench.loop.reset(bench.now, 'new instruction')
    bench.run(0.5)
    bench.loop.stop(bench.now, 'stop')
    bench.run(0.5)
    assert bench.loop.start(bench.now) == 'dead-man'
    bench.run(0.5)
    assert bench.arm[0] == pytest.approx(at, abs=1e-3)
    bench.loop.interlock('')
    bench.run(0.5)
    assert bench.loop.state == 'ready' and bench.arm[0] == pytest.approx(at, abs=1e-3)
    assert bench.loop.start(bench.now) == ''


def test_an_estop_that_is_held_is_not_reset():
    bench = moving()
    bench.loop.hold_estop('pressed')
    bench.loop.estop(bench.now, 'operator')
    bench.run(1.0)
    assert bench.loop.reset_estop(bench.now, READY) == 'pressed'
    bench.loop.hold_estop('')
    assert bench.loop.reset_estop(bench.now, READY) == ''


@pytest.mark.parametrize('ask', ['stop', 'estop', 'pause'])
def test_what_the_model_answers_after_a_stop_is_not_played(ask):
    bench = moving(latency=0.2)
    tick_until(bench, lambda: bench.pending is not None)
    getattr(bench.loop, ask)(bench.now, 'operator')
    epoch, result, _ = bench.pending
    bench.pending = None
    delivery = bench.loop.deliver(epoch, result, bench.now)
    assert not delivery.accepted and delivery.reason.startswith(f'epoch {epoch} ended')
    bench.run(0.4)
    at = float(bench.arm[0])
    bench.run(0.6)
    assert bench.arm[0] == pytest.approx(at, abs=1e-3)


def test_a_stop_rests_in_the_time_that_the_limits_need():
    bench = moving()
    speed = abs(float(bench.commands[-1].velocities[0]))
    assert speed > 0.15
    bench.loop.stop(bench.now, 'operator')
    stopped = bench.now
    bench.run(1.0)
    end = bench.commands[-1]
    at_rest = np.abs(end.window_velocities).max(axis=1) == 0.0
    at_rest &= np.abs(end.window_positions - end.window_positions[-1]).max(axis=1) < 1e-9
    rests_at = float(end.window_times[int(np.argmax(at_rest))])  # what follows is the same place
    assert end.stamp + rests_at <= stopped + speed / 10.0 + 2 * TICK
    assert bench.arm[0] == pytest.approx(end.window_positions[-1, 0], abs=1e-3)


# ---- chunks that cannot be executed -------------------------------------------------------------


def test_three_invalid_chunks_in_a_row_are_a_fault_and_two_are_not():
    bench = moving(0.3)
    good, fast = bench.policy.rows, np.tile([[160.0, 1.0]], (HORIZON, 1))  # 32 rad/s

    def refused():
        return len([item for item in bench.deliveries if 'at most 5 times' in item.reason])

    for two in (2, 4):  # a good one in between: counted anew
        bench.policy.rows = lambda: fast
        tick_until(bench, lambda two=two: refused() >= two)
        bench.policy.rows = good
        bench.run(1.0)
        assert refused() == two and bench.loop.state == 'running'
    bench.policy.rows = lambda: fast
    bench.run(2.0)
    assert refused() == 7 and bench.loop.state == 'fault'
    assert bench.loop.reason == f'3 invalid chunks: {bench.deliveries[-1].reason}'


def test_a_resting_arm_whose_readings_jump_is_not_told_to_hold_elsewhere():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    bench.run(1.0, STALE)
    assert bench.loop.state == 'stale' and bench.commands[-1].stamp == bench.now
    sent = len(bench.commands)
    bench.robot.push(1.5)
    bench.run(0.5, STALE)
    assert len(bench.commands) == sent
    bench.run(1.5)
    first = bench.commands[sent:][:1]
    assert all(abs(command.positions[0] - bench.arm[0]) < 0.1 for command in first)


def test_targets_that_were_moved_inside_the_limits_are_said_with_every_command_and_counted():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05)
    bench.loop.limits = replace(LIMITS, upper=np.array([0.12]))
    bench.started().run(2.0)
    limited = [command for command in bench.commands if command.limited]
    assert len(limited) > 3
    for command in limited:
        assert command.limited == ('position:joint',) and command.reason == 'position:joint'
    status = bench.loop.status()
    assert status.limited == len(limited)
    assert status.last_rejection == 'clamped position:joint'
    assert bench.positions.max() <= 0.12 + 1e-9


# ---- what moves the arm besides us -------------------------------------------------------------


def test_a_fast_motion_that_no_command_asked_for_is_a_fault():
    bench = moving()
    bench.follows = False
    for _ in range(5):
        bench.robot.position = bench.robot.position - 0.09  # 2.7 rad/s, as fast as it can
        bench.tick()
    bench.tick()
    assert bench.loop.state == 'fault'
    assert 'joint moved 0.' in bench.loop.reason
    assert bench.loop.reason.endswith('from every command: somebody else moves the arm')
    bench.run(1.0)
    assert not bench.commands[-1].window_velocities[-1].any()


def test_the_arm_s_own_fast_motion_is_none_of_somebody_else():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05, **{'limits.max_lead': 0.6})
    bench.policy.rows = lambda: np.tile([[12.0, 1.0]], (HORIZON, 1))  # 2.4 rad/s
    bench.started().run(1.1)
    assert bench.positions.max() > 0.8 and bench.loop.state in ('running', 'holding')


# ---- the workspace -----------------------------------------------------------------------------


class Boxed(DeltaPlanner):
    """Below 0.2 rad the tip is in its box."""

    def workspace_problem(self, joints):
        return '' if joints[0] <= 0.2 else 'the tip is outside'

    def may_command(self, joints):
        return not self.workspace_problem(joints)


def boxed(at):
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05)
    bench.loop = ControlLoop(bench.policy, bench.loop.config, LIMITS, Boxed(), armed=True)
    bench.arm = np.array([at])
    return bench.run(0.5)


def test_a_start_outside_the_box_is_refused_and_inside_no_command_leaves_it():
    assert boxed(0.3).loop.start(1.0) == 'the tip is outside'
    bench = boxed(0.0)
    assert bench.loop.start(bench.now) == ''
    bench.run(2.0)
    ends = [command.window_positions.max() for command in bench.commands]
    assert 0.1 < max(ends) <= 0.2 + 1e-9


# ---- a command that does not go out ------------------------------------------------------------


@pytest.mark.parametrize('later', [0.05, 0.2, 0.9])
@pytest.mark.parametrize('asked', ['nothing', 'stop', 'pause'])
def test_a_command_that_did_not_go_out_is_not_what_the_arm_is_believed_to_follow(asked, later):
    """The process was stopped within its tick until the whole window was past."""
    bench = moving(2.0)
    bench.now += TICK
    bench.robot.advance(bench.now)
    if asked != 'nothing':
        getattr(bench.loop, asked)(bench.now, 'operator')
    lost = bench.loop.tick(bench.now, bench.arm, READY, bench.now)
    assert lost is not None and lost is not bench.commands[-1]
    bench.loop.unsent()
    bench.now += later
    bench.robot.advance(bench.now)
    seen = bench.checks.seen
    bench.run(0.2)  # every window begins where the receiver is: see ``Bench``
    assert bench.checks.seen > seen
    bench.loop.resume(bench.now)
    bench.run(1.0)
    bench.loop.start(bench.now)
    bench.run(1.0)
    assert bench.loop.state == 'running'


# ---- what nobody may do after it ---------------------------------------------------------------


def test_one_wrong_reading_after_a_gap_is_not_where_a_motion_begins():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05)
    bench.run(0.5)
    assert bench.loop.start(bench.now) == ''
    bench.now += 0.45
    bench.robot.advance(bench.now)
    bench.offset = 1.0
    bench.tick()
    bench.offset = 0.0
    bench.run(2.0)
    assert all(abs(command.positions[0]) < 0.5 for command in bench.commands)


def test_after_an_estop_the_command_gives_way_to_where_the_arm_is_and_follows_no_further():
    bench = Bench(PerfectPolicy(goal=FAR), latency=0.05).started().run(1.0)
    bench.follows = False
    tick_until(bench, lambda: bench.loop.state == 'fault')
    bench.loop.estop(bench.now, 'operator')
    bench.tick()
    at = float(bench.arm[0])
    for _ in range(40):
        bench.robot.push(np.array([-0.005]))
        bench.tick()
    last = bench.commands[-1]
    assert last.hold and last.positions[0] == pytest.approx(at, abs=0.011)
