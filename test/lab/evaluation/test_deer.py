"""DeeR-style exits: thresholds from target shares, and passes that leave where exits agree."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.deer import DeerPolicy, deer_exits, exit_steps, thresholds
from dysl_vla_ros.lab.evaluation.evaluate import evaluate
from dysl_vla_ros.lab.evaluation.exits import all_exits
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.policy import open_policy

LAYERS = 12


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return str(tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny',
                                             layers=LAYERS))  # fmt: skip


@pytest.fixture(scope='module')
def policy(folder):
    return open_policy(EngineConfig(path=folder))


@pytest.fixture(scope='module')
def observation(policy):
    camera = policy.manifest.cameras[0]
    image = np.random.default_rng(1).integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    return Observation(0.0, {camera.name: image}, np.zeros(6), 1.0, 'pick up the red cube')


def test_exits_are_every_two_layers_and_at_most_half_of_the_depth():
    assert deer_exits(20) == (2, 4, 6, 8, 10)
    assert deer_exits(9) == (2, 4)
    with pytest.raises(ConfigError, match='a bundle of 8 layers or more, not 7'):
        deer_exits(7)


def test_thresholds_let_the_target_shares_leave_exit_by_exit_among_those_that_are_left():
    steps = [[1.0, 9.0, 0.0], [2.0, 1.0, 0.0], [3.0, 2.0, 0.0], [4.0, 3.0, 0.0],
             [5.0, 4.0, 0.0], [6.0, 5.0, 0.0], [7.0, 6.0, 0.0]]  # fmt: skip
    # Shares 4/7, 2/7, 1/7 of seven samples: four leave first; of the other three, two.
    assert thresholds(steps, 0.5) == (4.0, 5.0, float('inf'))
    # Shares 1/7, 2/7, 4/7: the sample with 9.0 has left already.
    assert thresholds(steps, 2.0) == (1.0, 2.0, float('inf'))
    assert thresholds(steps, 100.0)[0] == float('-inf')


def test_steps_are_between_neighbouring_exits_without_the_gripper(policy, observation):
    early = all_exits(policy, observation).early
    wanted = [np.sqrt(np.mean((early[d] - early[d - 2])[:, :6] ** 2)) for d in (4, 6)]
    assert exit_steps(policy, observation) == pytest.approx(wanted)


def test_a_pass_leaves_where_two_exits_agree_and_every_exit_tried_counts_a_layer(
    policy, observation
):
    early = all_exits(policy, observation).early
    last = LAYERS - 1
    for limits, exit_layer, tried in (((10.0, 10.0), 4, 2), ((0.0, float('inf')), 6, 3)):
        played = DeerPolicy(policy, limits).predict(observation, None)
        np.testing.assert_array_equal(played.normalised, early[exit_layer])
        assert played.trace.layers_run == (*range(exit_layer), *(last,) * tried)
        assert played.trace.resume_layer is None


@pytest.mark.slow
def test_deer_is_a_row_of_the_evaluation_for_each_ratio(folder, monkeypatch):
    monkeypatch.setattr('dysl_vla_ros.lab.evaluation.workers._DEER_STATES', 6)
    options = EvaluateOptions(
        bundle=folder,
        modes=('full', 'deer'),
        deer_ratios=(0.5, 2.0),
        episodes=1,
        families=('pick',),
        time_limit=1.5,
        latency=0.05,
    )
    found = evaluate(options)['modes']
    assert list(found) == ['full', 'deer 0.5', 'deer 2']
    assert 6 <= found['deer 0.5']['layers_run_mean'] <= 9
    assert found['deer 0.5']['rerun_rate'] == 0
