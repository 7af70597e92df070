"""Worlds of other packages: an entry point brings one in, nothing here is edited.

A package that adds a world says so in its metadata,

    [project.entry-points.'dysl_vla_ros.worlds']
    my_world = 'my_package.world:MyWorlds'

and from then on ``dysl evaluate --world package:my_world`` plays bundles in it, mode by mode on
the same start states. See doc/worlds.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.errors import ConfigError, DyslError, EngineError
from dysl_vla_ros.lab.evaluation.checked_world import CheckedWorld, asked, whole
from dysl_vla_ros.lab.evaluation.deer import thresholds
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.world import World, play_episode
from dysl_vla_ros.lab.evaluation.world_episodes import (
    Kept,
    Playing,
    WorldEpisode,
    play_rows,
    recorded_steps,
    report,
    row_policy,
)
from dysl_vla_ros.lab.evaluation.world_settings import settings_told
from dysl_vla_ros.policy import Policy, open_policy

_LOG = logging.getLogger(__name__)
GROUP = 'dysl_vla_ros.worlds'
PREFIX = 'package:'
Control = Literal['none', 'other_words', 'blank']
_PARTS = ('instructions', 'starts', 'task', 'close')
_WORLD = ('instruction', 'limit', 'start', 'look', 'play')


class Worlds(Protocol):
    """Tasks of one kind, opened; what an entry point names makes one from ``--option``s."""

    @property
    def instructions(self) -> Sequence[str]:
        """The tasks in their true words, by number."""

    @property
    def starts(self) -> int:
        """Start states of each task."""

    def task(self, number: int) -> World:
        """Open a task; the one before is no longer used."""

    def close(self) -> None:
        """End what was started."""


@dataclass(frozen=True)
class WorldOptions:
    """What to evaluate.

    Attributes:
        world: Name of the entry point.
        rows: Modes; the first is the reference of the paired comparison.
        bundle: Folder.
        tasks: Numbers; () is all.
        starts: Start states of each, from the first on; 0 is all.
        control: ``other_words``: those of the next task; ``blank`` pictures.
        replan: Actions played of each chunk.
        observations: Of mode ``deer``, as for LIBERO.
        given: What ``--option`` said.
        config: Parameters of the skip policy.
    """

    world: str
    rows: tuple[Row, ...]
    bundle: str
    tasks: tuple[int, ...] = ()
    starts: int = 0
    control: Control = 'none'
    replan: int = 8
    observations: Path | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    config: NodeConfig = NodeConfig()

    def __post_init__(self) -> None:
        """Check choices."""
        if self.control not in get_args(Control):
            raise ConfigError('control', self.control, 'one of ' + ', '.join(get_args(Control)))
        for row in self.rows:
            if row.mode == 'random' and row.share <= 0:
                raise ConfigError('random_depth', row.share, 'a share with the mode random')
            if row.mode == 'deer' and self.observations is None:
                raise ConfigError('observations', None, 'a .npz with the mode deer, whose '
                                  'thresholds are quantiles over observations')  # fmt: skip


def open_worlds(name: str, given: Mapping[str, str]) -> Worlds:
    """The world that a package brings under a name.

    Raises:
        ConfigError: None of that name, or two.
        EngineError: It cannot be loaded, fails, or lacks a part of the protocol.
    """
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if len(points) != 1:
        known = ', '.join(sorted({p.name for p in entry_points(group=GROUP)}))
        raise ConfigError('world', f'{PREFIX}{name}', f'one world of this name under the entry '
                          f'point {GROUP}, found {len(points)} ({known or "none is installed"}); '
                          'see doc/worlds.md')  # fmt: skip
    title = f'{GROUP}: {name} = {points[0].value!r}'
    try:
        worlds: Worlds = points[0].load()(dict(given))
    except DyslError:
        raise
    except Exception as error:
        raise EngineError(f'{title} cannot be opened: {error!r}') from error
    _complete(title, worlds, _PARTS)
    return worlds


def evaluate_worlds(
    options: WorldOptions, keep: Path | None = None,
    on_episode: Callable[[WorldEpisode], None] | None = None,
    on_total: Callable[[int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Play every row on the same starts.

    Args:
        options: What to run.
        keep: Where finished episodes are kept and looked for.
        on_episode: Called with each, also with those that were there.
        on_total: Told how many there will be.

    Returns:
        A JSON document: a summary per row, paired differences to the first, episodes.

    Raises:
        ConfigError: There is no such world, task or start, a row does not fit the bundle, or what
            was kept was played with other settings.
        EngineError: The world breaks its protocol.
    """
    policy = open_policy(replace(options.config.engine, path=options.bundle))
    with _opened(options) as worlds:
        tasks, starts = _extent(options, worlds)
        depends = _about(options, policy)
        kept = Kept(keep, depends, policy.manifest.layers_total)
        if on_total is not None:
            on_total(len(tasks) * starts * len(options.rows))
        steps = recorded_steps(options.rows, options.observations, policy)

        def open_task(task: int) -> Playing:
            world = _task(options, worlds, task, policy.manifest)

            def play(row: Row, start: int) -> WorldEpisode:
                limits = thresholds(steps, row.ratio) if row.mode == 'deer' else ()
                return _episode(options, policy, worlds, world, row, task, start, limits)

            return play

        play_rows(tasks, range(starts), options.rows, kept, open_task, on_episode)
    facts = {'world': options.world, 'suite': options.world, 'control': options.control,
             'policy': policy.manifest.model_digest[:12],
             'options': dict(options.given), 'replan': options.replan,
             'settings': depends['rows'], 'parameters': depends['parameters']}  # fmt: skip
    return report(options.rows, tasks, range(starts), list(kept.found.values()), facts)


@contextmanager
def _opened(options: WorldOptions) -> Iterator[Worlds]:
    """The worlds, ended in any case; one that cannot be ended is told, and costs no episode."""
    worlds = open_worlds(options.world, options.given)
    try:
        yield worlds
    finally:
        try:
            worlds.close()
        except Exception as error:
            _LOG.warning('world %s: close(): %r: what it started may still run', options.world,
                         error)  # fmt: skip


def _extent(options: WorldOptions, worlds: Worlds) -> tuple[tuple[int, ...], int]:
    """Which tasks, and how many starts of each."""
    title = f'world {options.world}'
    told = asked(f'{title}: instructions', lambda: list(worlds.instructions))
    if not told or not all(isinstance(text, str) and text.strip() for text in told):
        raise EngineError(f'{title}: instructions = {told!r:.80}: expected a text for each task; '
                          'see doc/worlds.md')  # fmt: skip
    count = len(told)
    most = whole(f'{title}: starts', asked(f'{title}: starts', lambda: worlds.starts), 1)
    tasks, starts = options.tasks or tuple(range(count)), options.starts or most
    if not all(0 <= task < count for task in tasks):
        raise ConfigError('tasks', tasks, f'numbers within 0 to {count - 1}: {options.world} has '
                          f'{count} tasks')  # fmt: skip
    if not 1 <= starts <= most:
        raise ConfigError('starts', starts, f'within 1 to {most}, those of {options.world}')
    if options.control == 'other_words' and len(set(told)) < 2:
        raise ConfigError('control', options.control, f'none or blank: {options.world} has one '
                          'task')  # fmt: skip
    return tasks, starts


def _task(options: WorldOptions, worlds: Worlds, number: int, manifest: Manifest) -> World:
    title = f'world {options.world}, task {number}'
    world = asked(f'{title}: task({number})', lambda: worlds.task(number))
    _complete(title, world, _WORLD)
    return CheckedWorld(title, world, manifest)


def _complete(title: str, part: Any, wanted: Sequence[str]) -> None:
    # Asked of the class first: a property may be slow, or raise.
    missing = [name for name in wanted if not hasattr(type(part), name)
               and not hasattr(part, name)]  # fmt: skip
    if missing:
        raise EngineError(f'{title}: a {type(part).__name__} without {", ".join(missing)}: '
                          'expected what doc/worlds.md lists')  # fmt: skip


def _episode(
    options: WorldOptions, policy: Policy, worlds: Worlds, world: World, row: Row, task: int,
    start: int, limits: Sequence[float],
) -> WorldEpisode:  # fmt: skip
    told = world.instruction
    if options.control == 'other_words':
        others = [text for text in worlds.instructions if text != told]
        told = others[(task + start) % len(others)]
    config = with_bundle(mode_config(options.config, row), policy.manifest)
    acting = row_policy(policy, row, task, start, limits)
    played = play_episode(world, acting, config, start, told, options.replan,
                          options.control == 'blank')  # fmt: skip
    return WorldEpisode(row.name, task, start, told, played)


def _about(options: WorldOptions, policy: Policy) -> dict[str, Any]:
    """What an episode depends on beside its row, task and start."""
    return {'world': options.world, 'options': dict(options.given), 'control': options.control,
            'replan': options.replan,
            **settings_told(policy, options.config, options.rows,
                            options.observations)}  # fmt: skip
