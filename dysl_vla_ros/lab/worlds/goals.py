"""Every goal that the simulator's grammar can name, numbered once for all scenes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.sim.camera import COLOURS
from dysl_vla_ros.sim.goals import FAMILIES, RELATIONS, Goal, Relation, Thing
from dysl_vla_ros.sim.scene import SHAPES
from dysl_vla_ros.sim.wording import phrasings


@dataclass(frozen=True)
class NamedGoal:
    """A goal in words instead of indices into a scene."""

    relation: Relation
    target: str
    reference: str = ''

    def phrases(self, held_out: bool = False) -> tuple[str, ...]:
        """All phrasings of one split."""
        templates = phrasings(self.relation, held_out)
        return tuple(text.format(a=self.target, b=self.reference) for text in templates)


@lru_cache(maxsize=1)
def all_goals() -> tuple[NamedGoal, ...]:
    """In a fixed order; the index is the number of the goal."""
    names = [f'{colour} {shape}' for colour in COLOURS for shape in SHAPES]
    goals = []
    for family in FAMILIES:
        for relation in RELATIONS[family]:
            if family != 'place':
                goals += [NamedGoal(relation, name) for name in names]
            else:
                goals += [NamedGoal(relation, a, b) for a in names for b in names if a != b]
    return tuple(goals)


@lru_cache(maxsize=1)
def _numbers() -> dict[NamedGoal, int]:
    return {goal: number for number, goal in enumerate(all_goals())}


def goal_number(things: tuple[Thing, ...], goal: Goal) -> int:
    """The number of a goal of one scene."""
    reference = '' if goal.reference is None else things[goal.reference].name
    return _numbers()[NamedGoal(goal.relation, things[goal.target].name, reference)]


def all_phrases(held_out: bool = False) -> tuple[tuple[str, ...], ...]:
    """The phrasings of every goal, by number."""
    return tuple(goal.phrases(held_out) for goal in all_goals())


def target_names() -> NDArray[np.int64]:
    """Number of the target's name, 0..``len(COLOURS) * len(SHAPES) - 1``, per goal."""
    names = [f'{colour} {shape}' for colour in COLOURS for shape in SHAPES]
    return np.array([names.index(goal.target) for goal in all_goals()], dtype=np.int64)
