"""The bundled policy over a real socket, on links made bad: safe, and at rest at the end."""

from __future__ import annotations

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
