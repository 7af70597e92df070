"""``~/home``: a slow, judged motion through the governor that every stop stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from seeds import first
from test_control_loop import LIMITS, READY, STALE, Bench, PerfectPolicy
from test_control_loop_fuzz import act

HOME = {'home.positions': [0.8], 'home.velocity_scale': 0.1}
SLOW = 0.1 * LIMITS.velocity[0]


def homing(seconds=1.0, **flat):
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05, **{**HOME, **flat})
    bench.run(0.2)
    assert bench.loop.home(bench.now) == ''
    bench.run(seconds)
    assert bench.loop.state == 'homing', bench.loop.reason
    return bench


def fastest(bench):
    return max(np.abs(command.window_velocities).max() for command in bench.commands)


def rests(bench):
    at = float(bench.arm[0])
    return abs(float(bench.run(1.0).arm[0]) - at) < 1e-3


@pytest.mark.parametrize('armed', [True, False])
def test_the_joints_move_slowly_to_the_stated_pose_and_then_it_is_ready(armed):
    bench = Bench(armed=armed, **HOME).run(0.2)
    assert bench.loop.home(bench.now) == ''
    bench.run(4.0)
    assert (bench.loop.state, bench.loop.reason) == ('ready', 'at home.positions')
    assert bench.commands[-1].positions == pytest.approx([0.8], abs=1e-6)
    assert bench.arm == pytest.approx([0.8 if armed else 0.0], abs=1e-3)
    assert 0.5 * SLOW < fastest(bench) <= SLOW * (1 + 1e-6)
    states = set(bench.states)
    assert states == {'ready', 'homing'}
    sent = len(bench.commands)
    assert len(bench.run(1.0).commands) == sent  # silent again


def test_on_the_way_no_pass_runs_and_nothing_counts_as_an_action():
    bench = homing(2.0)
    assert bench.policy.plans == [] and not bench.loop.wants_pass(bench.now)
    status = bench.loop.status()
    assert (status.actions_played, status.commands, status.continuity) == (0, 0, None)
    bench.run(3.0)
    assert bench.loop.start(bench.now) == ''
    bench.run(2.0)
    played = bench.loop.status().actions_played
    assert bench.loop.state == 'running' and 20 < played <= 42


def test_on_the_way_no_gripper_is_told_what_a_run_of_before_wanted():
    """Least of all what only the shadow was told."""
    bench = Bench(PerfectPolicy(goal=0.6, gripper_at=0.0), latency=0.05, armed=False, **HOME)
    bench.started().run(2.0)
    assert bench.commands[-1].gripper == 0.0 and not bench.commands[-1].armed
    bench.loop.stop(bench.now, 'operator')
    bench.run(1.0)
    bench.loop.armed = True
    bench.run(0.5)
    sent = len(bench.commands)
    assert bench.loop.home(bench.now) == ''
    bench.run(2.0)
    assert bench.commands[sent:] and bench.commands[sent].armed
    assert {command.gripper for command in bench.commands[sent:]} == {None}


def test_a_pass_that_began_before_is_not_played_on_the_way():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.3, **HOME).started().run(0.3)
    assert bench.pending is not None
    bench.loop.stop(bench.now, 'stopped')
    bench.run(0.1)
    assert bench.loop.home(bench.now) == ''
    bench.run(1.0)
    assert bench.deliveries and not any(item.accepted for item in bench.deliveries)


@pytest.mark.parametrize(
    ('stop', 'state'),
    [
        (lambda loop, now: loop.stop(now, 'stopped by ~/stop'), 'ready'),
        (lambda loop, now: loop.pause(now, 'paused'), 'paused'),
        (lambda loop, now: loop.estop(now, 'estop topic'), 'e-stop'),
        (lambda loop, now: loop.fault(now, 'contact'), 'fault'),
        (lambda loop, now: loop.interlock('dead-man'), 'paused'),
    ],
)
def test_whatever_stops_a_run_stops_the_way_home(stop, state):
    bench = homing()
    stop(bench.loop, bench.now)
    begin = float(bench.arm[0])
    bench.run(0.6)
    assert bench.loop.state == state and rests(bench)
    assert begin < bench.arm[0] < begin + SLOW * 0.3


def test_inputs_that_go_stale_stop_it_and_it_goes_on_when_they_are_back():
    bench = homing()
    bench.run(1.0, STALE)
    assert bench.loop.state == 'stale' and bench.arm[0] < 0.6
    bench.run(6.0, READY)
    assert bench.loop.reason == 'at home.positions' and bench.arm == pytest.approx([0.8], abs=1e-3)


def test_after_a_pause_it_goes_on_and_after_a_stop_it_does_not():
    bench = homing()
    bench.loop.pause(bench.now, 'paused')
    bench.run(1.0)
    bench.loop.resume(bench.now)
    bench.run(5.0)
    assert bench.arm == pytest.approx([0.8], abs=1e-3)
    bench = homing()
    bench.loop.stop(bench.now, 'stopped')
    bench.run(3.0)
    assert bench.arm[0] < 0.6 and bench.loop.state == 'ready'


@pytest.mark.parametrize(('before', 'after'), [(1.0, 0.1), (0.1, 1.0)])
def test_a_velocity_scale_that_changes_on_the_way_home_counts_for_what_is_left_of_it(
    before, after
):
    bench = Bench(PerfectPolicy(goal=5.0), **{**HOME, 'home.positions': [1.5]}).run(0.2)
    bench.loop.limits = replace(bench.loop.limits, velocity=before * LIMITS.velocity)
    assert bench.loop.home(bench.now) == ''
    bench.run(1.5)
    bench.loop.limits = replace(bench.loop.limits, velocity=after * LIMITS.velocity)
    sent = len(bench.run(0.5).commands)
    bench.run(0.5)
    speeds = [abs(command.velocities[0]) for command in bench.commands[sent:]]
    assert 0.9 * after * SLOW < max(speeds) <= after * SLOW * (1 + 1e-6)
    bench.run(60.0 if after < before else 8.0)
    assert bench.loop.reason == 'at home.positions'


@pytest.mark.parametrize('estopped', [False, True])
def test_a_velocity_scale_that_changes_after_a_fault_on_the_way_home_moves_nothing(estopped):
    bench = homing(1.0)
    bench.follows = False  # blocked: the command leads, and gives way to where the arm is
    while bench.loop.state != 'fault':
        bench.tick()
    stands = float(bench.arm[0])
    if estopped:
        bench.loop.estop(bench.now, 'estop topic')
    for scale in (0.5, 1.0):
        bench.loop.limits = replace(bench.loop.limits, velocity=scale * LIMITS.velocity)
        bench.run(0.2)
    bench.follows = True
    bench.run(2.0)
    assert float(bench.arm[0]) <= stands + LIMITS.max_lead[0]
    assert rests(bench)


def test_a_start_on_the_way_takes_over_at_rest():
    bench = homing()
    assert bench.loop.start(bench.now) == ''
    bench.run(2.0)
    assert bench.loop.state == 'running' and bench.loop.status().actions_played > 10


def test_while_something_plays_or_is_latched_it_is_refused():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05, **HOME).started().run(0.5)
    assert bench.loop.home(bench.now) == 'state is running: ~/stop comes first'
    bench.loop.estop(bench.now, 'estop topic')
    bench.run(0.5)
    assert bench.loop.home(bench.now) == 'e-stop: estop topic; reset it first'


def test_without_a_home_and_without_a_reading_it_is_refused():
    bench = Bench().run(0.2)
    assert bench.loop.home(bench.now).startswith('home.positions = (): expected the joint pos')
    bench = Bench(**HOME)
    assert bench.loop.home(bench.now) == 'no joint states received yet'
    bench.run(0.2).loop.interlock('dead-man')
    assert bench.loop.home(bench.now) == 'dead-man'


def test_a_way_that_the_planner_refuses_is_refused_with_its_reason():
    bench = Bench(**HOME).run(0.2)
    seen = []
    bench.loop._planner.way_problem = lambda rows: seen.append(rows) or 'action 2 moves a into b'
    assert bench.loop.home(bench.now) == 'on the way to home.positions, action 2 moves a into b'
    assert seen[0][0] == pytest.approx([0.0], abs=1e-3) and seen[0][-1] == pytest.approx([0.8])
    assert np.abs(np.diff(seen[0], axis=0)).max() <= 0.1 + 1e-9
    bench.run(0.5)
    assert bench.commands == [] and bench.loop.state == 'ready'


def test_an_arm_that_was_moved_beside_the_judged_way_is_not_moved():
    bench = Bench(**HOME).run(0.5)
    assert bench.loop.home(bench.now) == ''
    bench.arm = [-0.08]
    bench.run(2.0)
    assert bench.loop.state == 'ready' and bench.arm == pytest.approx([-0.08])
    assert bench.loop.reason == (
        'the arm stands beside the way home that was judged: ask for ~/home again'
    )


@pytest.mark.parametrize('restarted', [False, True])
@pytest.mark.parametrize('request_', ['start', 'home'])
def test_after_a_restart_of_the_controller_whatever_begins_begins_where_it_holds_the_arm(
    request_, restarted
):
    """It knows no last command, however near the arm stands to that."""
    bench = homing()
    bench.loop.stop(bench.now, 'the controller was started again')
    bench.run(1.0)
    last, silent = bench.commands[-1].window_positions[-1], len(bench.commands)
    bench.arm = bench.arm - 0.03
    bench.run(0.2)
    if restarted:
        bench.loop.controller_restarted()
    assert getattr(bench.loop, request_)(bench.now) == ''
    bench.run(1.0)
    first = bench.commands[silent].positions
    assert first == pytest.approx(last - 0.03 if restarted else last, abs=1e-3)


def test_an_arm_that_was_moved_far_while_paused_is_not_moved():
    bench = homing()
    bench.loop.pause(bench.now, 'paused')
    bench.run(1.5)
    bench.arm = [-0.6]
    bench.run(1.5)
    bench.loop.resume(bench.now)
    bench.run(2.0)
    assert bench.loop.state == 'ready' and bench.arm == pytest.approx([-0.6])


def test_who_stands_at_home_stays_there():
    bench = Bench(**HOME)
    bench.arm = [0.8]
    bench.run(0.2)
    assert bench.loop.home(bench.now) == ''
    bench.run(1.0)
    assert bench.loop.reason == 'at home.positions' and bench.arm == pytest.approx([0.8])


def test_a_blocked_way_home_is_a_fault():
    bench = homing()
    bench.follows = False
    bench.run(5.0)
    assert bench.loop.state == 'fault' and 'behind its command' in bench.loop.reason


def test_an_endless_joint_goes_home_by_the_shorter_way():
    bench = Bench(**{**HOME, 'home.positions': [3.0]})
    way = bench.loop._playback.straight_way(np.array([-3.0]), np.array([3.0]))
    assert way[-1] == pytest.approx([3.0])
    endless = np.full(1, np.inf)
    bench.loop.limits = replace(LIMITS, lower=-endless, upper=endless)
    way = bench.loop._playback.straight_way(np.array([-3.0]), np.array([3.0]))
    assert way[-1] == pytest.approx([3.0 - 2 * np.pi])


@pytest.mark.parametrize('ten', first(4, 1))
def test_whatever_happens_on_the_way_no_window_breaks_a_limit_and_none_jumps(ten):
    ways = 0
    for seed in range(10 * ten, 10 * ten + 10):
        rng = np.random.default_rng(seed)
        policy = PerfectPolicy(goal=float(rng.uniform(-1.5, 1.5)), skips=True)
        home = {'home.positions': [float(rng.uniform(-1, 1))], 'home.velocity_scale': 0.3}
        bench = Bench(policy, latency=0.05, **home).run(0.3)
        for _ in range(6):
            if bench.loop.state in ('e-stop', 'fault'):
                bench.run(0.6)
                bench.loop.reset_estop(bench.now, READY)
            bench.loop.stop(bench.now, 'stopped')
            ways += bench.loop.home(bench.now) == ''
            bench.run(float(rng.uniform(0.0, 1.5)))
            act(bench, rng)  # of the arm, of people, of inputs, of clocks
        bench.run(1.0)
        assert bench.checks.seen > 15, seed
    assert ways > 40


# ---- slow motion is motion ----------------------------------------------------------------------


@pytest.mark.parametrize('share', [0.01, 0.003, 0.001])
def test_a_way_home_is_gone_however_slowly(share):
    home = {'home.positions': [0.8], 'home.velocity_scale': 0.1, 'limits.velocity_scale': 1.0}
    bench = Bench(**home)
    bench.loop.limits = replace(
        bench.loop.limits, velocity=10 * share * bench.loop.limits.velocity
    )
    bench.run(0.2)
    assert bench.loop.home(bench.now) == ''
    bench.run(10.0)
    wanted = min(0.8, 10.0 * share * LIMITS.velocity[0])
    assert bench.arm[0] == pytest.approx(wanted, rel=0.05) and bench.loop.state == 'homing'


def test_an_arm_that_is_moved_slowly_by_us_was_moved_by_nobody():
    bench = Bench(latency=0.05, **{'start_max_jump_rad': 0.01})
    bench.loop.limits = replace(bench.loop.limits, velocity=np.array([8e-4]))
    bench.started().run(18.0)
    assert bench.arm[0] > 0.012
    assert bench.loop.state in ('running', 'holding'), bench.loop.reason


def test_of_an_arm_that_is_held_short_of_home_it_is_not_said_that_it_is_there():
    bench = homing(1.0)
    while bench.arm[0] < 0.72:
        bench.tick()
    bench.follows = False  # a hand holds it
    bench.run(4.0)
    assert bench.loop.state == 'ready'
    assert bench.loop.reason.startswith('told to be at home.positions, but joint stands 0.0')
