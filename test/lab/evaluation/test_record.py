"""A recording for the calibration knows what every controller would have said."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.record import ScoredPolicy, record_episodes
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.world import World


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.mark.slow
def test_every_accepted_chunk_of_a_recording_has_all_scores(bundle):
    options = EvaluateOptions(bundle=str(bundle), episodes=1, time_limit=1.5, latency=0.05)
    episodes = list(record_episodes(options))
    assert len(episodes) == len(FAMILIES)
    chunks = [delivery.chunk for episode in episodes for delivery in episode.accepted]
    dynamic = set(ScoredPolicy(open_policy(EngineConfig(path=str(bundle)))).manifest.layout
                  .dynamic_layers)  # fmt: skip
    assert chunks and all(set(chunk.trace.scores) == dynamic for chunk in chunks)


def test_a_scored_policy_moves_the_arm_as_the_policy_does(bundle):
    policy = open_policy(EngineConfig(path=str(bundle)))
    scored = ScoredPolicy(policy)
    camera = policy.manifest.cameras[0]
    grey = np.full((camera.height, camera.width, 3), 127, np.uint8)
    joints = World().joint_positions
    observation = Observation(0.0, {camera.name: grey}, joints, 1.0, 'pick up the red cube')
    plan = policy.manifest.layout.open_plan()
    plain, watched = policy.predict(observation, plan), scored.predict(observation, plan)
    assert (plain.normalised == watched.normalised).all()
    assert plain.trace.jumps == watched.trace.jumps
    assert set(plain.trace.scores) <= set(watched.trace.scores)
