"""The gripper is moved by an action that is played, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from test_control_loop import HORIZON, READY, STALE, Bench, PerfectPolicy

BEGINNINGS = ('armed', 'stop', 'e-stop', 'pause', 'instruction', 'home', 'stale')


def begin_again(bench, how):
    """End what runs in one way or another, and begin anew; the next pass takes long."""
    loop = bench.loop
    if how in ('stop', 'armed', 'home'):
        loop.stop(bench.now, 'x')
    elif how == 'e-stop':
        loop.estop(bench.now, 'x')
    elif how == 'pause':
        loop.pause(bench.now, 'x')
    bench.run(1.5, STALE if how == 'stale' else READY)
    if how == 'armed':
        loop.armed = True
        bench.run(0.5)
    elif how == 'home':
        assert loop.home(bench.now) == ''
        bench.run(4.0)
        assert loop.reason == 'at home.positions'
    elif how == 'e-stop':
        loop.reset_estop(bench.now, READY)
    bench.commands.clear()
    bench.latency = 5.0
    if how == 'pause':
        loop.resume(bench.now)
    elif how == 'instruction':
        loop.reset(bench.now, 'another')
    elif how != 'stale':
        assert loop.start(bench.now) == ''


@pytest.mark.parametrize('how', BEGINNINGS)
def test_no_beginning_tells_the_gripper_what_a_run_of_before_wanted(how):
    bench = Bench(latency=0.05, armed=how != 'armed', **{'home.positions': [0.5]})
    bench.started().run(1.0)
    assert bench.commands[-1].gripper == 1.0
    begin_again(bench, how)
    accepted = sum(one.accepted for one in bench.deliveries)
    bench.run(1.2)
    assert bench.commands and sum(one.accepted for one in bench.deliveries) == accepted
    assert {command.gripper for command in bench.commands} == {None}


def test_a_prefix_tells_the_gripper_nothing_of_the_action_behind_it():
    class Closes(PerfectPolicy):
        """Goes on evenly; from the second pass on the gripper closes at action 1, and a drop."""

        def rows(self):
            rows = np.ones((HORIZON, 2))
            if len(self.plans) > 1:
                rows[1:, 1] = 0.0
                rows[4:, 0] = -1.0
            return rows

    parameters = {
        'rerun.prefix_policy': 'prefix', 'skip.mode': 'max_skip', 'request_threshold': 0.05,
        'continuity.threshold': 0.05, 'continuity.hysteresis': 0.02,
    }  # fmt: skip
    bench = Bench(Closes(goal=9.0, skips=True), latency=0.05, **parameters).started()
    while not (bench.deliveries and bench.deliveries[-1].rerun):
        bench.tick()
        assert bench.now < 5.0
    bench.pending = (*bench.pending[:2], bench.now + 1.0)  # the full pass is late
    bench.commands.clear()
    bench.run(0.9)
    assert 'verifying' in bench.states
    assert 0.0 not in {command.gripper for command in bench.commands}
