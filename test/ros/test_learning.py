"""The node lets its policy learn a new instruction between passes, unless a stop is latched."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import wait_for

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.core.run_state import LATCHED
from dysl_vla_ros.policy_process.client import ProcessPolicy
from dysl_vla_ros.ros.active import Active

SERVER = Path(__file__).with_name('model_server.py')


@pytest.mark.parametrize(
    ('state', 'instruction', 'taught'),
    [
        ('ready', 'go on', ['go on']),
        ('holding', 'go on', ['go on']),
        ('ready', '', []),
        *((state, 'go on', []) for state in sorted(LATCHED)),
        (None, 'go on', []),
    ],
)
def test_an_instruction_is_taught_unless_a_stop_is_latched(state, instruction, taught):
    told = []
    session = SimpleNamespace(
        policy=SimpleNamespace(learn=told.append),
        inputs=SimpleNamespace(instruction=instruction),
        loop=None if state is None else SimpleNamespace(state=state),
    )
    active = object.__new__(Active)  # without its threads
    active._session = session
    active._learn()
    assert told == taught
    session.policy = SimpleNamespace()  # a policy server has nothing to learn here
    active._learn()


@pytest.fixture
def slow_learner(monkeypatch):
    """Its process prepares for longer than a pass may take."""
    monkeypatch.setenv('DYSL_TEST_LEARNS', '1.5')
    config = EngineConfig(path='fake', pass_timeout_s=1.0, warmup_runs=0)
    policy = ProcessPolicy(config, server=(sys.executable, str(SERVER)))
    yield policy
    policy.engine.close()


@pytest.mark.slow
@pytest.mark.ros
def test_the_arm_waits_for_what_is_learnt_and_no_process_is_killed_for_it(rig, slow_learner):
    rig = rig(slow_learner).run()
    assert slow_learner.restarts == 0
    chunks = rig.session.loop.status().chunks
    rig.instruct('go back')
    wait_for(lambda: rig.session.loop.status().chunks > chunks + 2, 20, 'chunks of the new one')
    assert slow_learner.restarts == 0
    os.kill(slow_learner.pid, signal.SIGKILL)
    chunks = rig.session.loop.status().chunks
    wait_for(lambda: rig.session.loop.status().chunks > chunks + 2, 20, 'chunks after a restart')
    assert slow_learner.restarts == 1 and rig.session.state not in LATCHED
