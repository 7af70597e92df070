"""Four task families in which language decides: layouts, and the goals that fit them."""

from __future__ import annotations

import math

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.camera import COLOURS
from dysl_vla_ros.sim.goals import (
    FAMILIES,
    RELATIONS,
    SPLITS,
    Episode,
    Family,
    Goal,
    Split,
    Thing,
)
from dysl_vla_ros.sim.scene import SHAPES, Shape
from dysl_vla_ros.sim.wording import instruction, phrasings

HELD_OUT_OBJECTS: frozenset[tuple[str, Shape]] = frozenset(
    {('yellow', 'cylinder'), ('purple', 'cube')}
)
"""Colour-shape pairs that no scene of split ``train`` contains."""

OBJECT_X = (0.46, 0.63)
OBJECT_Y = (-0.14, 0.13)
"""Where objects start [m]: within reach, in view, clear of bin and lines."""
_SPACING = 0.098
_CORRIDOR = 0.075
_START_YAW = math.radians(25.0)
BESIDE_OFFSET = 0.068
"""The expert sets an object down this far in front of its neighbour, along x [m]."""
_BESIDE_REACH = 0.60


def _feasible(things: tuple[Thing, ...], goal: Goal) -> bool:
    x, y, _ = things[goal.target].position
    others = [t.position for i, t in enumerate(things) if i != goal.target]
    if goal.family == 'push':
        side = -1.0 if goal.relation == 'left' else 1.0
        if side * y > scene.PUSH_LINE - 0.09:
            return False
        # Nothing may stand in the lane, nor where the closed gripper comes down behind it.
        return all(
            abs(other[0] - x) > _CORRIDOR or side * (other[1] - y) < -0.13 for other in others
        )
    if goal.relation == 'beside':
        assert goal.reference is not None
        rx, ry, _ = things[goal.reference].position
        slot = (rx + BESIDE_OFFSET, ry)
        free = all(
            math.dist(slot, other[:2]) > 0.09
            for i, other in enumerate(t.position for t in things)
            if i not in (goal.target, goal.reference)
        )
        # Well apart: whoever looks cannot take it for done.
        apart = math.dist((x, y), (rx, ry)) > 0.18
        return rx <= _BESIDE_REACH and free and apart
    return True


def nameable_goals(things: tuple[Thing, ...]) -> tuple[Goal, ...]:
    """Every goal that could be asked of the layout, in a fixed order."""
    goals = []
    for target in range(len(things)):
        for family in FAMILIES:
            for relation in RELATIONS[family]:
                if family != 'place':
                    goals.append(Goal(family, relation, target))
                    continue
                goals += [
                    Goal(family, relation, target, reference)
                    for reference in range(len(things))
                    if reference != target
                ]
    return tuple(goal for goal in goals if _feasible(things, goal))


def _draw_pairs(
    generator: np.random.Generator, count: int, held_out: bool
) -> list[tuple[str, Shape]]:
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    if not held_out:
        pairs = [pair for pair in pairs if pair not in HELD_OUT_OBJECTS]
    first = sorted(HELD_OUT_OBJECTS) if held_out else pairs
    chosen = [first[int(generator.integers(len(first)))]]
    # Often a second object shares the colour or the shape: one word alone does not decide.
    kin = generator.random()
    while len(chosen) < count:
        rest = [pair for pair in pairs if pair not in chosen]
        if len(chosen) == 1 and kin < 0.3:
            rest = [pair for pair in rest if pair[0] == chosen[0][0]] or rest
        elif len(chosen) == 1 and kin < 0.6:
            rest = [pair for pair in rest if pair[1] == chosen[0][1]]
        chosen.append(rest[int(generator.integers(len(rest)))])
    return chosen


def _draw_positions(generator: np.random.Generator, count: int) -> list[tuple[float, float]]:
    while True:
        places: list[tuple[float, float]] = []
        for _ in range(60):
            place = (float(generator.uniform(*OBJECT_X)), float(generator.uniform(*OBJECT_Y)))
            if all(math.dist(place, other) > _SPACING for other in places):
                places.append(place)
            if len(places) == count:
                return places


def draw_episode(seed: int, family: Family | None = None, split: Split = 'train') -> Episode:
    """Draw layout, goal and words.

    Args:
        seed: Not negative; the same arguments give the same episode.
        family: None draws one of the four.
        split: ``train``; ``heldout_phrasing`` (words in new sentences); ``heldout_objects``
            (the goal names an unseen colour-shape pair); ``heldout`` (both).
    """
    if seed < 0:
        raise ConfigError('seed', seed, 'an integer >= 0')
    if family is not None and family not in FAMILIES:
        raise ConfigError('family', family, f'one of {FAMILIES}, or None to draw one')
    if split not in SPLITS:
        raise ConfigError('split', split, f'one of {SPLITS}')
    generator = np.random.default_rng([seed, SPLITS.index(split)])
    drawn = FAMILIES[int(generator.integers(len(FAMILIES)))]
    family = family or drawn
    relation = RELATIONS[family][int(generator.integers(len(RELATIONS[family])))]
    new_objects = split in ('heldout_objects', 'heldout')
    new_words = split in ('heldout_phrasing', 'heldout')
    while True:
        count = int(generator.integers(3, 5))
        pairs = _draw_pairs(generator, count, new_objects)
        order = generator.permutation(count)
        places = _draw_positions(generator, count)
        things = tuple(
            Thing(
                pairs[k][0],
                pairs[k][1],
                (place[0], place[1], scene.half_height(pairs[k][1])),
                float(generator.uniform(-_START_YAW, _START_YAW)),
            )
            for k, place in zip(order, places, strict=True)
        )  # fmt: skip
        bin_position = (
            scene.BIN_POSITION[0] + float(generator.uniform(-0.012, 0.012)),
            scene.BIN_POSITION[1] + float(generator.uniform(-0.015, 0.015)),
        )
        goals = [g for g in nameable_goals(things) if g.relation == relation]
        if new_objects:
            named = [i for i, t in enumerate(things) if (t.colour, t.shape) in HELD_OUT_OBJECTS]
            goals = [g for g in goals if g.target in named or g.reference in named]
        if goals:
            break
    goal = goals[int(generator.integers(len(goals)))]
    templates = phrasings(relation, new_words)
    index = int(generator.integers(len(templates)))
    return Episode(
        seed=seed,
        split=split,
        instruction=instruction(things, goal, templates[index]),
        goal=goal,
        phrasing=f'{relation}:{index + (len(phrasings(relation)) if new_words else 0)}',
        things=things,
        bin_position=bin_position,
    )
