"""Activation and deactivation: one stop path, in time also while a pass hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import wait_for

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.policy_process.client import ProcessPolicy

pytestmark = pytest.mark.ros
SERVER = Path(__file__).with_name('model_server.py')


@pytest.fixture
def process_policy():
    config = EngineConfig(path='fake', pass_timeout_s=30.0, warmup_runs=0)
    policy = ProcessPolicy(config, server=(sys.executable, str(SERVER)))
    yield policy
    policy.engine.close()


def in_flight(rig):
    return lambda: rig.session.loop.in_flight


class Hanging:
    """Passes of the fake policy that wait for an event."""

    def __init__(self):
        from fakes import FakePolicy

        self.go_on = threading.Event()
        self.threads = set()

        class Policy(FakePolicy):
            hangs = False

            def predict(policy, observation, plan):
                self.threads.add(threading.get_ident())
                if policy.hangs:
                    self.go_on.wait(60)
                return super().predict(observation, plan)

        self.policy = Policy()


@pytest.mark.parametrize('wanted', [True, False])
def test_the_command_thread_claims_real_time_where_the_parameter_says_so(rig, monkeypatch, wanted):
    from dysl_vla_ros.hardware import realtime

    monkeypatch.setattr(realtime, 'claim', lambda: realtime.Realtime(True, True))
    rig = rig(command_thread__realtime=wanted).up()
    commands = rig.node._active.commands
    wait_for(lambda: commands.realtime is not None, what='the thread runs')
    assert commands.realtime.fifo is wanted


def test_deactivating_while_a_pass_hangs_kills_its_process_in_half_a_second(rig, process_policy):
    rig = rig(process_policy).run()
    before = process_policy.pid
    os.kill(before, signal.SIGSTOP)
    wait_for(in_flight(rig), what='a pass that hangs')
    time.sleep(0.1)
    begun = time.monotonic()
    assert rig.deactivate() == 'SUCCESS'
    assert time.monotonic() - begun < 0.5 + 0.5  # and a loaded machine; the pass may take 30 s
    assert not process_policy.alive
    assert rig.node._hanging is None  # its thread ended too: what it used may be closed
    assert rig.activate() == 'SUCCESS'
    wait_for(lambda: process_policy.alive and process_policy.pid != before, 20, 'a new process')
    rig.wait_state('ready')
    rig.start()
    wait_for(lambda: rig.session.loop.status().chunks > 2, 20, 'chunks again')


def test_deactivating_between_passes_leaves_the_process_alone(rig, process_policy):
    rig = rig(process_policy).run()
    before = process_policy.pid
    assert rig.deactivate() == 'SUCCESS'
    assert process_policy.alive and process_policy.pid == before
    assert process_policy.restarts == 0


def test_a_pass_that_is_only_slow_may_end_while_the_node_deactivates(rig, process_policy):
    rig = rig(process_policy).run()
    before = process_policy.pid
    os.kill(before, signal.SIGSTOP)
    wait_for(in_flight(rig), what='a pass')
    rig.wait_state('holding')
    wait_for(rig.at_rest, what='rest')
    timer = threading.Timer(0.15, os.kill, (before, signal.SIGCONT))
    timer.start()
    assert rig.deactivate() == 'SUCCESS'
    assert process_policy.alive and process_policy.pid == before
    timer.join()


def test_in_the_nodes_own_process_a_pass_that_ends_leaves_nothing_hanging(rig):
    rig = rig().run()
    assert rig.deactivate() == 'SUCCESS'
    assert rig.node._hanging is None


def test_what_the_start_made_is_set_aside_before_the_arm_may_move(rig):
    rig = rig()
    seen = []
    rig.node._settle = lambda: seen.append(rig.node._active)
    rig.up()
    rig.deactivate()
    rig.activate()
    assert seen == [None, None]


def test_in_the_nodes_own_process_a_hanging_pass_keeps_its_engine_from_a_second_thread(
    rig, monkeypatch
):
    from dysl_vla_ros.ros import active

    monkeypatch.setattr(active, '_IN_PROCESS_PATIENCE_S', 0.3)
    hanging = Hanging()
    rig = rig(hanging.policy).run()
    hanging.policy.hangs = True
    wait_for(in_flight(rig), what='a pass that hangs')
    assert rig.deactivate() == 'SUCCESS'
    assert rig.activate() == 'FAILURE'
    assert len(hanging.threads) == 1
    hanging.policy.hangs = False
    hanging.go_on.set()
    wait_for(lambda: not rig.node._hanging.alive, what='the end of the pass')
    assert rig.activate() == 'SUCCESS'


@pytest.mark.usefixtures('scheduled_as_on_a_robot')
def test_a_model_that_is_killed_in_motion_never_delays_a_command_and_comes_back(
    rig, process_policy
):
    rig = rig(process_policy).run()
    ticks = Ticks(rig)
    for number in (signal.SIGKILL, signal.SIGSEGV):
        wait_for(lambda: abs(rig.robot.position).max() > 0.01, what='motion')
        restarts = process_policy.restarts
        chunks = rig.session.loop.status().chunks
        with ticks.outage():
            os.kill(process_policy.pid, number)
            wait_for(lambda n=restarts: process_policy.restarts > n, what='a restart')
            wait_for(lambda n=chunks: rig.session.loop.status().chunks > n + 2, 20, 'chunks again')
    assert rig.session.state in ('running', 'verifying', 'holding')
    assert process_policy.restarts == 2
    assert max(ticks.kept) > 0.8


@pytest.mark.usefixtures('scheduled_as_on_a_robot')
def test_a_model_that_stands_still_for_a_second_never_delays_a_command(rig, process_policy):
    rig = rig(process_policy).run()
    wait_for(lambda: abs(rig.robot.position).max() > 0.01, what='motion')
    ticks = Ticks(rig)
    for _ in range(2):
        os.kill(process_policy.pid, signal.SIGSTOP)
        with ticks.outage():
            time.sleep(1.0)
        assert rig.session.state in ('holding', 'verifying'), rig.session.reason
        assert rig.at_rest()
        chunks = rig.session.loop.status().chunks
        os.kill(process_policy.pid, signal.SIGCONT)
        wait_for(lambda n=chunks: rig.session.loop.status().chunks > n + 2, 20, 'chunks again')
    assert process_policy.restarts == 0
    assert max(ticks.kept) > 0.8


def test_what_the_state_report_raises_does_not_stop_the_arm(rig, monkeypatch):
    from dysl_vla_ros.ros import reports

    def broken(self, state):
        raise ValueError('no such state')

    rig = rig().up()
    monkeypatch.setattr(reports.Reports, 'state', broken)
    rig.instruct('go')
    wait_for(lambda: rig.ask('start').success, what='a start')
    rig.wait_state('running')
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    assert rig.session._on_state.failures > 0
    monkeypatch.undo()


class Ticks:
    """Which of the command thread's ticks came while the model was away.

    One that waited for the model would be missing in every outage; a machine that stands still for
    a quarter of a second, as one that runs other tests too does, takes a few out of one.
    """

    def __init__(self, rig):
        self.kept = []
        self._times = []
        self._period = 1.0 / rig.session.config.timing.command_rate_hz
        original = rig.session.tick

        def tick(now):
            self._times.append(time.monotonic())
            return original(now)

        rig.node._active.commands._tick = tick

    @contextlib.contextmanager
    def outage(self):
        began, before = time.monotonic(), len(self._times)
        yield
        due = (time.monotonic() - began) / self._period
        self.kept.append((len(self._times) - before) / due)
