"""The control loop: alignment, re-runs, epochs, stops; with a perfect-plan policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from motion_checks import LaggingArm, WindowChecks

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.chunk_desk import Placed
from dysl_vla_ros.config import NodeConfig, from_flat
from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.run_state import InputStatus
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Jump, LayerLayout, LayerTrace, Observation
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.motion import ChunkPlan

READY = InputStatus(True)
STALE = InputStatus(False, 'image: 0.6 s old, timeout.image_s = 0.5')
HORIZON = 8
PERIOD = 0.05
STEP = 0.01
TICK = 1 / 30
LAYOUT = LayerLayout(6, (0, 3, 5))


@dataclass(frozen=True)
class FakePass:
    stamp: float
    normalised: np.ndarray
    mode: str
    trace: LayerTrace
    instruction: str = 'go'
    stage_seconds: dict = field(default_factory=dict)
    changed: bool = False


@dataclass(frozen=True)
class FakeAction:
    gripper: bool = True
    period_s: float = PERIOD
    horizon: int = HORIZON


@dataclass(frozen=True)
class FakeManifest:
    action: FakeAction = FakeAction()
    layout: LayerLayout = LAYOUT
    calibration: CalibrationSpec = CalibrationSpec(
        eta=0.1, window=5, threshold=0.5, hysteresis=0.2, weights=(1.0, 1.0)
    )


class PerfectPolicy:
    """Emits one joint delta per action toward a goal, in units of one step, and a gripper.

    ``jerk_at`` puts a jump of the displacement (a drop of continuity) at that position.
    """

    manifest = FakeManifest()

    def __init__(self, goal=0.6, gripper_at=None, jerk_at=None, skips=False):
        self.goal = goal
        self.gripper_at = gripper_at
        self.jerk_at = jerk_at
        self.skips = skips
        self.plans = []
        self.reruns = 0
        self.reference = 0.0

    def rows(self):
        position, rows = self.reference, []
        for _ in range(HORIZON):
            delta = np.clip(self.goal - position, -STEP, STEP)
            sign = 1.0
            if self.jerk_at is not None and self.jerk_at <= position < self.jerk_at + 1.5 * STEP:
                sign = 0.05
            position += delta * sign
            closed = self.gripper_at is not None and position >= self.gripper_at
            rows.append([delta * sign / STEP, 0.0 if closed else 1.0])
        return np.array(rows)

    def predict(self, observation, plan):
        self.plans.append(plan)
        self.reference = float(observation.joints[0])
        jumps = ()
        if self.skips and plan.allow != LAYOUT.full_plan().allow:
            jumps = (Jump(1, 3),)
        trace = LayerTrace(
            (0, 3, 4, 5) if jumps else tuple(range(6)),
            6,
            jumps=jumps,
            resume_layer=1 if jumps else None,
        )
        return FakePass(observation.stamp, self.rows(), 'skipped' if jumps else 'full', trace)

    def rerun(self, first):
        self.reruns += 1
        trace = LayerTrace((1, 2, 3, 4, 5), 6)
        return FakePass(first.stamp, first.normalised, 'rerun', trace)

    compare = predict


class DeltaPlanner:
    """One joint; action = (delta in steps, gripper)."""

    from_commanded = True

    def actions(self, normalised):
        return normalised * np.array([STEP, 1.0])

    def targets(self, actions, start):
        return np.vstack([start, start + np.cumsum(actions[:, :1], axis=0)])

    def displacements(self, actions, normalised, start):
        return normalised


LIMITS = MotionLimits(('joint',), [-2.0], [2.0], [3.0], acceleration=10.0, max_lead=0.3)


class Bench:
    """A loop, an arm that lags, and a policy that takes ``latency`` seconds.

    Every window is checked as it is published; ``follows = False`` blocks the arm, ``silent``
    keeps its readings back, ``offset`` spoils them.
    """

    def __init__(self, policy=None, latency=0.0, armed=True, lag=0.1, **parameters):
        self.policy = policy or PerfectPolicy()
        config = from_flat(parameters) if parameters else NodeConfig()
        limits = replace(LIMITS, max_lead=config.safety.max_lead)
        self.loop = ControlLoop(self.policy, config, limits, DeltaPlanner(), armed=armed)
        self.latency = latency
        self.now = 0.0
        self.robot = LaggingArm(np.zeros(1), lag)
        self.commands = []
        self.told = False
        self.deliveries = []
        self.states = []
        self.pending = None
        self.follows = True
        self.silent = False
        self.offset = 0.0
        self.reading = np.zeros(1)
        self.measured_at = 0.0
        self.checks = WindowChecks(limits, rest=config.safety.rest_s)

    @property
    def arm(self):
        return self.robot.position

    @arm.setter
    def arm(self, position):
        self.robot.push(np.asarray(position, float) - self.robot.position)

    def tick(self, inputs=READY):
        self.now += TICK
        if self.follows:
            self.robot.advance(self.now)
        else:
            self.robot.time = self.now
        if not self.silent:
            self.reading, self.measured_at = self.robot.position + self.offset, self.now
        command = self.loop.tick(self.now, self.reading, inputs, self.measured_at)
        self.states.append(self.loop.state)
        if command is None:
            told_to_rest(self)
        else:
            self.checks.check(command, self.loop.limits)
            self.commands.append(command)
            self.told = True
            if self.loop.armed:
                self.robot.command(command)
        self.infer()

    def infer(self):
        if self.pending is None and self.loop.wants_pass(self.now):
            # A perfect plan knows where the arm is told to be; a lag would make it overshoot.
            joints = self.robot.desired if self.follows else self.arm
            observation = Observation(self.now, {}, joints.copy(), 1.0, 'go')
            epoch, result = self.loop.predict(observation)
            self.pending = (epoch, result, self.now + self.latency)
        while self.pending is not None and self.now >= self.pending[2]:
            epoch, result, _ = self.pending
            delivery = self.loop.deliver(epoch, result, self.now)
            self.deliveries.append(delivery)
            self.pending = None
            if delivery.rerun:
                self.pending = (epoch, self.loop.rerun(result), self.now + self.latency)

    def run(self, seconds, inputs=READY):
        for _ in range(round(seconds / TICK)):
            self.tick(inputs)
        return self

    def started(self):
        self.tick()
        assert self.loop.start(self.now) == ''
        return self

    @property
    def positions(self):
        return np.array([command.positions[0] for command in self.commands])


def told_to_rest(bench):
    """Where it falls silent the last window ends: whoever got it follows it to there."""
    bench.checks.restart()
    left, told, bench.told = bench.loop._playback.governor.left, bench.told, False
    if told and left is not None:
        assert bench.commands[-1].window_positions[-1] == pytest.approx(left, abs=1e-9)


def test_a_pass_whose_instruction_was_read_before_a_new_one_came_is_dropped():
    bench = Bench(PerfectPolicy(goal=5.0)).started().run(1.0)
    while not bench.loop.wants_pass(bench.now):
        bench.now += TICK
        bench.loop.tick(bench.now, bench.arm, READY, bench.now)
    epoch = bench.loop.epoch
    seen = Observation(bench.now, {}, bench.arm.copy(), 1.0, 'put it into the red bowl')
    bench.loop.reset(bench.now, 'put it into the blue bowl')
    began, result = bench.loop.predict(seen, epoch)
    assert began == epoch and not bench.loop.deliver(began, result, bench.now).accepted


@pytest.mark.parametrize(
    'chunks', [1.0, *(pytest.param(late, marks=pytest.mark.slow) for late in (0.0, 0.5, 2.0))]
)
def test_a_perfect_plan_reaches_its_goal_with_at_most_one_action_of_overshoot(chunks):
    bench = Bench(latency=chunks * HORIZON * PERIOD).started().run(25.0)
    assert bench.positions.max() <= 0.6 + STEP
    assert bench.arm[0] == pytest.approx(0.6, abs=STEP)


def test_with_a_short_latency_the_arm_hardly_ever_holds():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.1).started().run(3.5)
    status = bench.loop.status()
    assert status.holds / status.commands < 0.1
    assert status.actions_played / status.seconds_running > 0.9 / PERIOD


def test_nothing_is_published_before_start():
    bench = Bench().run(1.0)
    assert bench.commands == [] and bench.loop.state == 'ready'


def test_every_window_ends_at_rest_within_half_a_second():
    bench = Bench(latency=0.1).started().run(3.0)
    for command in bench.commands:
        assert not command.window_velocities[-1].any()
        assert command.window_times[-1] <= 0.5
        assert (np.diff(command.window_times) > 0).all()


def test_the_first_pass_is_full_and_later_ones_may_skip():
    policy = PerfectPolicy(goal=5.0, skips=True)
    Bench(policy, latency=0.05, **{'skip.rule': 'level'}).started().run(1.5)
    assert policy.plans[0].allow == LAYOUT.full_plan().allow
    assert policy.plans[-1].allow != LAYOUT.full_plan().allow


def slowing(**parameters):
    policy = PerfectPolicy(goal=5.0, jerk_at=0.3, skips=True)
    flat = {
        'continuity.threshold': 0.05,
        'continuity.hysteresis': 0.02,
        'skip.rule': 'level',
        **parameters,
    }
    return Bench(policy, latency=0.1, **flat).started()


def test_a_drop_in_a_skipped_chunk_is_rerun_before_any_of_its_actions_is_played():
    bench = slowing()
    while not any(item.rerun for item in bench.deliveries):
        bench.tick()
    while bench.loop.in_flight:
        assert bench.loop.state in ('running', 'verifying')
        bench.tick()
    rerun, full = bench.deliveries[-2:]
    assert rerun.rerun and not rerun.accepted
    assert full.accepted and full.chunk.mode == 'rerun'
    assert bench.loop.status().reruns == 1


def test_while_verifying_the_arm_holds_once_the_old_chunk_has_run_out():
    bench = slowing()
    bench.run(0.5)
    bench.latency = 0.1
    while not any(item.rerun for item in bench.deliveries):
        bench.tick()
    bench.pending = (*bench.pending[:2], bench.now + 2.0)
    bench.run(1.0)
    assert bench.states[-1] == 'verifying'
    assert bench.commands[-1].hold


def test_with_prefix_the_arm_plays_up_to_one_action_before_the_drop():
    played = {}
    for prefix_policy in ('hold', 'prefix'):
        bench = slowing(**{'rerun.prefix_policy': prefix_policy})
        while not any(item.rerun for item in bench.deliveries):
            bench.tick()
        bench.pending = (*bench.pending[:2], bench.now + 0.8)
        delivery = bench.deliveries[-1]
        bench.run(0.7)
        played[prefix_policy] = float(bench.arm[0])
    assert played['prefix'] >= played['hold']
    assert played['prefix'] < 0.3 + STEP
    assert delivery.drop_index is not None


@pytest.mark.parametrize(('closes_at', 'limit'), [(0, None), (2, 2), (7, 4)])
def test_a_prefix_ends_before_the_first_action_that_moves_the_gripper(closes_at, limit):
    bench = Bench(**{'rerun.prefix_policy': 'prefix'}).started().run(0.2)
    gripper = np.where(np.arange(HORIZON) >= closes_at, 0.0, 1.0)
    plan = ChunkPlan(*[np.zeros((HORIZON, 1))] * 3, gripper, ())
    placed = Placed(0.0, plan, bench.deliveries[-1].chunk)
    prefix = bench.loop._desk._smooth_prefix(placed, drop_index=5)
    assert (None if prefix is None else prefix[1]) == limit


def test_nothing_is_rerun_when_nothing_was_skipped():
    policy = PerfectPolicy(goal=5.0, jerk_at=0.3, skips=False)
    flat = {'continuity.threshold': 0.05, 'continuity.hysteresis': 0.02}
    bench = Bench(policy, latency=0.1, **flat).started().run(4.0)
    assert policy.reruns == 0 and bench.arm[0] > 0.3


def test_a_chunk_of_an_older_epoch_is_dropped():
    bench = Bench(latency=0.3).started().run(0.2)
    assert bench.pending is not None
    bench.loop.reset(bench.now, 'new instruction')
    bench.run(0.3)
    first = bench.deliveries[0]
    assert not first.accepted and first.reason.startswith('epoch')


def test_a_new_instruction_brakes_re_anchors_and_starts_with_a_full_pass():
    policy = PerfectPolicy(goal=5.0, skips=True)
    bench = Bench(policy, latency=0.05).started().run(1.0)
    before = len(policy.plans)
    bench.loop.reset(bench.now, 'new instruction')
    bench.run(0.5)
    assert policy.plans[before].allow == LAYOUT.full_plan().allow


def test_stale_inputs_bring_the_arm_to_rest_and_it_goes_on_when_they_are_back():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    bench.run(0.3, STALE)
    assert bench.loop.state == 'stale'
    told = float(bench.positions[-1])
    bench.run(0.5, STALE)
    assert bench.positions[-1] == told and bench.commands[-1].stamp == bench.now
    bench.run(1.5)
    assert bench.loop.state == 'running' and bench.arm[0] > told + 0.1


def paused():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    bench.loop.pause(bench.now, 'operator')
    bench.run(2.0)
    sent = len(bench.commands)
    bench.run(0.5)
    assert len(bench.commands) == sent
    return bench, bench.commands[-1].positions[0], sent


def test_pause_brakes_then_falls_silent_and_resume_goes_on_from_the_last_command():
    bench, told, sent = paused()
    bench.arm = bench.arm + 0.01  # the joints give way a little: within one period's way
    bench.run(0.2)
    bench.loop.resume(bench.now)
    bench.run(1.0)
    assert bench.commands[sent].positions[0] == told
    assert bench.loop.state == 'running'


def test_twelve_pauses_do_not_let_a_sagging_arm_creep():
    bench = Bench(PerfectPolicy(goal=0.2), latency=0.05).started().run(3.0)
    for _ in range(12):
        bench.loop.pause(bench.now, 'operator')
        bench.run(1.5)
        bench.arm = np.array([0.19])  # it sags as soon as nobody holds it
        bench.run(0.2)
        bench.loop.resume(bench.now)
        bench.run(0.5)
    assert bench.commands[-1].positions[0] == pytest.approx(0.2, abs=1e-6)


def test_an_arm_that_was_moved_a_little_begins_where_it_is_and_walks_back():
    bench, told, sent = paused()
    bench.loop.limits = replace(LIMITS, velocity=np.array([0.6]))  # 0.02 rad per period
    bench.arm = bench.arm + 0.08
    bench.run(0.6)
    bench.loop.resume(bench.now)
    bench.policy.goal = told
    at = bench.arm[0]
    bench.run(1.5)
    assert bench.commands[sent].positions[0] == pytest.approx(at, abs=1e-9)
    assert bench.commands[-1].positions[0] == pytest.approx(told, abs=1e-6)


def test_an_arm_that_was_moved_far_is_not_commanded_until_a_start_from_where_it_is():
    bench, told, sent = paused()
    bench.arm = bench.arm + 0.2
    bench.run(0.6)
    bench.loop.resume(bench.now)
    bench.run(1.0)
    assert len(bench.commands) == sent
    assert bench.loop.state == 'ready'
    assert 'joint stands 0.2' in bench.loop.reason and '~/start' in bench.loop.reason
    assert bench.loop.start(bench.now) == ''
    at = bench.arm[0]
    bench.run(0.5)
    assert bench.commands[sent].positions[0] == pytest.approx(at, abs=1e-9)


def test_an_estop_decelerates_holds_and_needs_a_reset_and_a_start():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    speed = np.diff(bench.positions)[-1]
    bench.loop.estop(bench.now, 'operator')
    bench.run(0.7)
    steps = np.diff(bench.positions)
    assert steps.max() <= speed * 1.05 and steps[-1] == pytest.approx(0.0, abs=1e-9)
    assert bench.loop.state == 'e-stop'
    assert bench.loop.start(bench.now) != ''
    assert bench.loop.reset_estop(bench.now, READY) == ''
    bench.run(0.1)
    assert bench.loop.state == 'ready'


def test_a_snapshot_says_what_is_played_how_smooth_it_was_and_how_far_the_arm_is_behind():
    before = Bench().run(0.2).loop.status()
    assert (before.continuity, before.gripper, before.lead) == (None, None, None)
    bench = Bench(PerfectPolicy(goal=5.0, gripper_at=0.1), latency=0.05).started().run(2.0)
    status = bench.loop.status()
    assert status.continuity == pytest.approx(0.0, abs=0.05)
    assert status.gripper == 0.0 and 0 < status.queue_depth <= HORIZON
    assert 0.0 < status.lead < 0.05 and status.latency == pytest.approx(0.05, abs=TICK)


def test_each_delivery_says_how_many_actions_the_loop_had_played():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(2.0)
    told = [delivery.actions_played for delivery in bench.deliveries]
    assert told[0] == 0 and told == sorted(told)
    played = bench.loop.status().actions_played
    assert played - HORIZON <= told[-1] <= played and told[-1] > 20


def test_nan_from_the_model_is_an_estop():
    policy = PerfectPolicy(goal=5.0)
    bench = Bench(policy, latency=0.05).started().run(0.5)
    policy.rows = lambda: np.full((HORIZON, 2), np.nan)
    bench.run(0.7)
    assert bench.loop.state == 'e-stop'
    assert 'nan: expected finite' in bench.loop.status().reason


def test_an_engine_error_leaves_no_pass_in_flight():
    policy = PerfectPolicy()
    bench = Bench(policy).started()

    def fail(observation, plan):
        raise EngineError('device lost')

    policy.predict = fail
    with pytest.raises(EngineError):
        bench.run(0.2)
    assert not bench.loop.in_flight


def test_an_old_observation_is_refused_with_its_age_and_the_limit():
    bench = Bench(latency=1.2).started().run(1.5)
    assert 'max_observation_age_s = 1' in bench.deliveries[0].reason


def test_the_command_waits_for_a_blocked_arm_then_it_is_a_fault_that_gives_way():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05, **{'limits.max_lead': 0.1}).started()
    bench.run(0.5)
    bench.follows = False
    sent = len(bench.commands)
    bench.run(1.8)
    leads = [abs(command.positions[0] - bench.arm[0]) for command in bench.commands[sent:]]
    assert 0.07 < max(leads) <= 0.1
    assert 'the arm is blocked' in bench.loop.status().warning
    bench.run(3.0)
    assert bench.loop.state == 'fault' and 'joint is 0.0' in bench.loop.reason
    # Nothing is sprung on whatever holds the arm: the command has walked back to it.
    assert bench.commands[-1].positions[0] == pytest.approx(bench.arm[0], abs=1e-6)


def test_an_arm_that_is_pushed_away_in_motion_is_let_go_and_waits_for_a_start():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    bench.follows = False
    sent = len(bench.commands)
    for _ in range(24):
        bench.robot.position = bench.robot.position - 0.01
        bench.tick()
    bench.run(1.0)
    assert bench.loop.state == 'ready'
    assert 'joint was moved 0.1' in bench.loop.reason and '~/start' in bench.loop.reason
    # It brakes where it is, and then nothing more is sent: nothing is sprung on the hand.
    assert bench.commands[-1].positions[0] < bench.commands[sent].positions[0] + 0.06
    assert bench.commands[-1].stamp < bench.now - 0.8


def test_after_a_push_a_start_begins_where_the_arm_was_put_and_goes_on():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    bench.loop.pause(bench.now, 'operator')
    bench.run(0.5)
    for _ in range(30):
        bench.robot.push(-0.01)
        bench.tick()
    bench.run(0.5)
    bench.loop.resume(bench.now)
    bench.run(0.5)
    assert bench.loop.state == 'ready'
    assert bench.loop.start(bench.now) == ''
    bench.run(1.5)
    assert bench.loop.state == 'running'


def test_an_arm_that_somebody_else_drives_is_a_fault():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05).started().run(1.0)
    bench.follows = False
    for _ in range(12):
        bench.robot.position = bench.robot.position - 0.04
        bench.tick()
    assert bench.loop.state == 'fault' and 'somebody else moves the arm' in bench.loop.reason


def test_an_arm_that_is_pushed_at_rest_is_let_go_too():
    bench = Bench(PerfectPolicy(goal=0.1), latency=0.05).started().run(2.0)
    bench.follows = False
    bench.policy.rows = lambda: np.zeros((HORIZON, 2))
    for _ in range(20):
        bench.robot.position = bench.robot.position + 0.01
        bench.tick()
    bench.run(1.0)
    assert bench.loop.state == 'ready' and 'was moved' in bench.loop.reason


def test_starvation_counts_once_and_becomes_a_fault():
    bench = Bench(latency=100.0, **{'starvation_fault_s': 2.0}).started().run(1.0)
    assert bench.loop.status().starvations == 1
    bench.run(1.5)
    assert bench.loop.state == 'fault'


def test_in_shadow_each_chunk_starts_from_the_measured_joints():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05, armed=False)
    bench.follows = False
    bench.started().run(2.0)
    assert bench.loop.state == 'running'
    assert max(abs(c.positions[0] - bench.arm[0]) for c in bench.commands) < HORIZON * STEP


def test_the_sync_strategy_waits_until_the_chunk_was_played():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.1, **{'chunk.strategy': 'sync'}).started()
    bench.run(3.0)
    assert bench.loop.status().holds > 0.1 * bench.loop.status().commands
    assert all(item.played < 0.5 for item in bench.deliveries)


def test_a_chunk_that_is_too_fast_for_a_joint_is_played_slower_instead_of_clipped():
    bench = Bench(PerfectPolicy(goal=5.0), latency=0.05)
    bench.loop.limits = replace(LIMITS, velocity=np.array([0.1]))
    bench.started().run(2.0)
    speeds = np.abs(np.diff(bench.positions)) / TICK
    assert 0.08 < speeds.max() <= 0.1 + 1e-6
    assert bench.loop.status().limited == 0


class ExitPolicy(PerfectPolicy):
    """Takes a fixed exit where one is asked for."""

    def predict(self, observation, plan):
        found = super().predict(observation, plan)
        if plan.exit_layer is None:
            return found
        left = LayerTrace((*range(plan.exit_layer), 5), 6, jumps=(Jump(plan.exit_layer, 5),))
        return replace(found, mode='skipped', trace=left)


def test_a_fixed_exit_is_taken_in_every_pass_and_no_drop_runs_it_again():
    flat = {'skip.mode': 'fixed', 'skip.exit_layer': 2, 'continuity.threshold': 0.05,
            'continuity.hysteresis': 0.02}  # fmt: skip
    policy = ExitPolicy(goal=0.6, jerk_at=0.2)
    bench = Bench(policy, **flat)
    bench.started().run(4.0)
    assert len(policy.plans) > 4 and {plan.exit_layer for plan in policy.plans} == {2}
    assert any(item.drop_index is not None for item in bench.deliveries)  # a drop was seen
    assert policy.reruns == 0 and all(item.accepted for item in bench.deliveries)


def test_an_empty_skip_mode_is_the_bundles():
    calibration = replace(FakeManifest.calibration, mode='fixed', exit_layer=3)
    policy = ExitPolicy()
    policy.manifest = FakeManifest(calibration=calibration)
    bench = Bench(policy)
    assert bench.loop.skip_mode == 'fixed'
    bench.started().run(1.0)
    assert {plan.exit_layer for plan in policy.plans} == {3}
