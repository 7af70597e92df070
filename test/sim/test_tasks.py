"""Layouts, words and goals of episodes."""

from __future__ import annotations

import itertools
import math

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim import tasks
from dysl_vla_ros.sim.goals import FAMILIES, RELATIONS, SPLITS, Goal
from dysl_vla_ros.sim.tasks import draw_episode
from dysl_vla_ros.sim.wording import all_words, phrasings

_SEEDS = range(150)


def test_the_same_seed_draws_the_same_episode() -> None:
    for split in SPLITS:
        assert draw_episode(4, None, split) == draw_episode(4, None, split)
    assert draw_episode(4) != draw_episode(5)


def test_several_distinct_objects_are_always_on_the_table() -> None:
    for seed in _SEEDS:
        things = draw_episode(seed).things
        assert 3 <= len(things) <= 4
        assert len({thing.name for thing in things}) == len(things)
        for one, other in itertools.combinations(things, 2):
            assert math.dist(one.position, other.position) > 0.09


def test_one_word_alone_often_does_not_tell_the_target() -> None:
    kin = 0
    for seed in _SEEDS:
        episode = draw_episode(seed)
        others = [thing for thing in episode.things if thing != episode.target]
        kin += any(thing.colour == episode.target.colour for thing in others)
    assert kin > 0.1 * len(_SEEDS)


def test_every_family_and_relation_is_drawn() -> None:
    goals = {(g.family, g.relation) for g in (draw_episode(seed).goal for seed in _SEEDS)}
    wanted = {(family, relation) for family in FAMILIES for relation in RELATIONS[family]}
    assert goals == wanted


def test_training_never_shows_a_held_out_pair() -> None:
    for seed in _SEEDS:
        pairs = {(thing.colour, thing.shape) for thing in draw_episode(seed).things}
        assert not pairs & tasks.HELD_OUT_OBJECTS


def test_held_out_objects_are_named_in_their_split() -> None:
    for seed in range(40):
        episode = draw_episode(seed, None, 'heldout_objects')
        named = [thing for thing in (episode.target, episode.reference) if thing is not None]
        assert any((thing.colour, thing.shape) in tasks.HELD_OUT_OBJECTS for thing in named)


def test_held_out_sentences_are_new_but_their_words_are_known() -> None:
    known = {word for r in RELATIONS.values() for x in r for t in phrasings(x)
             for word in t.split()}  # fmt: skip
    for relations in RELATIONS.values():
        for relation in relations:
            assert len(phrasings(relation)) >= 4
            for template in phrasings(relation, held_out=True):
                assert template not in phrasings(relation)
                assert set(template.split()) <= known


def test_every_instruction_consists_of_listed_words() -> None:
    words = set(all_words())
    for split in SPLITS:
        for seed in range(40):
            assert set(draw_episode(seed, None, split).instruction.split()) <= words


def test_an_instruction_names_target_and_reference() -> None:
    for seed in range(60):
        episode = draw_episode(seed)
        assert episode.target.name in episode.instruction
        assert episode.reference is None or episode.reference.name in episode.instruction


def test_the_goal_asked_is_among_the_nameable_ones() -> None:
    for seed in range(60):
        episode = draw_episode(seed)
        goals = tasks.nameable_goals(episode.things)
        assert episode.goal in goals
        assert len({goal.target for goal in goals}) == len(episode.things)


def test_a_goal_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match='relation'):
        Goal('pick', 'left', 0)
    with pytest.raises(ConfigError, match='reference'):
        Goal('place', 'onto', 0)
    with pytest.raises(ConfigError, match='reference'):
        Goal('pick', 'up', 0, 1)


@pytest.mark.parametrize(
    ('arguments', 'field'),
    [((-1,), 'seed'), ((0, 'juggle'), 'family'), ((0, None, 'test'), 'split')],
)
def test_wrong_arguments_are_named(arguments: tuple[object, ...], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        draw_episode(*arguments)  # type: ignore[arg-type]
