"""The expert: it solves every task, remembers nothing, and language decides what it does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dysl_vla_ros.sim.expert import expert_action, expert_chunk
from dysl_vla_ros.sim.funnel import MAX_STEP
from dysl_vla_ros.sim.goals import FAMILIES, Family, Goal
from dysl_vla_ros.sim.noise import Noise
from dysl_vla_ros.sim.relabel import sensible_goals
from dysl_vla_ros.sim.rollout import expert_episode
from dysl_vla_ros.sim.tasks import nameable_goals
from dysl_vla_ros.sim.tracker import Tracker
from dysl_vla_ros.sim.world import World


def _solved(world: World, seed: int, family: Family, noise: Noise | None = None) -> bool:
    for _ in expert_episode(seed, family, noise, cameras={}, world=world):
        pass
    return world.success()


@pytest.mark.parametrize('family', FAMILIES)
def test_the_expert_solves_every_family(world: World, family: Family) -> None:
    for seed in range(500, 504):
        assert _solved(world, seed, family), seed


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_the_expert_solves_at_least_98_of_100(world: World, family: Family) -> None:
    wins = sum(_solved(world, seed, family) for seed in range(50))
    assert wins >= 49
    disturbed = sum(_solved(world, seed, family, Noise()) for seed in range(50))
    assert disturbed >= 46


@pytest.mark.parametrize('family', FAMILIES)
def test_an_episode_is_long_and_its_fine_phases_outlast_a_chunk(
    world: World, family: Family
) -> None:
    phases = [f.phase for f in expert_episode(3, family, cameras={}, world=world)]
    assert len(phases) >= 75
    if family != 'push':
        assert phases.count('grasp') >= 8
    if family in ('bin', 'place'):
        assert phases.count('release') >= 8
        assert phases.index('grasp') < phases.index('carry') < phases.index('release')


def test_no_action_exceeds_a_centimetre_or_a_tenth_of_a_radian(world: World) -> None:
    for family in FAMILIES:
        for frame in expert_episode(8, family, cameras={}, world=world):
            assert np.linalg.norm(frame.action[:3]) <= MAX_STEP + 1e-9
            assert np.linalg.norm(frame.action[3:6]) <= 0.1


def test_another_instruction_means_another_action(world: World) -> None:
    episode = world.reset(12)
    state = world.expert_state()
    for family in ('pick', 'bin'):
        goals = [g for g in nameable_goals(episode.things) if g.family == family]
        ends = [expert_chunk(state, goal)[:, :3].sum(axis=0) for goal in goals]
        for index, end in enumerate(ends):
            others = [np.linalg.norm(end - other) for other in ends[:index]]
            assert all(distance > 0.002 for distance in others)


def test_the_expert_is_a_function_of_the_state_alone(world: World) -> None:
    for frame in expert_episode(4, 'bin', Noise(), cameras={}, world=world, max_actions=80):
        again = expert_action(dataclasses.replace(frame.expert_state), world.episode.goal)
        np.testing.assert_array_equal(frame.action, again)


@pytest.mark.parametrize('family', FAMILIES)
def test_a_chunk_forecasts_what_the_physics_then_does(world: World, family: Family) -> None:
    frames = list(expert_episode(6, family, cameras={}, world=world))
    actions = np.array([frame.action for frame in frames])
    goal = world.episode.goal
    errors = []
    for index in range(len(frames) - 8):
        chunk = expert_chunk(frames[index].expert_state, goal)
        gap = chunk[:, :3].sum(axis=0) - actions[index : index + 8, :3].sum(axis=0)
        errors.append(float(np.linalg.norm(gap)))
    assert np.percentile(errors, 90) < 0.004
    assert max(errors) < 0.012


def test_after_the_task_the_expert_stays_still(world: World) -> None:
    for family in FAMILIES:
        *_, last = expert_episode(2, family, cameras={}, world=world)
        chunk = expert_chunk(last.expert_state, world.episode.goal)
        assert np.abs(chunk[:, :6]).max() < 0.0045
        tracker = Tracker(world)
        for _ in range(20):
            tracker.play(expert_action(world.expert_state(), world.episode.goal))
        still = expert_chunk(world.expert_state(), world.episode.goal)
        assert np.abs(still[:, :6]).max() < 1e-6
        assert world.success()


def test_a_wrong_object_in_the_gripper_is_put_down_first(world: World) -> None:
    episode = world.reset(21, 'pick')
    tracker = Tracker(world)
    for _ in range(75):
        tracker.play(expert_action(world.expert_state(), episode.goal))
    assert world.held_object() == episode.goal.target
    other = next(i for i in range(len(episode.things)) if i != episode.goal.target)
    world.episode = dataclasses.replace(episode, goal=Goal('pick', 'up', other))
    for _ in range(230):
        tracker.play(expert_action(world.expert_state(), world.episode.goal))
    assert world.held_object() == other
    assert world.success()


def test_a_dropped_object_is_fetched_again(world: World) -> None:
    episode = world.reset(22, 'pick')
    tracker = Tracker(world)
    for _ in range(70):
        tracker.play(expert_action(world.expert_state(), episode.goal))
    opening = np.array((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for _ in range(12):
        tracker.play(opening)
    assert world.held_object() is None
    for _ in range(120):
        tracker.play(expert_action(world.expert_state(), episode.goal))
    assert world.success()


def test_every_frame_can_be_labelled_for_other_goals(world: World) -> None:
    for frame in expert_episode(9, 'bin', Noise(), cameras={}, world=world):
        goals = sensible_goals(frame.expert_state, world.episode.things)
        assert goals
        for chunk in (expert_chunk(frame.expert_state, goal, 8) for goal in goals):
            assert chunk.shape == (8, 7)
            assert np.isfinite(chunk).all()


def test_what_lies_in_the_bin_is_not_asked_for_again(world: World) -> None:
    *_, last = expert_episode(9, 'bin', cameras={}, world=world)
    target = world.episode.goal.target
    goals = sensible_goals(last.expert_state, world.episode.things)
    assert {goal.family for goal in goals if goal.target == target} == {'bin'}
    assert all(goal.reference != target for goal in goals)
