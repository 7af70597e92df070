"""LIBERO by the published protocol: 50 official starts of 10 tasks, step limits, 10 waiting steps.

Beside success with the true words: the words of another task of the same scene (does the policy
read?), and grey pictures (does it see?). A finished episode is kept at once and not played again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.bench_observations import load_recorded
from dysl_vla_ros.lab.evaluation.deer import DeerPolicy, exit_steps, thresholds
from dysl_vla_ros.lab.evaluation.exits import OraclePolicy
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config, mode_policy
from dysl_vla_ros.lab.evaluation.statistics import paired_difference, wilson_interval
from dysl_vla_ros.lab.evaluation.videos import Shelf, Videos, taken_places
from dysl_vla_ros.lab.evaluation.world import Executed, Played, Seen, play_episode
from dysl_vla_ros.lab.evaluation.world_film import film_of
from dysl_vla_ros.lab.worlds.libero.client import LiberoClient
from dysl_vla_ros.lab.worlds.libero.suites import OWN_WORDS, STARTS, TASKS, known_suites
from dysl_vla_ros.lab.worlds.libero.units import official
from dysl_vla_ros.policy import Policy, open_policy
from dysl_vla_ros.targets import file_target, write_whole

Control = Literal['none', 'other_words', 'blank']
CONTROLS: tuple[Control, ...] = get_args(Control)
FORMAT = 'dysl_libero_episodes'
PICKED_M = 0.05
"""An object that was lifted this far counts as picked up."""


@dataclass(frozen=True)
class LiberoOptions:
    """What to evaluate.

    Attributes:
        suite: Of the benchmark; LIBERO-PRO's perturbed ones are suites of their own.
        rows: Modes; the first is the reference of the paired comparison.
        tasks: Numbers.
        starts: Official start states of each, from the first on.
        control: ``other_words`` of a task whose object lies in the same scene, ``blank`` pictures.
        thin: Share of the triangles that is drawn; 1 is the benchmark as it is.
        replan: Actions played of each chunk.
        observations: Of mode ``deer``, whose thresholds are quantiles over them (``.npz``, as
            for ``dysl bench``; the recipe leaves one).
        videos: What is filmed; None is nothing.
        config: Parameters of the skip policy.
        bundle: Folder.
    """

    suite: str
    rows: tuple[Row, ...]
    bundle: str
    tasks: tuple[int, ...] = tuple(range(TASKS))
    starts: int = STARTS
    control: Control = 'none'
    thin: float = 1.0
    replan: int = 8
    observations: Path | None = None
    videos: Videos | None = None
    config: NodeConfig = NodeConfig()

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        if self.suite not in known_suites():
            raise ConfigError('suite', self.suite, 'one of ' + ', '.join(known_suites()))
        if self.control not in CONTROLS:
            raise ConfigError('control', self.control, 'one of ' + ', '.join(CONTROLS))
        if self.control == 'other_words' and self.suite.endswith(OWN_WORDS):
            raise ConfigError('control', self.control, f'none or blank with {self.suite}, whose '
                              'words are its own')  # fmt: skip
        if not 1 <= self.starts <= STARTS:
            raise ConfigError('starts', self.starts, f'within 1 to {STARTS}, the official ones')
        if not self.tasks or not all(0 <= task < TASKS for task in self.tasks):
            raise ConfigError('tasks', self.tasks, f'numbers within 0 to {TASKS - 1}')
        if not 0.0 < self.thin <= 1.0:
            raise ConfigError('thin', self.thin, 'more than 0, at most 1')
        for row in self.rows:
            if row.mode == 'random' and row.share <= 0:
                raise ConfigError('random_depth', row.share, 'a share with the mode random')
            if row.mode == 'deer' and self.observations is None:
                raise ConfigError('observations', None, 'a .npz with the mode deer, whose '
                                  'thresholds are quantiles over observations')  # fmt: skip


@dataclass(frozen=True)
class LiberoEpisode:
    """One finished episode.

    Attributes:
        row: Name of the mode's row.
        task: Number.
        start: Official start state.
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


class LiberoTask:
    """One task of a suite as a ``World``."""

    def __init__(self, client: LiberoClient, suite: str, task: int, thin: float) -> None:
        """Build the scene, a few seconds."""
        self._client, self.suite, self.task = client, suite, task
        about = client.ask('open', suite, task, thin)
        self.goals: dict[int, str] = about['goals']
        self._instruction, self._limit = str(about['instruction']), int(about['limit'])

    @property
    def instruction(self) -> str:
        """The task in its true words."""
        return self._instruction

    @property
    def limit(self) -> int:
        """The suite's official step limit."""
        return self._limit

    def start(self, number: int) -> None:
        """An official start, settled as officially; from ``STARTS`` on one that is drawn."""
        self._client.ask(*(('start', number) if number < STARTS else ('fresh', number)))

    def look(self) -> Seen:
        """Both cameras, the joints and the gripper."""
        images, state = self._client.look()
        return Seen(dict(images), state[:-1].astype(np.float64), float(state[-1]))

    def play(self, actions: FloatArray) -> tuple[bool, int]:
        """Play until the official check is met."""
        done, count = self._client.ask('play', official(actions).tobytes())
        return bool(done), int(count)

    def lifted(self) -> dict[str, float]:
        """How far each object was lifted in this episode [m]."""
        return dict(self._client.ask('lifted'))


class Kept:
    """Finished episodes, one a line; a file begun with anything else is refused."""

    def __init__(self, path: Path | None, about: Mapping[str, Any]) -> None:
        """Read what is there, or begin.

        Raises:
            ConfigError: Another kind of file, or one begun with other options.
        """
        self._path = None if path is None else path.expanduser()
        self.found: dict[tuple[str, int, int], LiberoEpisode] = {}
        if self._path is None:
            return
        file_target('--keep', self._path, _is_kept, 'a file that dysl kept episodes in')
        head = json.dumps({'format': FORMAT, 'about': about}, sort_keys=True)
        if not self._path.is_file() or not self._path.stat().st_size:
            write_whole(self._path, f'{head}\n'.encode())
            return
        lines = self._path.read_text('utf-8').split('\n')
        if lines[0] != head:
            raise ConfigError('--keep', str(self._path), f'a file begun with {head}')
        for line in lines[1:-1]:
            one = _read(json.loads(line))
            self.found[one.row, one.task, one.start] = one
        if lines[-1]:  # cut off while it was written
            write_whole(self._path, ('\n'.join(lines[:-1]) + '\n').encode())

    def add(self, episode: LiberoEpisode) -> None:
        """Keep a finished episode, at once."""
        self.found[episode.row, episode.task, episode.start] = episode
        if self._path is not None:
            with self._path.open('a', encoding='utf-8') as stream:
                stream.write(json.dumps(asdict(episode)) + '\n')


def evaluate_libero(
    options: LiberoOptions, keep: Path | None = None,
    on_episode: Callable[[LiberoEpisode], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Play every row on the same starts.

    Args:
        options: What to run.
        keep: Where finished episodes are kept and looked for.
        on_episode: Called with each, also with those that were there.

    Returns:
        A JSON document: a summary per row, paired differences to the first, episodes.

    Raises:
        ConfigError: LIBERO is not installed, or a row does not fit the bundle.
    """
    policy = open_policy(replace(options.config.engine, path=options.bundle))
    kept = Kept(keep, about(options, policy))
    steps = [] if options.observations is None else [
        exit_steps(policy, seen) for seen in load_recorded(options.observations, policy.manifest)
    ]  # fmt: skip
    videos = options.videos
    shelf = None if videos is None else Shelf(videos, taken_places(videos))
    with LiberoClient() as client:
        words = client.ask('words', options.suite)
        for task in options.tasks:
            wanted = [(row, start) for start in range(options.starts) for row in options.rows]
            for row, start in wanted:
                if on_episode is not None and (row.name, task, start) in kept.found:
                    on_episode(kept.found[row.name, task, start])
            left = [(row, start) for row, start in wanted
                    if (row.name, task, start) not in kept.found]  # fmt: skip
            if not left:
                continue
            world = LiberoTask(client, options.suite, task, options.thin)
            for row, start in left:
                limits = thresholds(steps, row.ratio) if row.mode == 'deer' else ()
                episode = _episode(options, policy, world, row, start, words, limits, shelf)
                if episode is None:
                    break  # no other task's object lies in this scene
                kept.add(episode)
                if on_episode is not None:
                    on_episode(episode)
    return report(options, list(kept.found.values()))


def about(options: LiberoOptions, policy: Policy) -> dict[str, Any]:
    """What an episode depends on beside its row, task and start."""
    files = {name: entry.sha256 for name, entry in sorted(policy.manifest.files.items())}
    calibration = json.loads(json.dumps(asdict(policy.manifest.calibration)))
    return {'suite': options.suite, 'control': options.control, 'thin': options.thin,
            'replan': options.replan, 'bundle': policy.manifest.name, 'files': files,
            'calibration': calibration}  # fmt: skip


def report(options: LiberoOptions, episodes: Sequence[LiberoEpisode]) -> dict[str, Any]:
    """Rows side by side, of episodes that are played."""
    wanted = [e for e in sorted(episodes, key=lambda e: (e.task, e.start))
              if e.task in options.tasks and e.start < options.starts]  # fmt: skip
    by_row = {row.name: [e for e in wanted if e.row == row.name] for row in options.rows}
    by_row = {name: found for name, found in by_row.items() if found}
    if not by_row:
        raise ConfigError('tasks', options.tasks, 'a task in whose scene the object of another '
                          'lies')  # fmt: skip
    names = list(by_row)
    return {
        'world': 'libero', 'suite': options.suite, 'control': options.control,
        'thin': options.thin, 'replan': options.replan,
        'rows': {name: _summary(found) for name, found in by_row.items()},
        'paired': {name: _paired(by_row[names[0]], by_row[name]) for name in names[1:]},
        'episodes': {name: [[e.task, e.start, int(e.played.success), e.played.actions,
                             e.played.layers_run, e.played.chunks] for e in found]
                     for name, found in by_row.items()},
    }  # fmt: skip


def other_task(goals: Mapping[int, str], own: int, start: int) -> int | None:
    """A task whose words mean another object of this scene; they take turns over the starts."""
    others = [task for task, name in sorted(goals.items())
              if task != own and name != goals.get(own)]  # fmt: skip
    return others[start % len(others)] if others else None


def episode_name(task: int, start: int) -> str:
    """What the film of an episode is called, before the row and how it ended."""
    return f'task{task:02d}-start{start:02d}'


def _episode(
    options: LiberoOptions, policy: Policy, world: LiberoTask, row: Row, start: int,
    words: Sequence[str], limits: Sequence[float], shelf: Shelf | None = None,
) -> LiberoEpisode | None:  # fmt: skip
    told, named = world.instruction, ''
    if options.control == 'other_words':
        other = other_task(world.goals, world.task, start)
        if other is None:
            return None
        told, named = words[other], world.goals[other]
    config = with_bundle(mode_config(options.config, row), policy.manifest)
    acting = _row_policy(policy, row, world.task, start, limits)
    chunks: list[Executed] = []
    played = play_episode(world, acting, config, start, told, options.replan,
                          options.control == 'blank',
                          None if shelf is None else chunks.append)  # fmt: skip
    name = episode_name(world.task, start)
    if shelf is not None and chunks and shelf.open_for(name, row.name, played.success):
        camera, period = policy.manifest.cameras[0].name, policy.manifest.action.period_s
        film = film_of(chunks, played, told, camera, period, world.look().images[camera])
        shelf.put(name, row.name, film)
    if not named:
        return LiberoEpisode(row.name, world.task, start, told, played)
    lifted = world.lifted() if not played.refused else {}
    up = {name for name, height in lifted.items() if height >= PICKED_M}
    return LiberoEpisode(row.name, world.task, start, told, played, named in up,
                         bool(up) and named not in up)  # fmt: skip


def _row_policy(policy: Policy, row: Row, task: int, start: int, limits: Sequence[float]) -> Any:
    if row.mode == 'oracle':
        return OraclePolicy(policy, row.tolerance, lambda: ('', 0.0))
    if row.mode == 'deer':
        return DeerPolicy(policy, limits)
    return mode_policy(policy, row, seed=1000 * task + start)


def _summary(found: Sequence[LiberoEpisode]) -> dict[str, Any]:
    wins, count = sum(e.played.success for e in found), len(found)
    chunks = max(sum(e.played.chunks for e in found), 1)
    layers = sum(e.played.layers_run for e in found)
    seconds = 1e3 * np.array([s for e in found for s in e.played.pass_seconds] or [0.0])
    backbone = 1e3 * np.array([s for e in found for s in e.played.backbone_seconds] or [0.0])
    return {
        'episodes': count, 'successes': wins, 'success_rate': wins / count,
        'success_interval': wilson_interval(wins, count),
        'tasks': {str(task): sum(e.played.success for e in found if e.task == task)
                  for task in sorted({e.task for e in found})},
        'picked': sum(e.picked for e in found), 'elsewhere': sum(e.elsewhere for e in found),
        'refused': sum(bool(e.played.refused) for e in found),
        'layers_run_mean': layers / chunks, 'layers_total': found[0].played.layers_total,
        'controllers_mean': sum(e.played.controllers for e in found) / chunks,
        'rerun_rate': sum(e.played.reruns for e in found) / chunks,
        'actions_mean': float(np.mean([e.played.actions for e in found])),
        'pass_ms': float(np.median(seconds)), 'backbone_ms': float(np.median(backbone)),
    }  # fmt: skip


def _paired(one: Sequence[LiberoEpisode], other: Sequence[LiberoEpisode]) -> dict[str, float]:
    """Success of the reference minus that of the other, on the episodes that both have."""
    theirs = {(e.task, e.start): e.played.success for e in other}
    both = [(e.played.success, theirs[e.task, e.start]) for e in one
            if (e.task, e.start) in theirs]  # fmt: skip
    loss, low, high = paired_difference([a for a, _ in both], [b for _, b in both])
    return {'episodes': len(both), 'loss': loss, 'low': low, 'high': high}


def _is_kept(path: Path) -> bool:
    with path.open('rb') as stream:
        return f'"format": "{FORMAT}"'.encode() in stream.readline(1 << 20)


def _read(found: dict[str, Any]) -> LiberoEpisode:
    played = found['played']
    times = {name: tuple(played[name]) for name in ('pass_seconds', 'backbone_seconds')}
    return LiberoEpisode(**{**found, 'played': Played(**{**played, **times})})
