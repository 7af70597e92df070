"""What a person asks for, in a sentence, as an episode: a scene that holds it, and its goal."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.camera import COLOURS
from dysl_vla_ros.sim.goals import RELATIONS, Episode, Goal, Relation, Thing
from dysl_vla_ros.sim.scene import SHAPES
from dysl_vla_ros.sim.tasks import HELD_OUT_OBJECTS, draw_episode, nameable_goals
from dysl_vla_ros.sim.wording import instruction, phrasings

_SCENES = 3_000
"""Looked through before a request counts as impossible; the rarest pairs need some hundreds."""


def find_episode(text: str, first_seed: int = 0) -> Episode:
    """The first layout from a seed on in which a request can be fulfilled, with its goal.

    Args:
        text: As a person says it; case, spaces and a full stop do not matter.
        first_seed: Layouts are looked through from here on.

    Raises:
        ConfigError: Nobody could judge it: not a sentence of the task families, or of things
            that are in no scene. Says what can be asked.
    """
    wanted = ' '.join(text.lower().rstrip('.!').split())
    relation = _relation(wanted)
    if relation is None:
        examples = '; '.join(
            templates[0].format(a='red cube', b='blue cylinder')
            for templates in map(phrasings, _relations())
        )
        raise ConfigError(
            'instruction', text,
            f'a sentence such as: {examples}. Colours: {", ".join(COLOURS)}; shapes: '
            f'{", ".join(SHAPES)}',
        )  # fmt: skip
    family = next(f for f, relations in RELATIONS.items() if relation in relations)
    unseen = any(f'{colour} {shape}' in wanted for colour, shape in HELD_OUT_OBJECTS)
    for seed in range(first_seed, first_seed + _SCENES):
        episode = draw_episode(seed, family, 'heldout_objects' if unseen else 'train')
        goal = _goal(episode.things, relation, wanted)
        if goal is not None:
            return replace(episode, instruction=wanted, goal=goal, phrasing=f'{relation}:asked')
    raise ConfigError('instruction', text, 'things that lie in one of the scenes')


def _relations() -> tuple[Relation, ...]:
    return tuple(relation for relations in RELATIONS.values() for relation in relations)


def _templates(relation: Relation) -> tuple[str, ...]:
    return phrasings(relation) + phrasings(relation, held_out=True)


def _relation(wanted: str) -> Relation | None:
    """The one that a sentence speaks of, whatever it names; None when it is none of ours."""
    names = [f'{colour} {shape}' for colour in COLOURS for shape in SHAPES]
    for relation in _relations():
        for template in _templates(relation):
            if any(template.format(a=a, b=b) == wanted for a, b in permutations(names, 2)):
                return relation
    return None


def _goal(things: tuple[Thing, ...], relation: Relation, wanted: str) -> Goal | None:
    for goal in nameable_goals(things):
        if goal.relation == relation and any(
            instruction(things, goal, template) == wanted for template in _templates(relation)
        ):
            return goal
    return None
