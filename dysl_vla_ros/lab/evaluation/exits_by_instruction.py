"""Which exit each instruction is given, by a report of exits that were played task by task.

The report decides about the bundle, so it must be of starts that no result is told of: of LIBERO
those that are drawn, in an unperturbed suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dysl_vla_ros.data_types import plain_words
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.worlds.libero.suites import STARTS, family_of, known_suites

FEWEST = 5
"""Starts of an instruction that every row must have played: on fewer, chance decides."""
_ROW = ('a report of dysl evaluate --world WORLD --modes full fixed --exit-layer D E --json '
        'REPORT, with the true words')  # fmt: skip
_Outcome = dict[tuple[int, int], bool]
"""(task, start) -> whether it was won."""


@dataclass(frozen=True)
class ByInstruction:
    """Exits chosen task by task.

    Attributes:
        exits: Instruction -> exit; 0 is dense.
        others: For any other instruction: the deepest of them.
        won: Instruction -> exit -> episodes won.
        starts: Instruction -> start states on which all of its exits were played.
        never: Instructions that no row won once; they are dense.
        thin: Share of the triangles that was drawn; below 1 the pictures are not the world's.
    """

    exits: dict[str, int]
    others: int
    won: dict[str, dict[int, int]]
    starts: dict[str, int]
    never: tuple[str, ...] = ()
    thin: float = 1.0


def by_instruction(report: Mapping[str, Any]) -> ByInstruction:
    """Per instruction the shallowest exit that wins as often as the best one.

    Tasks of the same words are one instruction: the bundle is told the words alone.

    Args:
        report: Of ``dysl evaluate --world``: the rows ``full`` and ``fixed D`` count, on the
            starts that all of them played.

    Raises:
        ConfigError: There is no dense row, or no exit beside it; an instruction has too few
            starts in common; an episode stands twice and differs; none was won; or results are
            told of these starts.
    """
    words, episodes = report.get('instructions', {}), report.get('episodes', {})
    found = {exit_of(name): _outcomes(name, rows) for name, rows in episodes.items()
             if exit_of(name) >= 0}  # fmt: skip
    control = report.get('control', 'none')
    if control != 'none':
        raise ConfigError('by-instruction', f'--control {control}', _ROW)
    if len(found) < 2 or 0 not in found or not words:
        raise ConfigError('by-instruction', sorted(episodes), _ROW)
    _check_starts(report, found)
    depth = sorted(found, key=lambda layer: layer or float('inf'))
    exits, won, starts, never = {}, {}, {}, []
    for told, tasks in _tasks_of(words).items():
        common = set.intersection(*({at for at in one if at[0] in tasks}
                                    for one in found.values()))  # fmt: skip
        if len(common) < FEWEST:
            raise ConfigError('by-instruction', told, f'at least {FEWEST} starts that every row '
                              f'has played: there are {len(common)}')  # fmt: skip
        wins = {layer: sum(found[layer][at] for at in common) for layer in depth}
        best = max(wins.values())
        exits[told] = next(layer for layer in depth if wins[layer] == best) if best else depth[-1]
        won[told], starts[told] = wins, len(common)
        never += [] if best else [told]
    if len(never) == len(exits):
        raise ConfigError('by-instruction', 'no episode won', 'a report of a policy that wins: '
                          'which exit is as good as dense cannot be told of one that never does'
                          )  # fmt: skip
    others = max(exits.values(), key=depth.index)
    return ByInstruction(exits, others, won, starts, tuple(never), float(report.get('thin', 1.0)))


def _tasks_of(words: Mapping[str, str]) -> dict[str, set[int]]:
    """Instruction -> tasks: as the node compares words, the first spelling names them."""
    names: dict[str, str] = {}
    tasks: dict[str, set[int]] = {}
    for task, told in words.items():
        name = names.setdefault(plain_words(told), told)
        tasks.setdefault(name, set()).add(int(task))
    return tasks


def _outcomes(row: str, episodes: Sequence[Sequence[Any]]) -> _Outcome:
    found: _Outcome = {}
    for task, start, success, *_ in episodes:
        if success not in (0, 1) or found.get((task, start), success) != success:
            raise ConfigError(f'episodes of {row}', [task, start, success], 'each start of a task '
                              'once, won (1) or not (0)')  # fmt: skip
        found[task, start] = bool(success)
    return found


def _check_starts(report: Mapping[str, Any], found: Mapping[int, _Outcome]) -> None:
    suite = str(report.get('suite', ''))
    if suite not in known_suites():
        return  # of another package: it has starts of one kind
    if suite != family_of(suite):
        raise ConfigError('by-instruction', suite, f'{family_of(suite)}, unperturbed: results are '
                          'told of the others')  # fmt: skip
    official = sum(start < STARTS for one in found.values() for _, start in one)
    if official:
        raise ConfigError('by-instruction', f'{official} episodes on official starts', 'drawn '
                          f'ones (dysl evaluate --first-start {STARTS}): results are told of the '
                          'official ones')  # fmt: skip


def exit_of(row: str) -> int:
    """Exit of a row's name, 0 of the dense one; -1 of any other."""
    mode, _, layer = row.partition(' ')
    if row == 'full':
        return 0
    return int(layer) if mode == 'fixed' and layer.isdecimal() else -1
