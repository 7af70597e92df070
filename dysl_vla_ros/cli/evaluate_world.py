"""The part of ``dysl evaluate`` for worlds that the package does not bring: LIBERO."""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dysl_vla_ros.cli.evaluate_videos import filmed
from dysl_vla_ros.cli.report import write_json
from dysl_vla_ros.cli.values import COUNT, COUNT_FROM_0, SHARE_ABOVE_0
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.modes import rows_of

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.libero import LiberoOptions
    from dysl_vla_ros.lab.evaluation.videos import Videos

WORLDS = ('tabletop', 'libero')
_ONLY_TABLETOP = ('params_file', 'plot')


def add_world(parser: argparse.ArgumentParser) -> None:
    """Declare the options of another world than the bundled one."""
    parser.add_argument('--world', default='tabletop', choices=WORLDS,
                        help='libero: the official starts, limits and success check, in a '
                        'process of its own (make libero)')  # fmt: skip
    group = parser.add_argument_group('libero', 'with --engine, --modes and their options, '
                                      '--keep, --json and --videos; the rest is of the '
                                      'tabletop')  # fmt: skip
    group.add_argument('--suite', default='libero_object', help='with _object, _swap, _lan or '
                       '_task behind its name: perturbed by LIBERO-PRO')  # fmt: skip
    group.add_argument('--tasks', type=COUNT_FROM_0, nargs='+', default=list(range(10)),
                       metavar='TASK', help='numbers of tasks')  # fmt: skip
    group.add_argument('--starts', type=COUNT, default=50, help='official ones of each task')
    group.add_argument('--control', default='none', choices=('none', 'other_words', 'blank'),
                       help="other_words: another task's, in the same scene")  # fmt: skip
    group.add_argument('--thin', type=SHARE_ABOVE_0, default=1.0,
                       help='share of the triangles that is drawn: below 1 faster, and not the '
                       'benchmark')  # fmt: skip
    group.add_argument('--replan', type=COUNT, default=8, help='actions played of each chunk')
    group.add_argument('--observations', type=Path, help='of mode deer: .npz from which '
                       'its thresholds are taken; default: none')  # fmt: skip


def run_world(given: argparse.Namespace, videos: Videos | None = None) -> int:
    """Evaluate in LIBERO, print a table, write JSON."""
    from dysl_vla_ros.lab.evaluation.libero import LiberoEpisode, episode_name, evaluate_libero

    options = libero_options(given, videos)
    played: list[tuple[str, str, bool]] = []
    total = len(options.rows) * len(options.tasks) * options.starts
    console, began = Console(), time.monotonic()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task('episodes', total=total)

        def note(one: LiberoEpisode) -> None:
            progress.advance(task)
            played.append((episode_name(one.task, one.start), one.row, one.played.success))

        document = evaluate_libero(options, given.keep, note)
    document |= {
        'machine': platform.processor() or platform.machine(),
        'date': time.strftime('%Y-%m-%d'),
        'seconds': time.monotonic() - began,
    }
    console.print(world_table(document))
    if videos is not None:
        console.print(filmed(videos, played), soft_wrap=True)
    if given.json is not None:
        write_json(given.json, document)
    return 0


def libero_options(given: argparse.Namespace, videos: Videos | None = None) -> LiberoOptions:
    """From the command line.

    Raises:
        ConfigError: An option of the tabletop's, or a value out of range.
    """
    from dysl_vla_ros.lab.evaluation.libero import LiberoOptions

    if not given.engine:
        raise ConfigError('engine', given.engine, 'a bundle made for LIBERO: dysl recipe --world '
                          'libero')  # fmt: skip
    for name in _ONLY_TABLETOP:
        if getattr(given, name) is not None:
            raise ConfigError(name, str(getattr(given, name)), 'nothing with --world libero')
    rows = rows_of(
        given.modes, given.exit_layer, given.deer_ratio, given.tolerance, given.random_depth
    )
    if not rows:
        raise ConfigError('modes', given.modes, 'modes with their numbers: --deer-ratio, '
                          '--tolerance')  # fmt: skip
    return LiberoOptions(
        suite=given.suite, rows=tuple(rows), bundle=given.engine, tasks=tuple(given.tasks),
        starts=given.starts, control=given.control, thin=given.thin, replan=given.replan,
        observations=given.observations, videos=videos,
    )  # fmt: skip


def world_table(document: dict[str, Any]) -> Table:
    """A row per mode; with other words, what was picked instead."""
    other = document['control'] == 'other_words'
    table = Table(title=f'{document["suite"]}, control {document["control"]}; demonstrations: '
                  'own, scripted', title_justify='left', box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0), show_edge=False)  # fmt: skip
    titles = ['mode', 'episodes', 'won', '95 %', 'lost', '95 %', 'layers', 'rerun', 'ms']
    for title in titles + (['named picked', 'other picked'] if other else []):
        table.add_column(title, justify='right', no_wrap=True)
    for name, found in document['rows'].items():
        low, high = found['success_interval']
        lost = document['paired'].get(name)
        cells = [
            name, str(found['episodes']), f'{100 * found["success_rate"]:.1f}',
            f'{100 * low:.0f}-{100 * high:.0f}',
            '' if lost is None else f'{100 * lost["loss"]:.1f}',
            '' if lost is None else f'{100 * lost["low"]:.1f}..{100 * lost["high"]:.1f}',
            f'{found["layers_run_mean"]:.2f}', f'{found["rerun_rate"]:.2f}',
            f'{found["pass_ms"]:.1f}',
        ]  # fmt: skip
        if other:
            cells += [f'{100 * found[key] / found["episodes"]:.0f} %'
                      for key in ('picked', 'elsewhere')]  # fmt: skip
        table.add_row(*cells)
    return table
