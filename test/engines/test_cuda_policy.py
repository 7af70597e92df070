"""The bundled policy on the CUDA path, on the stand-in stream: what prefix and compare do."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

from deferred_stream import DeferredStream

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.cuda import bundle as cuda_bundle
from dysl_vla_ros.engines.cuda.bundle import open_cuda_engine
from dysl_vla_ros.engines.open_engine import bundled_model
from dysl_vla_ros.lab.evaluation.bench_observations import made_up
from dysl_vla_ros.policy import Policy, load_tokenizer, open_policy


@pytest.fixture(scope='module')
def policies():
    """The bundled policy, on the stand-in stream and on ONNX Runtime."""
    torch.set_num_threads(1)
    reference = open_policy()
    bundle = open_bundle(bundled_model())
    text = bundle.path(bundle.manifest.instruction.tokenizer).read_text(encoding='utf-8')
    engine = open_cuda_engine(bundle, DeferredStream())
    return Policy(engine, bundle.manifest, load_tokenizer(bundle.manifest, text)), reference


def test_a_skipped_pass_and_its_rerun_are_those_of_onnx_runtime(policies):
    """As ``prefix`` and ``compare`` run them: a pass that skips, then the rest of a full one."""
    layout = policies[1].manifest.layout
    for observation in made_up(policies[1].manifest, 2):
        found = []
        for policy in policies:
            skipped = policy.predict(observation, layout.open_plan())
            again = policy.rerun(skipped)
            full = policy.predict(observation, layout.full_plan())
            found.append((skipped, again, full))
            np.testing.assert_array_equal(again.normalised, full.normalised)
        for mine, theirs in zip(*found, strict=True):
            assert mine.trace.layers_run == theirs.trace.layers_run
            np.testing.assert_allclose(mine.normalised, theirs.normalised, atol=1e-4)


def test_bench_runs_on_the_cuda_back_end(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_bundle, 'CudaStream', DeferredStream)
    path = tmp_path / 'bench.json'
    code = main(['bench', '--backend', 'cuda', '--runs', '1', '--warm-up', '0', '--count', '2',
                 '--json', str(path)])  # fmt: skip
    document = json.loads(path.read_text(encoding='utf-8'))
    assert code == 0 and document['device'] == DeferredStream.name
    assert document['same_bits'] is True
    if not torch.cuda.is_available():
        assert 'no CUDA device' in document['roof']['why_not']


def test_compare_gives_both_passes_of_onnx_runtime_on_one_encoding(policies):
    mine, theirs = policies
    plan = mine.manifest.layout.open_plan()
    jumps = SkipPlan(plan.allow, 'open')
    for observation in made_up(mine.manifest, 2):
        for chosen in (plan, jumps):
            found, wanted = (one.compare(observation, chosen) for one in (mine, theirs))
            full, skipped = (mine.predict(observation, p)
                             for p in (mine.manifest.layout.full_plan(), chosen))  # fmt: skip
            np.testing.assert_array_equal(found.normalised, full.normalised)
            np.testing.assert_array_equal(found.compared.normalised, skipped.normalised)
            assert found.compared.trace.layers_run == wanted.compared.trace.layers_run
            assert found.changed == wanted.changed
            np.testing.assert_allclose(found.normalised, wanted.normalised, atol=1e-4)


@pytest.mark.parametrize('mode', ['auto', 'compare'])
def test_the_control_loop_closes_with_prefix_and_in_compare(policies, mode):
    """An episode of the simulated arm: chunks, re-runs, and what is played before they land."""
    pytest.importorskip('mujoco', reason='needs mujoco')
    from dysl_vla_ros.lab.evaluation.episodes import EpisodeSpec, arm_planner, run_episode
    from dysl_vla_ros.sim.world import World

    mine = policies[0]
    config = from_flat({
        'rerun.prefix_policy': 'prefix', 'skip.mode': mode, 'continuity.threshold': 0.3,
        'continuity.hysteresis': 0.1,
    })  # fmt: skip
    deliveries = []
    result = run_episode(
        World(), mine, arm_planner(mine.manifest.action, config), config,
        EpisodeSpec(7, 'place', time_limit=12.0), latency=0.1, on_delivery=deliveries.append,
    )  # fmt: skip
    assert result.success and result.unsafe == 0
    again = [one for one in deliveries if one.rerun]
    if mode == 'compare':
        assert not again and result.layers_run == result.chunks * mine.manifest.layers_total
    else:
        assert again and all(one.drop_index is not None for one in again)
        assert result.reruns == len(again)
        assert result.layers_run < result.chunks * mine.manifest.layers_total
