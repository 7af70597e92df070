"""The worker alone: reports that fail, and the rule of restarts over a real process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import wait_for

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.policy_process.client import ProcessPolicy
from dysl_vla_ros.ros.inference_worker import InferenceWorker
from dysl_vla_ros.ros.restarts import Restartable, RestartRule

BAD = Path(__file__).parents[1] / 'policy_process' / 'bad_server.py'


class Loop:
    """What the worker calls of the control loop; wants passes until a fault."""

    epoch = 0

    def __init__(self, policy=None):
        self.policy = policy
        self.delivered = 0
        self.faults = []
        self.abandoned = []
        self.wanted = True
        self.asked = 0

    def wants_pass(self, now):
        self.asked += 1
        return self.wanted and not self.faults

    def predict(self, observation, epoch):
        if self.policy is None:
            return 0, SimpleNamespace()
        return 0, self.policy.predict(observation, self.policy.manifest.layout.full_plan())

    def deliver(self, epoch, result, now):
        self.delivered += 1
        return SimpleNamespace(rerun=False, accepted=True)

    def fault(self, now, reason):
        self.faults.append(reason)

    def abandon(self, reason=''):
        self.abandoned.append(reason)


class Observations:
    def __init__(self):
        self.stamp = 0.0
        self.image = np.zeros((96, 96, 3), np.uint8)

    def __call__(self):
        self.stamp += 1.0
        return Observation(self.stamp, {'image': self.image}, np.zeros(6), 1.0, 'go')


@pytest.fixture
def run():
    workers, policies = [], []

    def start(policy=None, restarts=3, loop=None, report=lambda *_: None):
        loop = loop or Loop(policy)
        worker = InferenceWorker(lambda: loop, Observations(), report, policy, restarts)
        workers.append(worker)
        worker.start()
        return loop, worker

    def opened(mode='', **config):
        config = {'path': 'fake', 'pass_timeout_s': 0.4, 'warmup_runs': 0, **config}
        options = {'server': (sys.executable, str(BAD), mode)} if mode else {}
        policies.append(ProcessPolicy(EngineConfig(**config), **options))
        return policies[-1]

    start.opened = opened
    yield start
    for policy in policies:
        policy.engine.close()
    for worker in workers:
        worker.stop(10)


def test_a_report_that_raises_is_counted_and_logged_and_passes_go_on(run, caplog):
    def report(*arguments):
        raise ValueError('a value could not be formatted')

    loop, worker = run(report=report)
    wait_for(lambda: loop.delivered > 20, what='passes')
    assert loop.faults == []
    assert worker.on_delivery.failures >= 20
    logged = [r for r in caplog.records if 'the report of a pass failed' in r.getMessage()]
    assert len(logged) == 1 and logged[0].exc_info


def test_a_process_that_dies_is_restarted_with_the_reason_and_passes_go_on(run):
    policy = run.opened()
    loop, worker = run(policy)
    wait_for(lambda: loop.delivered > 3, what='passes')
    os.kill(policy.pid, signal.SIGSEGV)
    wait_for(lambda: loop.abandoned, what='a reason')
    begun = loop.delivered
    wait_for(lambda: loop.delivered > begun + 3, 20, 'passes again')
    restarting = 'restarting the model process (1 of 3): died of SIGSEGV'
    assert restarting in loop.abandoned
    assert set(loop.abandoned) <= {restarting, 'the model process died of SIGSEGV'}
    assert loop.faults == []
    assert (policy.restarts, policy.last_end) == (1, 'died of SIGSEGV')
    assert worker.rule.used == 1


def test_one_that_dies_while_nothing_is_asked_of_it_is_back_before_it_is_needed(run):
    policy = run.opened()
    loop = Loop(policy)
    loop.wanted = False
    run(policy, loop=loop)
    wait_for(lambda: loop.asked, what='the worker')
    os.kill(policy.pid, signal.SIGKILL)
    wait_for(lambda: policy.restarts == 1 and policy.alive, 20, 'a new process')
    assert 'died of SIGKILL' in loop.abandoned[0]
    assert loop.delivered == 0


def test_one_that_hangs_in_each_pass_is_killed_and_restarted_until_the_rule_ends_in_a_fault(run):
    policy = run.opened('hang')
    loop, worker = run(policy, restarts=2)
    wait_for(lambda: loop.faults, 30, 'a fault')
    restarts = [reason for reason in loop.abandoned if reason.startswith('restarting')]
    hung = 'hung: no answer in 0.4 s (killed)'
    assert restarts == [f'restarting the model process ({n} of 2): {hung}' for n in (1, 2)]
    assert len(loop.faults) == 1
    assert f'the model process {hung}, after 2 restarts in 10 minutes' in loop.faults[0]
    assert 'engine.restarts = 2' in loop.faults[0]
    loop.faults.clear()  # the operator resets and starts: a fault again, not silence
    wait_for(lambda: loop.faults, what='a fault')
    assert policy.restarts == 2


def test_a_process_that_dies_whenever_it_opens_counts_each_time(run):
    policy = run.opened()
    policy._server = (sys.executable, str(BAD), 'open_dies')
    loop, _ = run(policy)
    wait_for(lambda: loop.asked, what='the worker')
    os.kill(policy.pid, signal.SIGABRT)
    wait_for(lambda: loop.faults, 30, 'a fault')
    assert policy.restarts == 3
    assert 'died of SIGABRT, after 3 restarts' in loop.faults[0]


def test_an_error_of_a_living_engine_is_a_fault_and_no_restart(run):
    policy = run.opened('engine_error')
    loop, worker = run(policy)
    wait_for(lambda: loop.faults, what='a fault')
    assert loop.faults[0].startswith('the engine failed: cuStreamSynchronize')
    assert policy.alive and policy.restarts == 0 and worker.rule.used == 0


def test_a_new_worker_starts_a_process_that_was_killed_and_does_not_count_it(run):
    policy = run.opened()
    policy.kill('was killed by a deactivation')
    loop, worker = run(policy, restarts=0)
    wait_for(lambda: loop.delivered, 20, 'passes')
    assert loop.faults == [] and worker.rule.used == 0


def test_only_one_thread_ever_asks_the_process(run):
    policy = run.opened()
    asked = set()
    ask = policy.predict

    def predict(*arguments):
        asked.add(threading.get_ident())
        return ask(*arguments)

    policy.predict = predict
    loop, worker = run(policy)
    wait_for(lambda: loop.delivered > 2, what='passes')
    os.kill(policy.pid, signal.SIGKILL)
    begun = loop.delivered
    wait_for(lambda: loop.delivered > begun + 2, 20, 'passes again')
    assert asked == {worker._thread.ident}


def test_the_policy_in_this_process_has_no_restarts(run):
    assert isinstance(run.opened(), Restartable)
    from dysl_vla_ros.policy import Policy

    assert not isinstance(Policy(None, None, None), Restartable)
    loop, _ = run(loop=Failing())
    wait_for(lambda: loop.faults, what='a fault')
    assert loop.faults == ['the engine failed: device lost']


class Failing(Loop):
    def predict(self, observation, epoch):
        raise EngineError('device lost')


def test_the_rule_forgets_what_is_older_than_its_period():
    rule = RestartRule(2, period=600.0)
    assert [rule.take(now) for now in (0.0, 10.0, 20.0, 599.0)] == [True, True, False, False]
    assert rule.take(601.0) and not rule.take(602.0)
    assert rule.used == 2
    assert not RestartRule(0).take(0.0)


def test_an_observer_that_fails_is_logged_now_and_then_only(caplog):
    from dysl_vla_ros.ros.observer import Observer

    observer = Observer('the plot', lambda: 1 / 0)
    with caplog.at_level(logging.ERROR):
        for _ in range(50):
            observer()
    assert observer.failures == 50
    assert len(caplog.records) == 1


def test_a_policy_server_that_is_away_holds_the_arm_with_the_reason_and_restarts_nothing(
    run, tmp_path
):
    pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")
    from dysl_vla_ros.config import NodeConfig
    from dysl_vla_ros.engines.remote.contract import contract_of
    from dysl_vla_ros.loop_settings import skip_settings
    from dysl_vla_ros.policy import open_policy
    from dysl_vla_ros.serving.episode import ServeSettings
    from dysl_vla_ros.serving.server import Place, PolicyServer

    served = open_policy(EngineConfig(path='fake', warmup_runs=0))
    settings = ServeSettings(skip_settings(NodeConfig(), served.manifest.calibration))
    contract = contract_of(served.manifest)

    def serve(port=0):
        server = PolicyServer(served, contract, settings, Place(port=port))
        server.start()
        return server

    written = tmp_path / 'contract.yaml'
    written.write_text(
        'name: fake\n'
        'request: {observation/image: camera image, observation/state: state, prompt: instruction}'
        '\ncameras: {image: {height: 96, width: 96, resize: false}}\n'
        'state: {size: 6, gripper: true}\n'
        'action: {space: eef_delta, dim: 7, horizon: 8, period_s: 0.05, gripper: true}\n'
    )
    first = serve()
    policy = run.opened(path='', backend='remote', remote_url=first.url,
                        remote_contract=str(written), remote_deadline_s=0.2,
                        pass_timeout_s=5.0)  # fmt: skip
    loop, _ = run(policy)
    wait_for(lambda: loop.delivered > 2, what='passes')
    first.close()
    wait_for(lambda: any('no link to ws://' in text for text in loop.abandoned), 20, 'a reason')
    second = serve(int(first.url.rpartition(':')[2]))
    begun = loop.delivered
    wait_for(lambda: loop.delivered > begun + 2, 20, 'passes again')
    assert loop.faults == []
    assert policy.restarts == 0
    second.close()


def test_an_instruction_is_learnt_before_an_observation_is_taken_for_it():
    order, loop = [], Loop()

    def observe():
        order.append('observe')
        return Observation(float(len(order)), {}, np.zeros(6), 1.0, 'go')

    worker = InferenceWorker(
        lambda: loop, observe, lambda *_: None, learn=lambda: order.append('learn')
    )
    worker.start()
    wait_for(lambda: loop.delivered > 2, what='passes')
    worker.stop(10)
    first = order.index('observe')
    assert order[first - 1] == 'learn'
    assert 'observe observe' not in ' '.join(order), 'and before each later one it may be new'


@pytest.mark.parametrize('wanted', [True, False])
def test_what_cannot_be_learnt_is_a_fault_with_the_reason(wanted):
    loop = Loop()
    loop.wanted = wanted

    def learn():
        if not loop.faults:
            raise EngineError('graphs on a card: out of memory')

    worker = InferenceWorker(lambda: loop, Observations(), lambda *_: None, learn=learn)
    worker.start()
    wait_for(lambda: loop.faults, what='a fault')
    worker.stop(10)
    assert loop.faults == ['the engine failed: graphs on a card: out of memory']
