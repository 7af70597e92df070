"""Speed: the controller's own override, our scale, and a simulation's time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from motion_checks import positions_on
from seeds import first
from test_control_loop import HORIZON, STEP, TICK, Bench, PerfectPolicy, told_to_rest

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.pace import Pace
from dysl_vla_ros.core.resend import NEWS_RAD, Resend
from dysl_vla_ros.core.run_state import InputStatus

SPEED = STEP / 0.05
"""Of the policy's motion at full speed [rad/s]."""
PARTS = 16


class Controller:
    """A joint_trajectory_controller whose clock runs at a factor; a new window restarts it."""

    def __init__(self):
        self.position = np.zeros(1)
        self.factor = 1.0
        self.trace = []
        self._window, self._elapsed = None, 0.0

    def command(self, command):
        self._window = (
            0.0, command.window_times, command.window_positions, command.window_velocities
        )  # fmt: skip
        self._elapsed = 0.0

    @property
    def desired(self):
        return self.position

    def advance(self, seconds):
        began, way = self._elapsed, seconds * self.factor
        self._elapsed += way
        if self._window is None:
            self.trace += [float(self.position[0])] * PARTS
            return
        instants = began + way * np.arange(1, PARTS + 1) / PARTS
        passed = positions_on(*self._window, instants)
        self.position = passed[-1]
        self.trace += passed[:, 0].tolist()


class Paced(Bench):
    """A bench whose controller obeys an override that the loop is told ``late`` ticks later."""

    def __init__(self, late=1, policy=None, **parameters):
        super().__init__(policy or PerfectPolicy(goal=50.0), latency=0.05, **parameters)
        self.robot = Controller()
        self.late, self.scale, self.simulation = late, 1.0, 1.0
        self.factors = []
        self.stood = 0.0

    def tick(self, inputs=None):
        self.now += TICK
        self.robot.advance(TICK * self.simulation)
        self.factors.append(self.robot.factor)
        known = self.factors[max(len(self.factors) - 1 - self.late, 0)]
        reason = 'the controller stands' if known == 0.0 else ''
        self.loop.interlock(reason)
        passed, self.stood = (TICK + self.stood) * self.simulation * known, 0.0
        pace = Pace(passed, self.scale, known == 0.0, reason)
        command = self.loop.tick(
            self.now,
            self.robot.position + self.offset,
            inputs or InputStatus(True),
            self.now,
            pace,
        )
        self.states.append(self.loop.state)
        if command is None:
            told_to_rest(self)
        else:
            own = self.loop._playback.governor.clock.at(self.now)
            if known == 0.0 and not self.commands[-1].hold:
                self.checks.restart()  # a clock that stands has no speed to go on with
            self.checks.check(SimpleNamespace(**{**vars(command), 'stamp': own}))
            self.send(command)
        self.infer()

    def send(self, command):
        self.commands.append(command)
        self.told = True
        self.robot.command(command)

    def speed(self, seconds):
        """Mean speed of the arm over the next seconds [rad/s]."""
        before = self.robot.position[0]
        self.run(seconds)
        return (self.robot.position[0] - before) / (round(seconds / TICK) * TICK)

    def steps(self):
        """Speed of the arm between two cycles of its controller, over all of the past [rad/s]."""
        return np.diff(self.robot.trace) / (TICK / PARTS)


class Sparing(Paced):
    """Under an override a window that says nothing new is kept back, as the node does."""

    def __init__(self, **given):
        super().__init__(late=0, **given)
        self.resend = Resend(NodeConfig().chunk.command_window_s)

    def tick(self, inputs=None):
        # Where a window begins is compared with where the receiver is, not with the last window.
        self.checks.restart()
        super().tick(inputs)

    def send(self, command):
        own = self.loop.receiver_time(command.stamp)
        if self.robot.factor < 1.0 and not self.resend.is_due(own, command):
            self.loop.kept_back()
            return
        away = np.abs(command.positions - self.robot.position)
        assert (away <= 5 * NEWS_RAD).all(), (command.positions, self.robot.position)
        self.resend.sent(own, command)
        super().send(command)

    def gap(self, seconds):
        """The process stands; the receiver goes on."""
        self.now += seconds
        self.stood += seconds
        self.robot.advance(seconds * self.simulation)


class Hasty(PerfectPolicy):
    """1.6 rad/s, as soon as ``resting`` actions are over."""

    def __init__(self, resting=0):
        super().__init__(goal=50.0)
        self.resting = resting

    def rows(self):
        speeds = np.full(HORIZON, 8.0)
        speeds[: self.resting] = 0.0
        return np.stack([speeds, np.ones(HORIZON)], axis=1)


def moving(**given):
    bench = Paced(**given).started().run(2.0)
    assert bench.speed(2.0) == pytest.approx(SPEED, rel=0.05)
    return bench


@pytest.mark.parametrize('factor', [0.7, 0.3, 0.1])
def test_the_arm_moves_at_the_controllers_factor_and_never_back(factor):
    bench = moving()
    bench.robot.factor = factor
    bench.run(1.0)
    bench.robot.trace.clear()
    assert bench.speed(4.0) == pytest.approx(factor * SPEED, rel=0.05)
    assert bench.steps().min() > 0.5 * factor * SPEED
    assert bench.steps().max() < 1.5 * factor * SPEED


def test_at_factor_0_it_holds_with_the_reason_and_goes_on_inside_the_limits_without_a_creep():
    bench = moving()
    bench.robot.factor = 0.0
    bench.run(0.2)
    assert bench.loop.state == 'paused' and bench.loop.reason == 'the controller stands'
    held = bench.robot.position[0]
    bench.run(3.0)
    assert bench.robot.position[0] == pytest.approx(held, abs=1e-9)
    bench.robot.trace.clear()
    bench.robot.factor = 1.0
    bench.run(2 * TICK)
    assert bench.robot.position[0] == pytest.approx(held, abs=1e-3)
    bench.run(3.0)
    fastest = np.abs(bench.steps())
    assert fastest.max() < 1.1 * SPEED
    rise = np.diff(bench.steps()) / (TICK / PARTS)
    assert np.abs(rise).max() < 11.0
    assert bench.loop.state == 'running'


def test_a_dozen_stops_of_the_controller_do_not_move_a_resting_arm():
    bench = Paced()
    bench.policy.goal = 0.2
    bench.started().run(4.0)
    held = bench.robot.position[0]
    for _ in range(12):
        bench.robot.factor = 0.0
        bench.run(1.0)
        bench.robot.factor = 1.0
        bench.run(1.0)
    assert bench.robot.position[0] == pytest.approx(held, abs=1e-3)


@pytest.mark.parametrize('scale', [0.5, 0.1])
def test_speed_scale_slows_the_playback_of_the_same_path_and_may_change_while_it_moves(scale):
    bench = moving()
    bench.scale = scale
    bench.run(1.0)
    assert bench.speed(4.0) == pytest.approx(scale * SPEED, rel=0.05)
    bench.scale = 1.0
    bench.run(1.0)
    assert bench.speed(2.0) == pytest.approx(SPEED, rel=0.05)
    rise = np.diff(bench.steps()) / (TICK / PARTS)
    assert np.abs(rise).max() < 11.0


def test_both_factors_multiply():
    bench = moving()
    bench.scale = bench.robot.factor = 0.5
    bench.run(1.0)
    assert bench.speed(4.0) == pytest.approx(0.25 * SPEED, rel=0.05)


@pytest.mark.parametrize('simulation', [0.5, 2.0])
def test_playback_follows_a_simulation_that_runs_slower_or_faster(simulation):
    bench = moving(request_threshold=0.75)  # a tick is up to 1.3 actions of the simulation
    bench.simulation = simulation
    bench.run(0.5)
    bench.robot.trace.clear()
    assert bench.speed(1.5) == pytest.approx(simulation * SPEED, rel=0.05)
    assert bench.steps().min() > 0.5 * simulation * SPEED


def test_a_simulation_that_pauses_goes_on_where_it_was():
    bench = moving()
    bench.simulation = 0.0
    bench.run(0.2)
    assert bench.speed(2.0) == pytest.approx(0.0, abs=1e-9)
    bench.simulation = 1.0
    bench.robot.trace.clear()
    bench.run(1.0)
    assert np.abs(np.diff(bench.steps())).max() / (TICK / PARTS) < 11.0


def test_a_window_begins_at_0_whatever_rounding_says_of_a_clock_that_stands():
    bench = moving(request_threshold=0.75)
    bench.simulation = 0.5
    for ran in np.arange(0.5, 2.0, 0.1):
        bench.run(ran)
        bench.simulation, before = 0.0, bench.simulation
        bench.run(0.2)
        bench.simulation = before
    assert bench.loop.state == 'running'  # every window was checked


def test_a_stop_at_a_small_factor_rests_where_the_braking_way_ends():
    bench = moving()
    bench.robot.factor = 0.3
    bench.run(1.0)
    at = bench.robot.position[0]
    bench.loop.stop(bench.now, 'stopped')
    bench.run(1.0)
    assert bench.loop.state == 'ready'
    assert 0 <= bench.robot.position[0] - at < SPEED**2 / 20 + 0.3 * SPEED * 2 * TICK


@pytest.mark.parametrize('factor', [0.3, 0.1, 0.02])
def test_after_a_pause_at_a_small_factor_it_rests_and_goes_on(factor):
    bench = moving()
    bench.robot.factor = factor
    bench.run(1.0)
    bench.loop.pause(bench.now, 'paused')
    bench.run(0.02 / factor + 0.2)
    assert bench.loop._playback.governor.at_rest
    bench.loop.resume(bench.now)
    bench.run(0.15 / factor + 1.0)  # up to speed
    assert bench.loop.state == 'running'
    assert bench.speed(2.0) == pytest.approx(factor * SPEED, rel=0.05)


@pytest.mark.parametrize('clock', ['simulation', 'controller'])
def test_a_stop_before_the_clock_has_moved_is_told_before_it_falls_silent(clock):
    """The window that begins to move is out, and a receiver that is not told follows it."""
    bench = Paced(late=0).started()
    while not (bench.commands and not bench.commands[-1].hold):
        bench.tick()
    assert not bench.commands[-1].velocities.any()  # it stands still now, and moves by itself
    if clock == 'simulation':
        bench.simulation = 0.0
    else:
        bench.robot.factor = 0.0
    bench.loop.stop(bench.now, 'stopped')
    bench.run(0.5)
    assert bench.loop.state == 'ready' and bench.commands[-1].hold
    bench.simulation = bench.robot.factor = 1.0
    at = bench.robot.position[0]
    bench.run(1.0)
    assert bench.robot.position[0] == at == bench.loop._playback.governor.left[0]


@pytest.mark.parametrize('ten', first(3, 1))
def test_whatever_a_simulations_clock_does_meanwhile_no_window_begins_elsewhere(ten):
    """Its time comes in pieces, late and several at once; what is asked for comes between them."""
    moved = 0.0
    for seed in range(10 * ten, 10 * ten + 10):
        rng = np.random.default_rng(seed)
        bench = Paced(late=0, request_threshold=0.75).started()
        for _ in range(150):
            bench.simulation = float(rng.choice([0.0, 0.0, 0.5, 1.0, 3.0]))
            asked = rng.random()
            if asked < 0.02:
                bench.loop.stop(bench.now, 'operator')
            elif asked < 0.04:
                bench.loop.pause(bench.now, 'operator')
            elif asked < 0.3:
                bench.loop.resume(bench.now)
                bench.loop.start(bench.now)
            bench.tick(InputStatus(rng.random() > 0.02, 'a camera is late'))
        moved = max(moved, float(np.ptp(bench.positions)))
        assert bench.commands[-1].stamp > 1.0, seed
    assert moved > 0.1


def test_with_an_estop_latched_the_arm_does_not_move_when_the_override_comes_back():
    """One reading was refused shortly before, so that no place would be held for long."""
    bench = Paced(late=0, policy=Hasty()).started().run(0.5)
    bench.offset = 1.0
    bench.tick()
    bench.offset = 0.0
    bench.run(0.3)
    bench.robot.factor = 0.0
    bench.loop.interlock('the controller stands')
    bench.tick()
    bench.loop.estop(bench.now, 'operator')
    bench.run(2.0)
    at = bench.robot.position[0]
    bench.robot.factor = 1.0
    bench.run(1.0)
    assert bench.loop.state == 'e-stop' and bench.robot.position[0] == pytest.approx(at, abs=1e-9)


@pytest.mark.parametrize('factor', [0.5, 0.2])
@pytest.mark.parametrize('ask', ['stop', 'estop', 'pause'])
def test_a_stop_just_before_the_motion_begins_reaches_a_slowed_arm(ask, factor):
    for ticks in range(9, 45, 3):
        bench = Sparing(policy=Hasty(resting=3)).started()
        bench.robot.factor = factor
        bench.run(ticks * TICK)
        getattr(bench.loop, ask)(bench.now, 'operator')
        bench.run(2.0)
        at = bench.robot.position[0]
        bench.run(1.0)
        assert bench.robot.position[0] == pytest.approx(at, abs=1e-9), ticks
        assert bench.robot.position[0] == pytest.approx(
            bench.loop._playback.governor.left[0], abs=5 * NEWS_RAD
        )


@pytest.mark.parametrize(
    'seconds', [0.1, *(pytest.param(gap, marks=pytest.mark.slow) for gap in (0.3, 1.5))]
)
def test_after_a_gap_a_slowed_arm_is_believed_at_the_end_of_the_window_that_it_got(seconds):
    for ticks in range(25, 45):
        bench = Sparing(policy=Hasty()).started()
        bench.robot.factor = 0.5
        bench.run(ticks * TICK)
        bench.gap(seconds)
        bench.run(1.0)  # where every window begins is compared with where the arm is


def test_an_override_that_ends_in_a_gap_leaves_the_arm_where_it_is_believed():
    bench = moving()
    bench.loop.unsent()
    bench.robot.factor = 0.0
    bench.run(0.5)
    at = bench.commands[-1].positions[0]
    assert bench.commands[-1].hold and bench.robot.position[0] == pytest.approx(at, abs=1e-9)
