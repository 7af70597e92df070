"""Four task families in which language decides: goals, phrasings, layouts, success.

"Left" and "right" are as the ``image`` camera sees them: it faces the robot, so left is the
negative y side of ``base_link``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.camera import COLOURS
from dysl_vla_ros.sim.scene import SHAPES, Shape

Family = Literal['pick', 'bin', 'place', 'push']
FAMILIES: tuple[Family, ...] = get_args(Family)
Relation = Literal['up', 'inside', 'onto', 'beside', 'left', 'right']
RELATIONS: dict[Family, tuple[Relation, ...]] = {
    'pick': ('up',),
    'bin': ('inside',),
    'place': ('onto', 'beside'),
    'push': ('left', 'right'),
}
Split = Literal['train', 'heldout_phrasing', 'heldout_objects', 'heldout']
SPLITS: tuple[Split, ...] = get_args(Split)

HELD_OUT_OBJECTS: frozenset[tuple[str, Shape]] = frozenset(
    {('yellow', 'cylinder'), ('purple', 'cube')}
)
"""Colour-shape pairs that no scene of split ``train`` contains."""

# {a} is the object to move, {b} the one it goes to. The held-out phrasings combine words that
# the others use: a policy with a vocabulary of its own could not know any other.
_PHRASINGS: dict[Relation, tuple[str, ...]] = {
    'up': (
        'pick up the {a}',
        'lift the {a}',
        'grab the {a} and lift it up',
        'take the {a} off the table',
    ),
    'inside': (
        'put the {a} into the bin',
        'drop the {a} in the bin',
        'move the {a} into the bin',
        'place the {a} inside the bin',
    ),
    'onto': (
        'put the {a} onto the {b}',
        'place the {a} on top of the {b}',
        'stack the {a} on the {b}',
        'set the {a} down on top of the {b}',
    ),
    'beside': (
        'put the {a} next to the {b}',
        'place the {a} beside the {b}',
        'move the {a} next to the {b}',
        'set the {a} down beside the {b}',
    ),
    'left': (
        'push the {a} to the left',
        'slide the {a} left',
        'move the {a} over to the left line',
        'push the {a} left to the line',
    ),
    'right': (
        'push the {a} to the right',
        'slide the {a} right',
        'move the {a} over to the right line',
        'push the {a} right to the line',
    ),
}
_HELD_OUT_PHRASINGS: dict[Relation, tuple[str, ...]] = {
    'up': ('grab the {a}', 'pick the {a} up off the table'),
    'inside': ('set the {a} down inside the bin', 'take the {a} and put it in the bin'),
    'onto': ('move the {a} onto the {b}', 'take the {a} and stack it on top of the {b}'),
    'beside': ('take the {a} and place it next to the {b}', 'put the {a} down beside the {b}'),
    'left': ('move the {a} to the left', 'slide the {a} over to the left line'),
    'right': ('move the {a} to the right', 'slide the {a} over to the right line'),
}

OBJECT_X = (0.46, 0.63)
OBJECT_Y = (-0.14, 0.13)
"""Where objects start [m]: within reach, in view, clear of bin and lines."""
_SPACING = 0.098
_CORRIDOR = 0.075
_START_YAW = math.radians(25.0)
BESIDE_OFFSET = 0.068
"""The expert sets an object down this far in front of its neighbour, along x [m]."""
_BESIDE_REACH = 0.60
LIFTED = 0.05
PUSHED = 0.04


@dataclass(frozen=True)
class Goal:
    """What is asked of a scene; objects are indices into it."""

    family: Family
    relation: Relation
    target: int
    reference: int | None = None

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS[self.family]:
            raise ConfigError('relation', self.relation, f'one of {RELATIONS[self.family]}')
        if (self.reference is None) == (self.family == 'place'):
            raise ConfigError('reference', self.reference, 'an object for "place" alone')


@dataclass(frozen=True)
class Thing:
    """One object at the start of an episode: what it is and where it lies.

    Attributes:
        colour: A key of `COLOURS`.
        shape: Cube or cylinder.
        position: Its middle in ``base_link``, (x, y, z) [m].
        yaw: Rotation about the vertical [rad].
    """

    colour: str
    shape: Shape
    position: tuple[float, float, float]
    yaw: float

    @property
    def name(self) -> str:
        """As an instruction calls it: ``'red cube'``."""
        return f'{self.colour} {self.shape}'


@dataclass(frozen=True)
class Episode:
    """One task in one layout; everything follows from ``seed``, ``family`` and ``split``.

    Attributes:
        seed: The seed that it was drawn from.
        split: Which phrasings and colour-shape pairs were allowed.
        instruction: What to do, in words.
        goal: The same for expert and judge; the policy never sees it.
        phrasing: ``relation:index``; held-out phrasings count on behind the others.
        things: Objects in the scene's order.
        bin_position: Middle of the bin (x, y) [m].
    """

    seed: int
    split: Split
    instruction: str
    goal: Goal
    phrasing: str
    things: tuple[Thing, ...]
    bin_position: tuple[float, float]

    @property
    def family(self) -> Family:
        """The goal's family."""
        return self.goal.family

    @property
    def target(self) -> Thing:
        """The object to move."""
        return self.things[self.goal.target]

    @property
    def reference(self) -> Thing | None:
        """The object that the target goes to, if any."""
        return None if self.goal.reference is None else self.things[self.goal.reference]


def phrasings(relation: Relation, held_out: bool = False) -> tuple[str, ...]:
    """Templates of a relation, with ``{a}`` for the target and ``{b}`` for the reference."""
    return (_HELD_OUT_PHRASINGS if held_out else _PHRASINGS)[relation]


def instruction(things: tuple[Thing, ...], goal: Goal, template: str) -> str:
    """Fill a template in."""
    reference = '' if goal.reference is None else things[goal.reference].name
    return template.format(a=things[goal.target].name, b=reference)


def all_words() -> tuple[str, ...]:
    """Every word that any instruction of any split can contain, sorted."""
    texts = [t for group in (_PHRASINGS, _HELD_OUT_PHRASINGS) for ts in group.values() for t in ts]
    words = {word for text in texts for word in text.split() if '{' not in word}
    return tuple(sorted(words | set(COLOURS) | set(SHAPES)))


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
        return rx <= _BESIDE_REACH and free and math.dist((x, y), (rx, ry)) > 0.12
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
            Thing(*pairs[k], (*place, scene.half_height(pairs[k][1])),
                  float(generator.uniform(-_START_YAW, _START_YAW)))
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


def succeeded(
    episode: Episode, positions: FloatArray, held: int | None, speeds: FloatArray
) -> bool:
    """Judge the goal from the final state.

    Args:
        episode: What was asked, and where everything started.
        positions: Where the objects' middles are now, shape (n, 3) [m].
        held: Index of the object between the fingers, None if there is none.
        speeds: How fast the objects move, shape (n,) [m/s].
    """
    goal = episode.goal
    position, start = positions[goal.target], np.array(episode.target.position)
    if goal.family == 'pick':
        return held == goal.target and bool(position[2] - start[2] >= LIFTED)
    if held is not None or speeds[goal.target] > 0.05:
        return False
    if goal.family == 'bin':
        inside = np.abs(position[:2] - episode.bin_position).max() < scene.BIN_HALF
        return bool(inside and position[2] < scene.BIN_HEIGHT)
    if goal.family == 'push':
        side = -1.0 if goal.relation == 'left' else 1.0
        return bool(side * (position[1] - start[1]) >= PUSHED and position[2] > 0.0)
    assert goal.reference is not None
    reference = positions[goal.reference]
    apart = float(np.linalg.norm(position[:2] - reference[:2]))
    lies_on_table = abs(position[2] - start[2]) < 0.012
    if goal.relation == 'beside':
        # About 6 cm from face to face, and both on the table.
        return bool(lies_on_table and apart < 0.105)
    return bool(apart < 0.03 and position[2] - reference[2] > 0.03 and not lies_on_table)
