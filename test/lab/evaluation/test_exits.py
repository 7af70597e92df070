"""Exits beside the dense pass, and an oracle that plays the shallowest one that is near enough."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.lab.evaluation.exits import OraclePolicy, all_exits, goal_distance, rms
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.sim.world import World

LAYERS = 7


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = tiny_bundle.write_tiny_bundle(
        tmp_path_factory.mktemp('bundle') / 'tiny', layers=LAYERS, mask=True
    )
    return open_policy(EngineConfig(path=str(folder)))


@pytest.fixture(scope='module')
def observation(policy):
    camera = policy.manifest.cameras[0]
    image = np.random.default_rng(1).integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    joints = World().joint_positions
    return Observation(0.0, {camera.name: image}, joints, 1.0, 'pick up the red cube')


def test_all_exits_of_one_pass_are_the_bits_of_a_pass_for_each(policy, observation):
    layout, found = policy.manifest.layout, all_exits(policy, observation)
    assert list(found.early) == list(layout.exit_layers) == list(range(1, LAYERS - 1))
    for exit_layer, actions in found.early.items():
        alone = policy.predict(observation, layout.exit_plan(exit_layer))
        np.testing.assert_array_equal(actions, alone.normalised)
    dense = policy.predict(observation, layout.full_plan())
    np.testing.assert_array_equal(found.dense, dense.normalised)
    errors = found.errors()
    assert len(errors) == LAYERS - 2 and min(errors) > 0
    assert errors[2] == pytest.approx(np.sqrt(np.mean((found.early[3] - found.dense) ** 2)))


def oracle(policy, tolerance):
    return OraclePolicy(policy, tolerance, lambda: ('grasp', 0.25))


def test_an_oracle_plays_the_shallowest_exit_within_its_tolerance(policy, observation):
    found = all_exits(policy, observation)
    errors = dict(zip(found.early, found.errors(), strict=True))
    for error in errors.values():
        first = min(layer for layer, other in errors.items() if other <= error)
        played = oracle(policy, error).predict(observation, None)
        np.testing.assert_array_equal(played.normalised, found.early[first])
        assert played.trace.layers_run == (*range(first), LAYERS - 1)
        assert played.trace.resume_layer is None


@pytest.mark.parametrize('tolerance', [0.0, 1e-12])
def test_an_oracle_to_whom_no_exit_is_near_enough_plays_dense(policy, observation, tolerance):
    played = oracle(policy, tolerance).predict(observation, None)
    dense = policy.predict(observation, policy.manifest.layout.full_plan())
    np.testing.assert_array_equal(played.normalised, dense.normalised)
    assert played.mode == 'full' and played.trace.layers_run == tuple(range(LAYERS))


def test_an_oracle_notes_where_it_was_and_how_wrong_each_exit_would_have_been(policy, observation):
    watching = oracle(policy, 0.0)
    watching.predict(observation, None)
    seen = watching.seen[0]
    assert (seen.phase, seen.distance) == ('grasp', 0.25)
    assert seen.errors == all_exits(policy, observation).errors()


def test_the_difference_of_two_chunks_is_a_root_mean_square():
    assert rms(np.array([[3.0, 0.0], [0.0, 4.0]])) == pytest.approx(2.5)


def test_the_goal_is_the_object_until_it_is_held(monkeypatch):
    world = World()
    world.reset(3, 'bin')
    target = world.object_positions[world.episode.goal.target]
    apart = float(np.linalg.norm(world.grasp_position - target))
    assert goal_distance(world) == pytest.approx(apart)
    monkeypatch.setattr(world, 'held_object', lambda: world.episode.goal.target)
    left = float(np.linalg.norm(target[:2] - world.episode.bin_position))
    assert goal_distance(world) == pytest.approx(left) != pytest.approx(apart)
    world.reset(3, 'pick')
    monkeypatch.setattr(world, 'held_object', lambda: world.episode.goal.target)
    assert goal_distance(world) == pytest.approx(0.05, abs=0.005)
