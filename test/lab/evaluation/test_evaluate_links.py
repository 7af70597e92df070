"""The bundled policy over a real socket, on links made bad: safe, and at rest at the end."""

from __future__ import annotations

import sys
import types

import pytest

pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")
pytest.importorskip('msgpack', reason="pip install 'dysl_vla_ros[remote]'")

from dysl_vla_ros.lab.evaluation.evaluate import evaluate
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions

DOWN = '0.05,down=1'


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_a_lost_link_a_served_arm_rests_and_a_verified_one_goes_on():
    document = evaluate(EvaluateOptions(
        modes=('auto', 'remote', 'verified'), links=('0.05', DOWN), episodes=1,
        families=('pick',), latency=0.02, time_limit=20.0,
    ))  # fmt: skip
    modes = document['modes']
    assert {mode: found['unsafe_commands'] for mode, found in modes.items()} == dict.fromkeys(
        modes, 0)  # fmt: skip
    assert modes['remote 0.05']['successes'] == 1
    assert modes['remote 0.05']['requests_lost'] == 0
    lost = modes[f'remote {DOWN}']
    assert lost['successes'] == 0
    assert lost['requests_lost'] > 3
    assert lost['ended_at_rest'] == 1.0
    assert lost['seconds_median'] < 14.0  # a fault after ten seconds without a chunk
    assert modes[f'verified {DOWN}']['successes'] == 1
    assert modes['verified 0.05']['successes'] == 1


class Broker:
    """As openpi's: one action of the last answer at a time, and a new question when it is over."""

    def __init__(self, policy, horizon):
        self._policy, self._horizon, self._left = policy, horizon, []

    def infer(self, request):
        self._left = self._left or list(self._policy.infer(request)['actions'][: self._horizon])
        return {'actions': self._left.pop(0)}


def test_of_a_broker_the_server_tells_layers_and_times_and_what_it_does_not_tell_is_none(
    monkeypatch,
):
    module = types.ModuleType('openpi_client.action_chunk_broker')
    module.ActionChunkBroker = Broker
    monkeypatch.setitem(sys.modules, 'openpi_client', types.ModuleType('openpi_client'))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    document = evaluate(EvaluateOptions(
        modes=('full', 'broker'), links=('0.05',), episodes=1, families=('pick',), latency=0.02,
        time_limit=3.0,
    ))  # fmt: skip
    found, pair = document['modes']['broker 0.05'], document['paired']['broker 0.05']
    assert 0 < found['layers_run_mean'] <= 2 * found['layers_total'] and found['chunks'] > 3
    assert found['pass_ms']['p50'] > 0 and pair['speed_up'] > 0 and found['hold_ratio'] > 0
    assert found['backbone_ms']['mean'] is None and found['backbone_share'] is None
    assert pair['backbone_time_ratio'] is None
