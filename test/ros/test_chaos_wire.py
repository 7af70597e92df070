"""Between node and policy server, over real sockets: passed on, spoilt, cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")
pytest.importorskip('msgpack', reason="pip install 'dysl_vla_ros[remote]'")

from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.contract import engine_of
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.errors import EngineError, LinkError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.remote_policy import open_anywhere
from dysl_vla_ros.ros.chaos.faults_server import SERVER_FAULTS
from dysl_vla_ros.ros.chaos.wire import Wire
from dysl_vla_ros.serving.episode import ServeSettings
from dysl_vla_ros.serving.server import Place, PolicyServer


class Rig:
    """As much of one as faults of answers touch."""

    def __init__(self, wire):
        self.wire = wire


@pytest.fixture(scope='module')
def wire():
    """An address with a server of the policy without a model behind it."""
    policy = open_policy(EngineConfig(path='fake', warmup_runs=0))
    how = ServeSettings(skip_settings(NodeConfig(), policy.manifest.calibration))
    server = PolicyServer(policy, contract_of(policy.manifest), how, Place(port=0))
    server.start()
    between = Wire(lambda: server.url)
    yield between
    between.close()
    server.close()


@pytest.fixture
def remote(wire):
    """As the node opens it, with the same ``engine.path``."""
    wire.spoil = None
    policy, _ = open_anywhere(EngineConfig(
        path='fake', backend='remote', remote_url=wire.url, warmup_runs=1, remote_deadline_s=2.0,
    ))  # fmt: skip
    yield policy
    policy.engine.close()


def asked(policy):
    seen = Observation(1.0, {'image': np.zeros((96, 96, 3), np.uint8)},
                       np.array([0.2, 0, 0, 0, 0, 0]), 1.0, 'sweep')  # fmt: skip
    return policy.predict(seen, policy.manifest.layout.full_plan()).normalised


def test_a_policy_without_a_model_is_asked_of_a_server_as_it_runs_here(remote):
    own = open_policy(EngineConfig(path='fake', warmup_runs=0))
    np.testing.assert_allclose(asked(remote), asked(own), atol=1e-9)
    assert remote.manifest == own.manifest


def test_behind_a_server_it_pretends_to_be_no_arm_that_the_server_does_not_know():
    config = NodeConfig(engine=EngineConfig(path='fake', backend='remote', remote_url='ws://x:1'))
    assert engine_of(config).path == 'fake'


SPOILT = {'no answers', 'each 2nd unanswered', 'answers 0.9 s late'}
WRONG = {
    'answers NaN': None, 'one answer infinite': None, 'answers 1e9': None, 'too many rows': None,
    'too few rows': r'shape \(7, 7\): expected \(8, 7\), or more',
    'numbers in one line': r'shape \(56,\)', 'actions are words': 'rows of numbers',
    'an error in words': 'the policy server says: the GPU is out of memory',
    'no actions in it': "expected 'actions'", 'answers of noise': 'no msgpack',
    'answers of 17 MB': 'cut|frame|message|broke|1009',
}  # fmt: skip


@pytest.mark.parametrize('name', WRONG)
def test_what_a_fault_says_in_place_of_an_answer_is_what_its_name_says(name, wire, remote):
    fault = next(fault for fault in SERVER_FAULTS if fault.name == name)
    wanted = asked(remote)
    fault.inject(Rig(wire))
    if WRONG[name] is None:
        found = asked(remote)
        right = {
            'answers NaN': np.isnan(found).sum() == 1,
            'one answer infinite': np.isinf(found).sum() == 1
            and math.isfinite(asked(remote)[4, 0]),
            'answers 1e9': found.min() > 1e8,
            'too many rows': np.array_equal(found, wanted) or found.shape == wanted.shape,
        }  # fmt: skip
        assert right[name]
    else:
        with pytest.raises(LinkError, match=WRONG[name]):
            asked(remote)
    fault.clear(Rig(wire))
    assert asked(remote).shape == wanted.shape  # the link is back by itself


def test_the_faults_are_all_of_these_and_five_of_the_process():
    assert {fault.name for fault in SERVER_FAULTS} >= SPOILT | set(WRONG)
    assert len(SERVER_FAULTS) >= 20 and {fault.graph for fault in SERVER_FAULTS} == {'server'}


def test_a_connection_that_is_cut_comes_back_within_the_deadline(wire, remote):
    before = float(remote.report()['connects'])
    wire.cut()
    assert asked(remote).shape == (8, 7)
    assert float(remote.report()['connects']) > before


def test_nobody_behind_it_is_a_link_that_is_down():
    between = Wire(lambda: 'ws://127.0.0.1:9')
    config = EngineConfig(path='fake', backend='remote', remote_url=between.url,
                          remote_open_timeout_s=0.5)  # fmt: skip
    with pytest.raises(EngineError, match=between.url):
        open_anywhere(config)
    between.close()
