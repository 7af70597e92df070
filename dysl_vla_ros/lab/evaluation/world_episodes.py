"""Episodes in worlds that wait for the policy: kept as they are finished, and summed up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.strict_json import parse
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.bench_observations import load_recorded
from dysl_vla_ros.lab.evaluation.deer import DeerPolicy, exit_steps
from dysl_vla_ros.lab.evaluation.exits import OraclePolicy
from dysl_vla_ros.lab.evaluation.ledger import (
    check_counts,
    check_depth,
    check_layers,
    check_same,
    kept_lines,
)
from dysl_vla_ros.lab.evaluation.modes import Row, mode_policy
from dysl_vla_ros.lab.evaluation.paced import PacedPolicy
from dysl_vla_ros.lab.evaluation.paces import Paces
from dysl_vla_ros.lab.evaluation.statistics import paired_difference, wilson_interval
from dysl_vla_ros.lab.evaluation.world import Played
from dysl_vla_ros.lab.side_by_side import side_by_side
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.targets import file_target, write_whole

FORMAT = 'dysl_libero_episodes'
"""Of files that were kept; other worlds came later."""
_UNNAMED = {'share', 'observations'}
"""Settings of a row that are not in its name."""


@dataclass(frozen=True)
class WorldEpisode:
    """One finished episode.

    Attributes:
        row: Name of the mode's row.
        task: Number.
        start: Start state.
        told: The words.
        played: What happened.
        picked: With ``other_words``: whether the object that they name was lifted.
        elsewhere: With ``other_words``: whether another object of the scene was, and not that.
    """

    row: str
    task: int
    start: int
    told: str
    played: Played
    picked: bool = False
    elsewhere: bool = False


class Kept:
    """Finished episodes, one a line; a file begun with anything else is refused.

    Threads may share it.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any], layers: int = 0) -> None:
        """Read what is there, or begin.

        Args:
            path: The file; None keeps nothing.
            about: What the episodes depend on, ``rows`` by name; rows that are new to the file
                are added to its head.
            layers: Of the bundle that they are of; 0 does not ask.

        Raises:
            ConfigError: Another kind of file, a damaged one, or one begun with other settings;
                names what differs.
        """
        self._path = None if path is None else path.expanduser()
        self._lock = threading.Lock()
        self.found: dict[tuple[str, int, int], WorldEpisode] = {}
        if self._path is None:
            return
        file_target('--keep', self._path, _is_kept, 'a file that dysl kept episodes in')
        if not self._path.is_file() or not self._path.stat().st_size:
            write_whole(self._path, f'{_head(about)}\n'.encode())
            return
        lines, begun, found = kept_lines(self._path, _read)
        if not found:  # of a run that was refused, or ended before its first
            write_whole(self._path, f'{_head(about)}\n'.encode())
            return
        head = _head(_gone_on(self._path, begun, about, {one.row for one in found}))
        check_depth(self._path, [one.played.layers_total for one in found], layers)
        self.found.update({(one.row, one.task, one.start): one for one in found})
        if lines[-1] or lines[0] != head:
            write_whole(self._path, '\n'.join([head, *lines[1:-1], '']).encode())

    def add(self, episode: WorldEpisode) -> None:
        """Keep a finished episode, at once."""
        with self._lock:
            self.found[episode.row, episode.task, episode.start] = episode
            if self._path is not None:
                with self._path.open('a', encoding='utf-8') as stream:
                    stream.write(json.dumps(asdict(episode)) + '\n')


Playing = Callable[[Row, int], WorldEpisode | None]
"""Plays a row from a start of one task; None: this task cannot be played as it was asked for."""


def play_rows(
    tasks: Sequence[int], starts: range, rows: Sequence[Row], kept: Kept,
    open_task: Callable[[int], Playing],
    on_episode: Callable[[WorldEpisode], None] | None = None,
) -> None:  # fmt: skip
    """Play what is not kept: every row from one start before the next start.

    Args:
        tasks: Numbers.
        starts: Numbers of the start states of each.
        rows: In what order each start is played.
        kept: Gets every episode as it is finished.
        open_task: Called with a task of which something is left, when its turn has come.
        on_episode: Called with each, also with those that were there.
    """
    for task in tasks:
        playing: Playing | None = None
        for start, row in ((start, row) for start in starts for row in rows):
            found = kept.found.get((row.name, task, start))
            if found is None:
                playing = playing or open_task(task)
                found = playing(row, start)
                if found is None:
                    break
                kept.add(found)
            if on_episode is not None:
                on_episode(found)


def play_side_by_side(
    tasks: Sequence[int], starts: range, rows: Sequence[Row], kept: Kept,
    openers: Sequence[Callable[[int], Playing]],
    on_episode: Callable[[WorldEpisode], None] | None = None,
) -> None:  # fmt: skip
    """``play_rows``, a task at a time in each of several simulators.

    They wait on processes of their own, so that threads are enough. The first error, or an
    interruption, ends all of them after the episodes that they are playing, which are kept.

    Args:
        tasks: Numbers.
        starts: Numbers of the start states of each.
        rows: In what order each start is played.
        kept: Gets every episode as it is finished.
        openers: One for each simulator.
        on_episode: Called with each, one at a time.
    """
    telling = threading.Lock()

    def play(opener: Callable[[int], Playing], task: int, go_on: Callable[[], None]) -> None:
        def tell(one: WorldEpisode) -> None:
            with telling:
                if on_episode is not None:
                    on_episode(one)
            go_on()

        play_rows((task,), starts, rows, kept, opener, tell)

    side_by_side(openers, tasks, play)


def report(
    rows: Sequence[Row], tasks: Sequence[int], starts: range, episodes: Sequence[WorldEpisode],
    facts: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Rows side by side, of episodes that are played.

    Args:
        rows: The first is the reference of the paired comparison.
        tasks: Numbers.
        starts: Numbers of the start states of each.
        episodes: That are finished, of these and perhaps of more.
        facts: What the document begins with.

    Raises:
        ConfigError: None was played.
    """
    wanted = [e for e in sorted(episodes, key=lambda e: (e.task, e.start))
              if e.task in tasks and e.start in starts]  # fmt: skip
    by_row = {row.name: [e for e in wanted if e.row == row.name] for row in rows}
    by_row = {name: found for name, found in by_row.items() if found}
    if not by_row:
        raise ConfigError('tasks', tuple(tasks), 'a task in whose scene the object of another '
                          'lies')  # fmt: skip
    names = list(by_row)
    told: dict[int, set[str]] = {}
    for one in wanted:
        told.setdefault(one.task, set()).add(one.told)
    return {
        **facts,
        'instructions': {str(task): next(iter(words)) for task, words in sorted(told.items())
                         if len(words) == 1},
        'rows': {name: _summary(found) for name, found in by_row.items()},
        'paired': {name: _paired(by_row[names[0]], by_row[name]) for name in names[1:]},
        'episodes': {name: [[e.task, e.start, int(e.played.success), e.played.actions,
                             e.played.layers_run, e.played.chunks] for e in found]
                     for name, found in by_row.items()},
    }  # fmt: skip


def episode_name(task: int, start: int) -> str:
    """What the film of an episode is called, before the row and how it ended."""
    return f'task{task:02d}-start{start:02d}'


def recorded_steps(
    rows: Sequence[Row], observations: Path | None, policy: Policy
) -> list[tuple[float, ...]]:
    """What ``deer`` takes its thresholds from: ``exit_steps`` of recorded states; else none."""
    if observations is None or all(row.mode != 'deer' for row in rows):
        return []
    return [exit_steps(policy, seen) for seen in load_recorded(observations, policy.manifest)]


def row_policy(policy: Policy, row: Row, task: int, start: int, limits: Sequence[float]) -> Any:
    """The policy as a row has it; ``limits`` are of the mode ``deer``."""
    if row.mode == 'oracle':
        return OraclePolicy(policy, row.tolerance, lambda: ('', 0.0))
    if row.mode == 'deer':
        return DeerPolicy(policy, limits)
    if row.mode == 'paced':
        paces = Paces.read(row.pace, policy.manifest.layers_total)
        return PacedPolicy(policy, paces, _no_distance)
    return mode_policy(policy, row, seed=1000 * task + start)


def _no_distance() -> float:
    raise ConfigError('pace', 'distance', 'a signal that a world can tell: continuity, gripper, '
                      'either, exits or never')  # fmt: skip


def _summary(found: Sequence[WorldEpisode]) -> dict[str, Any]:
    wins, count = sum(e.played.success for e in found), len(found)
    chunks = max(sum(e.played.chunks for e in found), 1)
    layers = sum(e.played.layers_run for e in found)
    return {
        'episodes': count, 'successes': wins, 'success_rate': wins / count,
        'success_interval': wilson_interval(wins, count),
        'tasks': {str(task): sum(e.played.success for e in found if e.task == task)
                  for task in sorted({e.task for e in found})},
        'picked': sum(e.picked for e in found), 'elsewhere': sum(e.elsewhere for e in found),
        'refused': sum(bool(e.played.refused) for e in found),
        'layers_run_mean': layers / chunks,
        'layers_per_action': layers / max(sum(e.played.actions for e in found), 1),
        'layers_total': found[0].played.layers_total,
        'controllers_mean': sum(e.played.controllers for e in found) / chunks,
        'rerun_rate': sum(e.played.reruns for e in found) / chunks,
        'actions_mean': float(np.mean([e.played.actions for e in found])),
        'pass_ms': _median_ms([s for e in found for s in e.played.pass_seconds]),
        'backbone_ms': _median_ms([s for e in found for s in e.played.backbone_seconds]),
    }  # fmt: skip


def _median_ms(seconds: Sequence[float]) -> float | None:
    """None where no chunk was ever accepted: nobody measured one."""
    return 1e3 * float(np.median(seconds)) if seconds else None


def _paired(one: Sequence[WorldEpisode], other: Sequence[WorldEpisode]) -> dict[str, float]:
    """Success of the reference minus that of the other, on the episodes that both have."""
    theirs = {(e.task, e.start): e.played.success for e in other}
    both = [(e.played.success, theirs[e.task, e.start]) for e in one
            if (e.task, e.start) in theirs]  # fmt: skip
    loss, low, high = paired_difference([a for a, _ in both], [b for _, b in both])
    return {'episodes': len(both), 'loss': loss, 'low': low, 'high': high}


def _head(about: Mapping[str, Any]) -> str:
    return json.dumps({'format': FORMAT, 'about': about}, sort_keys=True)


def _gone_on(
    path: Path, begun: dict[str, Any], about: Mapping[str, Any], played: set[str]
) -> dict[str, Any]:
    """The head with which a file goes on: what it was begun with, and the rows that are new."""
    given = dict(json.loads(json.dumps(about)))
    asked = given.pop('rows', {})
    # Files of before 2026-11-29 tell neither; rows by their names alone.
    for key, value in (('policy', given.get('policy')), ('parameters', {})):
        if key in given:
            begun.setdefault(key, value)
    told_of_rows = 'rows' in begun or 'rows' in about
    rows: dict[str, Any] = begun.pop('rows', dict.fromkeys(played))
    check_same(path, begun, given)
    for name, told in asked.items():
        if rows.get(name) is not None:
            check_same(path, rows[name], told, f'rows.{name}')
        elif name in rows and _UNNAMED & told.keys():
            raise ConfigError(
                '--keep',
                str(path),
                f'a file begun with rows.{name} = {told!r}: of '
                'this one, of before 2026-11-29, it is not told; name another',
            )
    return {**begun, 'rows': {**rows, **asked}} if told_of_rows else begun


def _is_kept(path: Path) -> bool:
    with path.open('rb') as stream:
        return f'"format": "{FORMAT}"'.encode() in stream.readline(1 << 20)


def _read(found: dict[str, Any]) -> WorldEpisode:
    episode: WorldEpisode = parse(WorldEpisode, found, 'episode')
    played = episode.played
    check_counts(played.chunks, played.reruns, played.pass_seconds)
    check_layers(played.layers_run, played.layers_total, played.chunks + played.reruns)
    return episode
