"""Depth and interval by a signal: what each signal does to the next pass, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.bench_observations import simulated
from dysl_vla_ros.lab.evaluation.evaluate import evaluate
from dysl_vla_ros.lab.evaluation.exits import all_exits
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.paced import PacedPolicy
from dysl_vla_ros.lab.evaluation.paces import Pace, Paces
from dysl_vla_ros.policy import open_policy


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=6)


@pytest.fixture(scope='module')
def policy(folder):
    return open_policy(EngineConfig(path=str(folder)))


@pytest.fixture(scope='module')
def seen(policy):
    return simulated(policy.manifest, 1)[0]


def depth(paced, observation, plan):
    return len(paced.predict(observation, plan).trace.layers_run)


def test_a_pace_is_read_as_it_is_written():
    found = Paces.read('distance<0.08:5@0.3/0@0.7')
    assert found == Paces('distance', 0.08, Pace(5, 0.3), Pace(0, 0.7))


@pytest.mark.parametrize(('text', 'said'), [
    ('gripper', 'SIGNAL:EXIT@LEFT'), ('hunch:5@0.3/8@0.7', 'SIGNAL:EXIT@LEFT'),
    ('gripper:5@0.3.1/8@0.7', 'SIGNAL:EXIT@LEFT'), ('gripper:5@0.3/8@1.5', 'within [0.05, 0.95]'),
    ('distance:5@0.3/8@0.7', 'a limit with still'), ('gripper<1:5@0.3/8@0.7', 'none with'),
    ('gripper:5@0.3/19@0.7', 'exits up to 18'), ('exits>0.1:5@0.3/5@0.7', 'a deeper fine one'),
])  # fmt: skip
def test_a_pace_that_makes_no_sense_is_refused(text, said):
    with pytest.raises(ConfigError) as caught:
        Paces.read(text, 20)
    assert said in str(caught.value) and text in str(caught.value)


def test_without_a_signal_every_pass_leaves_at_the_free_exit(policy, seen):
    layout = policy.engine.layout
    paced = PacedPolicy(policy, Paces.read('never:2@0.3/0@0.7'), lambda: 0.0)
    for plan in (layout.full_plan(), layout.open_plan()):
        assert depth(paced, seen, plan) == 3


def test_the_guidance_says_whether_continuity_calls_for_depth(policy, seen):
    layout = policy.engine.layout
    paced = PacedPolicy(policy, Paces.read('continuity:2@0.3/0@0.7'), lambda: 0.0)
    assert depth(paced, seen, layout.open_plan()) == 3
    assert depth(paced, seen, layout.full_plan()) == 6


def test_an_arm_that_stands_still_for_two_chunks_gets_depth_for_some_passes(policy, seen):
    plan = policy.engine.layout.full_plan()
    paced = PacedPolicy(policy, Paces.read('still<0.03:2@0.3/0@0.7'), lambda: 0.0)
    places = [0.0, 0.5, 0.51, 0.6, 0.61, 0.62, 0.9, 1.2, 1.5, 1.8]  # two chunks: up to 0.62
    depths = [depth(paced, replace(seen, joints=seen.joints + at), plan) for at in places]
    assert depths == [3, 3, 3, 3, 3, 6, 6, 6, 6, 3]


def test_near_its_goal_the_arm_gets_depth(policy, seen):
    away = [0.5]
    paced = PacedPolicy(policy, Paces.read('distance<0.1:2@0.3/0@0.7'), lambda: away[0])
    plan = policy.engine.layout.full_plan()
    assert depth(paced, seen, plan) == 3
    away[0] = 0.05
    assert depth(paced, seen, plan) == 6


def test_a_gripper_that_turns_keeps_the_motion_fine_for_two_chunks(policy, seen):
    still = np.ones((8, policy.manifest.action.dim))
    turning = still.copy()
    turning[4:, -1] = -1.0
    chunks = [still, turning, still, still, still]

    class Told:
        """The policy, with chunks that are known beforehand."""

        manifest, engine = policy.manifest, policy.engine

        def predict(self, observation, plan):
            return replace(policy.predict(observation, plan), normalised=chunks.pop(0))

    paced = PacedPolicy(Told(), Paces.read('gripper:2@0.3/0@0.7'), lambda: 0.0)
    found = [depth(paced, seen, policy.engine.layout.full_plan()) for _ in range(5)]
    assert found == [3, 3, 6, 6, 3]


def test_exits_that_differ_send_the_same_pass_on(policy, seen):
    plan, exits = policy.engine.layout.full_plan(), all_exits(policy, seen)
    agreed = PacedPolicy(policy, Paces.read('exits>1000:2@0.3/0@0.7'), lambda: 0.0)
    found = agreed.predict(seen, plan)
    np.testing.assert_array_equal(found.normalised, exits.early[2])
    assert found.trace.layers_run == (0, 1, 5, 5), 'two exits were looked at, and count'
    differed = PacedPolicy(policy, Paces.read('exits>0.0000001:2@0.3/0@0.7'), lambda: 0.0)
    found = differed.predict(seen, plan)
    np.testing.assert_array_equal(found.normalised, exits.dense)
    assert found.trace.layers_run == (*range(6), 5, 5)


def test_a_pass_is_due_later_in_free_motion_than_in_fine(policy, seen):
    layout, action = policy.engine.layout, policy.manifest.action
    lasting = action.period_s * action.horizon
    paced = PacedPolicy(policy, Paces.read('continuity:2@0.25/0@0.75'), lambda: 0.0)
    assert paced.due(0.0), 'the first pass waits for nothing'
    for plan, left in ((layout.open_plan(), 0.25), (layout.full_plan(), 0.75)):
        paced.predict(seen, plan)
        wait = (1.0 - left) * lasting
        assert not paced.due(seen.stamp + wait - 0.01) and paced.due(seen.stamp + wait)


def test_the_loop_asks_as_early_as_the_more_eager_of_both_paces():
    config = mode_config(NodeConfig(), Row('paced', pace='either:5@0.3/8@0.7'))
    assert config.timing.request_threshold == 0.7 and not config.rerun.enabled


def test_an_evaluation_counts_layers_per_second_of_motion(folder):
    found = evaluate(EvaluateOptions(
        bundle=str(folder), modes=('full', 'paced'), episodes=1, families=('pick',), latency=0.02,
        time_limit=1.0, paces=('never:2@0.5/2@0.5', 'never:2@0.1/2@0.1'),
    ))['modes']  # fmt: skip
    often, seldom = found['paced never:2@0.5/2@0.5'], found['paced never:2@0.1/2@0.1']
    assert often['layers_run_mean'] == seldom['layers_run_mean'] == 3
    assert found['full']['layers_per_s'] > often['layers_per_s'] > seldom['layers_per_s'] > 0
