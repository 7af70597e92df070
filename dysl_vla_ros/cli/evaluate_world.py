"""The part of ``dysl evaluate`` for other worlds: LIBERO, and those of other packages."""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.progress import Progress
from rich.table import Table

from dysl_vla_ros.cli.evaluate_videos import filmed
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import write_json
from dysl_vla_ros.cli.values import (
    COUNT,
    COUNT_FROM_0,
    PACKAGE,
    SHARE_ABOVE_0,
    options_of,
    ours_or_package,
)
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.modes import NOISY, SERVED, STREAMED, rows_of

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.libero import LiberoOptions
    from dysl_vla_ros.lab.evaluation.modes import Row
    from dysl_vla_ros.lab.evaluation.videos import Videos
    from dysl_vla_ros.lab.evaluation.world_episodes import WorldEpisode
    from dysl_vla_ros.lab.evaluation.worlds import WorldOptions

_WORLDS = ('tabletop', 'libero')
_NEEDED = {'oracle': 'tolerance', 'deer': 'deer_ratio', 'paced': 'pace'}
"""Mode -> the option without which it has no row."""


def add_world(parser: argparse.ArgumentParser) -> None:
    """Declare the options of another world than the bundled one."""
    parser.add_argument('--world', default='tabletop', type=ours_or_package(_WORLDS),
                        metavar='WORLD',
                        help='tabletop; libero: the official starts, limits and success check, in '
                        'a process of its own (make libero); package:NAME: one that another '
                        'package brings')  # fmt: skip
    group = parser.add_argument_group(
        'other worlds',
        'with --engine, --modes and their options, --keep and --json, libero with --videos and '
        '--workers, too; '
        'the rest is of the tabletop',
    )
    group.add_argument('--suite', help='of libero, default libero_object; with _object, _swap, '
                       '_lan or _task behind its name: perturbed by LIBERO-PRO')  # fmt: skip
    group.add_argument('--tasks', type=COUNT_FROM_0, nargs='+', default=[], metavar='TASK',
                       help='numbers of tasks; default: all')  # fmt: skip
    group.add_argument('--starts', type=COUNT, help='of each task; default: all')
    group.add_argument('--first-start', type=COUNT_FROM_0, default=0,
                       help='of libero: its number; from 50 on starts are drawn, none of the '
                       'official ones: to choose settings on')  # fmt: skip
    group.add_argument('--control', default='none', choices=('none', 'other_words', 'blank'),
                       help="other_words: another task's, in the same scene; "
                       'up: the object that was lifted')  # fmt: skip
    group.add_argument('--thin', type=SHARE_ABOVE_0, help='of libero: share of the triangles that '
                       'is drawn; below 1 faster, and not the benchmark')  # fmt: skip
    group.add_argument('--option', nargs='+', default=[], metavar='NAME=VALUE', help='of a world '
                       'that another package brings')  # fmt: skip
    group.add_argument('--replan', type=COUNT, default=8, help='actions played of each chunk')
    group.add_argument('--observations', type=Path, help='of mode deer: .npz from which '
                       'its thresholds are taken; default: none')  # fmt: skip


def run_world(given: argparse.Namespace, videos: Videos | None = None) -> int:
    """Evaluate in another world, print a table, write JSON."""
    from dysl_vla_ros.lab.evaluation.world_episodes import episode_name

    played: list[tuple[str, str, bool]] = []
    console, began = Output(), time.monotonic()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task('episodes', total=None)

        def total(count: int) -> None:
            progress.update(task, total=count)

        def step(one: WorldEpisode) -> None:
            progress.advance(task)
            played.append((episode_name(one.task, one.start), one.row, one.played.success))

        if given.world == 'libero':
            from dysl_vla_ros.lab.evaluation.libero import evaluate_libero

            libero = libero_options(given, videos)
            total(len(libero.rows) * len(libero.tasks) * libero.starts)
            document = evaluate_libero(libero, given.keep, step)
        else:
            from dysl_vla_ros.lab.evaluation.worlds import evaluate_worlds

            document = evaluate_worlds(world_options(given), given.keep, step, total)
    document |= {
        'machine': platform.processor() or platform.machine(),
        'date': time.strftime('%Y-%m-%d'),
        'seconds': time.monotonic() - began,
    }
    console.print(world_table(document))
    for line in unplayed(document):
        console.say(line)
    if videos is not None:
        console.say(filmed(videos, played))
    if given.json is not None:
        write_json(given.json, document)
    return 0


def libero_options(given: argparse.Namespace, videos: Videos | None = None) -> LiberoOptions:
    """From the command line.

    Raises:
        ConfigError: No bundle, a mode of the tabletop's, or a value out of range.
    """
    from dysl_vla_ros.lab.evaluation.libero import LiberoOptions
    from dysl_vla_ros.lab.worlds.libero.suites import STARTS, TASKS

    if not given.engine:
        raise ConfigError('engine', given.engine, 'a bundle made for LIBERO: dysl recipe --world '
                          'libero')  # fmt: skip
    return LiberoOptions(
        suite=given.suite or 'libero_object', rows=_rows(given), bundle=given.engine,
        tasks=tuple(given.tasks or range(TASKS)), starts=given.starts or STARTS,
        first=given.first_start, control=given.control, thin=given.thin or 1.0,
        replan=given.replan,
        observations=given.observations, videos=videos, workers=given.workers,
    )  # fmt: skip


def world_options(given: argparse.Namespace) -> WorldOptions:
    """From the command line.

    Raises:
        ConfigError: A mode of the tabletop's, or a value out of range.
    """
    from dysl_vla_ros.lab.evaluation.worlds import WorldOptions

    if given.workers > 1:
        raise ConfigError('workers', given.workers, f'1 with --world {given.world}: it is opened '
                          'once, in this process')  # fmt: skip
    return WorldOptions(
        world=given.world.removeprefix(PACKAGE), rows=_rows(given), bundle=given.engine,
        tasks=tuple(given.tasks), starts=given.starts or 0, control=given.control,
        replan=given.replan, observations=given.observations, given=options_of(given.option),
    )  # fmt: skip


def _rows(given: argparse.Namespace) -> tuple[Row, ...]:
    timed = [mode for mode in given.modes if mode in (*SERVED, *STREAMED, *NOISY)]
    if timed:
        raise ConfigError('modes', ' '.join(timed), f'none of these with --world {given.world}: '
                          'it waits while the policy computes')  # fmt: skip
    for mode, name in _NEEDED.items():
        if mode in given.modes and not getattr(given, name):
            raise ConfigError(name, [], f'one or more with the mode {mode}')
    return tuple(rows_of(
        given.modes, given.exit_layer, given.deer_ratio, given.tolerance, given.random_depth,
        paces=given.pace,
    ))  # fmt: skip


def unplayed(document: dict[str, Any]) -> list[str]:
    """Of each row with episodes that count as lost and were none: how many, and why."""
    return [
        f'{name}: {found["refused"]} of {found["episodes"]} episodes were not played, as the '
        'policy does not take their words'
        for name, found in document['rows'].items() if found['refused']
    ]  # fmt: skip


def world_table(document: dict[str, Any]) -> Table:
    """A row per mode; with other words, what was picked instead."""
    other = document['control'] == 'other_words' and document['world'] == 'libero'
    origin = '; demonstrations: own, scripted' if document['world'] == 'libero' else ''
    table = Table(title=f'{document["suite"]}, control {document["control"]}{origin}',
                  title_justify='left', box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0), show_edge=False)  # fmt: skip
    # With other words it is no loss that the goal is not reached.
    compared = [] if other else ['lost', '95 %']
    picks = ['named up', 'other up'] if other else []
    for title in ('mode', 'episodes', 'won', '95 %', *compared, 'layers', 'rerun', 'ms', *picks):
        table.add_column(title, justify='right', no_wrap=True)
    for name, found in document['rows'].items():
        low, high = found['success_interval']
        lost = document['paired'].get(name)
        cells = [name, str(found['episodes']), f'{100 * found["success_rate"]:.1f}',
                 f'{100 * low:.0f}-{100 * high:.0f}']  # fmt: skip
        if compared:
            cells += ['', ''] if lost is None else [
                f'{100 * lost["loss"]:.1f}', f'{100 * lost["low"]:.1f}..{100 * lost["high"]:.1f}'
            ]  # fmt: skip
        cells += [f'{found["layers_run_mean"]:.2f}', f'{found["rerun_rate"]:.2f}',
                  '' if (ms := found['pass_ms']) is None else f'{ms:.1f}']  # fmt: skip
        cells += [f'{100 * found[key] / found["episodes"]:.0f} %'
                  for key in ('picked', 'elsewhere') if other]  # fmt: skip
        table.add_row(*cells)
    return table
