"""What can be asked: families, goals, the things on the table, and an episode.

"Left" and "right" are as the ``image`` camera sees them: it faces the robot, so left is the
negative y side of ``base_link``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.scene import Shape

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


def in_order(families: Collection[str]) -> tuple[Family, ...]:
    """Families in one order, each once: they take turns, so that another order is other scenes."""
    return tuple(family for family in FAMILIES if family in families)


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
