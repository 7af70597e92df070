"""What the words of a task want: an official predicate of things of the scene."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libero.libero import get_libero_path

_ATOM = re.compile(r'\((On|In|Open|Close|Turnon|Turnoff) (\S+?)(?: (\S+?))?\)', re.I)


@dataclass(frozen=True)
class Goal:
    """One predicate.

    Attributes:
        predicate: ``on`` or ``in`` a place; ``open``, ``close``, ``turnon``, ``turnoff``.
        thing: An object; a fixture, or a region of one.
        place: An object, a fixture or a region of one; '' where one thing says all.
    """

    predicate: str
    thing: str
    place: str = ''

    @property
    def atom(self) -> list[str]:
        """As the benchmark evaluates it."""
        return [part for part in (self.predicate, self.thing, self.place) if part]


def kind(name: str) -> str:
    """Of an object, without its number."""
    return re.sub(r'_\d+$', '', name)


def task_file(task: Any) -> Path:
    """Where a task is described."""
    return Path(get_libero_path('bddl_files')) / task.problem_folder / task.bddl_file


def places(task: Any) -> dict[str, str]:
    """Object -> where it lies at the start, from the task's description."""
    text = task_file(task).read_text('utf-8')
    begun = text[text.index('(:init') : text.index('(:goal')]
    return dict(re.findall(r'\((?:On|In) (\S+) (\S+)\)', begun))


def goal_of(task: Any) -> Goal | None:
    """What a task wants; None where it wants more than one thing."""
    text = task_file(task).read_text('utf-8')
    found = _ATOM.findall(text[text.index('(:goal') :])
    if len(found) != 1:
        return None
    predicate, thing, place = found[0]
    return Goal(predicate.lower(), thing, place)


def goals_in(bench: Any, number: int) -> dict[int, Goal]:
    """What each task's words mean in the scene of task ``number``, where they mean something.

    Its object is known by its kind or, where all tasks ask for the same kind, by its place.
    """
    tasks = [bench.get_task(other) for other in range(bench.n_tasks)]
    wanted = [goal_of(task) for task in tasks]
    by_place = len({kind(goal.thing) if goal else '' for goal in wanted}) == 1
    here = places(tasks[number])
    found = {}
    for other, goal in enumerate(wanted):
        if goal is None or not _stands(goal.place, here):
            continue
        if goal.place:
            lies = places(tasks[other]).get(goal.thing)
            alike = [name for name in here if kind(name) == kind(goal.thing)]
            things = [name for name in alike if not by_place or here[name] == lies]
        else:
            things = [goal.thing] if _stands(goal.thing, here) else []
        if things:
            found[other] = Goal(goal.predicate, things[0], goal.place)
    return found


def _stands(place: str, here: dict[str, str]) -> bool:
    """Whether a place, or the thing that it is a region of, is in a scene; the table always is."""
    return place == '' or 'table' in place or any(place.startswith(name) for name in here)
