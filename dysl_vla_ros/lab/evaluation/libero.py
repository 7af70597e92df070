"""LIBERO by the published protocol: 50 official starts of 10 tasks, step limits, 10 waiting steps.

Beside success with the true words: the words of another task of the same scene (does the policy
read?), and grey pictures (does it see?). A finished episode is kept at once and not played again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.deer import thresholds
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.videos import Shelf, Videos, taken_places
from dysl_vla_ros.lab.evaluation.world import Executed, Seen, play_episode
from dysl_vla_ros.lab.evaluation.world_episodes import (
    Kept,
    Playing,
    WorldEpisode,
    episode_name,
    play_side_by_side,
    recorded_steps,
    report,
    row_policy,
)
from dysl_vla_ros.lab.evaluation.world_film import film_of
from dysl_vla_ros.lab.evaluation.world_settings import settings_told
from dysl_vla_ros.lab.worlds.libero.client import LiberoClient
from dysl_vla_ros.lab.worlds.libero.suites import OWN_WORDS, STARTS, TASKS, known_suites
from dysl_vla_ros.lab.worlds.libero.units import official
from dysl_vla_ros.policy import Policy, open_policy

Control = Literal['none', 'other_words', 'blank']
CONTROLS: tuple[Control, ...] = get_args(Control)
PICKED_M = 0.05
"""An object that was lifted this far counts as picked up."""


@dataclass(frozen=True)
class LiberoOptions:
    """What to evaluate.

    Attributes:
        suite: Of the benchmark; LIBERO-PRO's perturbed ones are suites of their own.
        rows: Modes; the first is the reference of the paired comparison.
        tasks: Numbers.
        starts: Start states of each.
        first: Number of the first. The official ones are 0 to 49; those from 50 on are drawn, and
            no published number is of them: to choose settings on.
        control: ``other_words`` of a task whose object lies in the same scene, ``blank`` pictures.
        thin: Share of the triangles that is drawn; 1 is the benchmark as it is.
        replan: Actions played of each chunk.
        observations: Of mode ``deer``, whose thresholds are quantiles over them (``.npz``, as
            for ``dysl bench``; the recipe leaves one).
        videos: What is filmed; None is nothing.
        workers: Simulators; each plays a task at a time.
        config: Parameters of the skip policy.
        bundle: Folder.
    """

    suite: str
    rows: tuple[Row, ...]
    bundle: str
    tasks: tuple[int, ...] = tuple(range(TASKS))
    starts: int = STARTS
    first: int = 0
    control: Control = 'none'
    thin: float = 1.0
    replan: int = 8
    observations: Path | None = None
    videos: Videos | None = None
    workers: int = 1
    config: NodeConfig = NodeConfig()

    @property
    def numbers(self) -> range:
        """Of the starts."""
        return range(self.first, self.first + self.starts)

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        if self.suite not in known_suites():
            raise ConfigError('suite', self.suite, 'one of ' + ', '.join(known_suites()))
        if self.control not in CONTROLS:
            raise ConfigError('control', self.control, 'one of ' + ', '.join(CONTROLS))
        if self.control == 'other_words' and self.suite.endswith(OWN_WORDS):
            raise ConfigError('control', self.control, f'none or blank with {self.suite}, whose '
                              'words are its own')  # fmt: skip
        if self.starts < 1 or self.first < 0:
            raise ConfigError('starts', (self.first, self.starts), 'a first one and a count')
        if self.first < STARTS < self.first + self.starts:
            raise ConfigError('starts', self.starts, f'within 1 to {STARTS - self.first}, the '
                              f'official ones, or a first start from {STARTS} on')  # fmt: skip
        if not self.tasks or not all(0 <= task < TASKS for task in self.tasks):
            raise ConfigError('tasks', self.tasks, f'numbers within 0 to {TASKS - 1}')
        if self.workers < 1:
            raise ConfigError('workers', self.workers, 'at least 1')
        if not 0.0 < self.thin <= 1.0:
            raise ConfigError('thin', self.thin, 'more than 0, at most 1')
        for row in self.rows:
            if row.mode == 'random' and row.share <= 0:
                raise ConfigError('random_depth', row.share, 'a share with the mode random')
            if row.mode == 'deer' and self.observations is None:
                raise ConfigError('observations', None, 'a .npz with the mode deer, whose '
                                  'thresholds are quantiles over observations')  # fmt: skip


class LiberoTask:
    """One task of a suite as a ``World``."""

    def __init__(
        self, client: LiberoClient, suite: str, task: int, thin: float, draws: bool = True
    ) -> None:
        """Build the scene, a few seconds; without pictures where nobody will look at them."""
        self._client, self.suite, self.task = client, suite, task
        about = client.ask('open', suite, task, thin, draws)
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

    def follow(self, horizon: int) -> None:
        """Let the scripted expert see how things lie, before it is asked to go on later."""
        self._client.ask('follow', horizon)

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


def evaluate_libero(
    options: LiberoOptions, keep: Path | None = None,
    on_episode: Callable[[WorldEpisode], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Play every row on the same starts.

    Args:
        options: What to run.
        keep: Where finished episodes are kept and looked for.
        on_episode: Called with each, also with those that were there.

    Returns:
        A JSON document: a summary per row, paired differences to the first, episodes.

    Raises:
        ConfigError: LIBERO is not installed, a row does not fit the bundle, or what was kept was
            played with other settings.
    """
    engine = replace(options.config.engine, path=options.bundle)
    policy = open_policy(engine)
    depends = about(options, policy)
    kept = Kept(keep, depends, policy.manifest.layers_total)
    steps = recorded_steps(options.rows, options.observations, policy)
    videos = options.videos
    shelf = None if videos is None else Shelf(videos, taken_places(videos))
    with ExitStack() as stack:
        clients = [stack.enter_context(LiberoClient())
                   for _ in range(min(options.workers, len(options.tasks)))]  # fmt: skip
        words = clients[0].ask('words', options.suite)

        # Who has no eyes needs no pictures: they take most of an episode's time.
        draws = options.control != 'blank' or shelf is not None
        # What a pass leaves for its re-run is the policy's own: no two simulators share one.
        policies = [policy, *(open_policy(engine) for _ in clients[1:])]

        def tasks_of(client: LiberoClient, own: Policy) -> Callable[[int], Playing]:
            def open_task(task: int) -> Playing:
                world = LiberoTask(client, options.suite, task, options.thin, draws)

                def play(row: Row, start: int) -> WorldEpisode | None:
                    limits = thresholds(steps, row.ratio) if row.mode == 'deer' else ()
                    return _episode(options, own, world, row, start, words, limits, shelf)

                return play

            return open_task

        play_side_by_side(options.tasks, options.numbers, options.rows, kept,
                          list(map(tasks_of, clients, policies)), on_episode)  # fmt: skip
    manifest = policy.manifest
    facts = {'world': 'libero', 'bundle': manifest.name, 'policy': manifest.model_digest[:12],
             'suite': options.suite,
             'control': options.control, 'thin': options.thin, 'first_start': options.first,
             'replan': options.replan, 'settings': depends['rows'],
             'parameters': depends['parameters']}  # fmt: skip
    return report(options.rows, options.tasks, options.numbers, list(kept.found.values()), facts)


def about(options: LiberoOptions, policy: Policy) -> dict[str, Any]:
    """What an episode depends on beside its row, task and start."""
    return {'suite': options.suite, 'control': options.control, 'thin': options.thin,
            'replan': options.replan,
            **settings_told(policy, options.config, options.rows,
                            options.observations)}  # fmt: skip


def other_task(goals: Mapping[int, str], own: int, start: int) -> int | None:
    """A task whose words mean another object of this scene; they take turns over the starts."""
    others = [task for task, name in sorted(goals.items())
              if task != own and name != goals.get(own)]  # fmt: skip
    return others[start % len(others)] if others else None


def _episode(
    options: LiberoOptions, policy: Policy, world: LiberoTask, row: Row, start: int,
    words: Sequence[str], limits: Sequence[float], shelf: Shelf | None = None,
) -> WorldEpisode | None:  # fmt: skip
    """One episode; None where no other task's object lies in this scene."""
    told, named = world.instruction, ''
    if options.control == 'other_words':
        other = other_task(world.goals, world.task, start)
        if other is None:
            return None
        told, named = words[other], world.goals[other]
    config = with_bundle(mode_config(options.config, row), policy.manifest)
    acting = row_policy(policy, row, world.task, start, limits)
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
        return WorldEpisode(row.name, world.task, start, told, played)
    lifted = world.lifted() if not played.refused else {}
    up = {name for name, height in lifted.items() if height >= PICKED_M}
    return WorldEpisode(row.name, world.task, start, told, played, named in up,
                         bool(up) and named not in up)  # fmt: skip
