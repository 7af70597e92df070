"""Whatever is asked for, and whenever: no window breaks a rule, no point is a jump."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from seeds import first
from test_control_loop import LIMITS, READY, STALE, TICK, Bench, PerfectPolicy

from dysl_vla_ros.core.governor import LATE_PERIODS, SILENT_S, GovernorSettings

EPSILON = 1e-9


class HeldPoints:
    """Judges single positions: a receiver keeps the last one until the next.

    Within one period of the command rate the position moves by at most ``v_max x period``, and
    by at most twice that where a tick came late; after a silence it may begin elsewhere.
    """

    def __init__(self):
        self.seen = 0
        self.worst = 0.0
        self._last = None
        self._quiet_since = None

    def restart(self):
        self._quiet_since = self._quiet_since or self._last

    def check(self, command, limits):
        last, self._last = self._last, command
        self.seen += 1
        if last is None:
            return
        elapsed = command.stamp - last.stamp
        if self._quiet_since is not None:
            self._quiet_since = None
            if elapsed >= SILENT_S + GovernorSettings(TICK).look_ahead:
                return
        step = float(np.abs(command.positions - last.positions).max())
        led = min(elapsed, LATE_PERIODS * TICK)
        self.worst = max(self.worst, step / (float(limits.velocity[0]) * led))
        assert step <= float(limits.velocity[0]) * led + 1e-6, (step, elapsed)
        assert np.all(command.positions <= limits.upper + EPSILON)


def tight(bench):
    """Limits below what the policy asks for."""
    bench.loop.limits = replace(
        LIMITS, velocity=np.array([0.15]), acceleration=np.array([2.0]), rated=np.array([3.0])
    )
    return bench


def wide(bench):
    return bench


def holds_points(bench):
    """The arm keeps the last point; windows are not what is published.

    The velocity limit is below what the policy asks for, so that it counts at every tick.
    """
    bench.checks = HeldPoints()
    tight(bench)

    def command(message):
        bench.robot._window = (
            message.stamp, np.zeros(1), message.positions[None], np.zeros((1, 1))
        )  # fmt: skip

    bench.robot.command = command
    return bench


def act(bench, rng):
    """One thing that operators, sensors, the system or a hand may do."""
    loop, now = bench.loop, bench.now
    what = rng.choice(
        ['reset', 'restart', 'pause', 'silence', 'camera', 'stall', 'estop', 'push', 'sample',
         'arm', 'nothing']
    )  # fmt: skip
    if what == 'reset':
        loop.reset(now, 'new instruction')
    elif what == 'restart':
        loop.stop(now, 'operator')
        bench.run(float(rng.uniform(0.0, 1.2)))
        loop.start(bench.now)
    elif what == 'pause':
        loop.pause(now, 'operator')
        bench.run(float(rng.uniform(0.0, 1.5)))
        loop.resume(bench.now)
    elif what == 'silence':
        bench.silent = True
        bench.run(float(rng.uniform(0.0, 1.2)))
        bench.silent = False
    elif what == 'camera':
        bench.run(float(rng.uniform(0.0, 1.0)), STALE)
    elif what == 'stall':
        bench.now += float(rng.uniform(0.1, 2.0))
    elif what == 'estop':
        loop.estop(now, 'operator')
        bench.run(0.6)
        loop.reset_estop(bench.now, READY)
        loop.start(bench.now)
    elif what == 'push':
        bench.arm = bench.arm + float(rng.uniform(-0.3, 0.3))
    elif what == 'sample':
        bench.offset = float(rng.choice([0.3, 1.0, np.nan]))
        bench.tick()
        bench.offset = 0.0
    elif what == 'arm':
        loop.armed = not loop.armed
        loop.start(now)


def fuzz(seed, prepare, **parameters):
    rng = np.random.default_rng(seed)
    policy = PerfectPolicy(goal=float(rng.uniform(-1.5, 1.5)), skips=True)
    parameters = {'limits.max_lead': float(rng.choice([0.1, 0.3])), **parameters}
    bench = prepare(Bench(policy, latency=float(rng.choice([0.0, 0.05, 0.3])), **parameters))
    bench.started()
    for _ in range(6):
        bench.run(float(rng.uniform(0.0, 0.7)))
        act(bench, rng)
        if rng.random() < 0.3:
            policy.goal = float(rng.uniform(-1.5, 1.5))
        if bench.loop.state in ('ready', 'fault'):
            bench.run(0.6)
            bench.loop.reset_estop(bench.now, READY)
            bench.loop.start(bench.now)
    bench.run(1.0)
    return bench


@pytest.mark.parametrize('ten', first(10, 1))
def test_whatever_is_asked_for_no_window_breaks_a_limit_and_none_jumps(ten):
    moved = 0.0
    for seed in range(10 * ten, 10 * ten + 10):
        bench = fuzz(seed, tight if seed % 2 else wide)
        assert bench.checks.seen >= 15, seed
        moved = max(moved, float(np.ptp(bench.positions)))
    assert moved > 0.1


@pytest.mark.parametrize('ten', first(10, 1))
def test_whatever_is_asked_for_no_held_point_is_farther_than_the_arm_may_go(ten):
    worst = 0.0
    for seed in range(10 * ten, 10 * ten + 10):
        bench = fuzz(seed, holds_points, command_type='joint_commands')
        assert bench.checks.seen >= 15, seed
        worst = max(worst, bench.checks.worst)
    assert 0.9 < worst <= 1.0 + 1e-6


@pytest.mark.parametrize('stall', [0.1, 0.25, 0.5, 1.0, 2.0])
def test_after_a_stall_a_held_point_goes_on_from_the_last_one(stall):
    bench = (
        holds_points(Bench(PerfectPolicy(goal=1.5), latency=0.05, command_type='joint_commands'))
        .started()
        .run(1.0)
    )
    before = bench.commands[-1].positions.copy()
    assert np.abs(bench.commands[-1].velocities).max() > 0.1
    bench.now += stall
    bench.tick()
    step = np.abs(bench.commands[-1].positions - before)
    assert (step <= bench.loop.limits.velocity * TICK * LATE_PERIODS + 1e-9).all()
    bench.run(1.0)
    assert bench.checks.seen == len(bench.commands)
