"""``dysl evaluate``: closed-loop episodes without ROS, several modes on the same seeds."""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from rich import box
from rich.progress import Progress
from rich.table import Table

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.cli.evaluate_options import refuse_idle
from dysl_vla_ros.cli.evaluate_videos import add_videos, filmed, videos_of
from dysl_vla_ros.cli.evaluate_world import add_world, run_world
from dysl_vla_ros.cli.inputs import look_at_bundle, look_at_file, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import (
    COUNT,
    COUNT_FROM_0,
    SEED,
    SHARE,
    TIME_LIMIT,
    WORKERS,
    latency_seconds,
    number,
)
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult
from dysl_vla_ros.lab.evaluation.evaluate import about, bundle_name, evaluate, evaluated_manifest
from dysl_vla_ros.lab.evaluation.ledger import Ledger, waiting
from dysl_vla_ros.lab.evaluation.modes import DESCRIPTIONS, MODES
from dysl_vla_ros.lab.evaluation.options import PROBES, EvaluateOptions
from dysl_vla_ros.lab.evaluation.paces import WORDS
from dysl_vla_ros.lab.evaluation.plots import check_plot, plot_evaluation
from dysl_vla_ros.lab.evaluation.videos import Videos
from dysl_vla_ros.lab.evaluation.workers import episode_name
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.sim.goals import FAMILIES, Split, in_order

EXAMPLE = """
dysl evaluate --episodes 2
dysl evaluate --modes full auto --episodes 250 --workers 2 --json report.json
dysl evaluate --modes auto --episodes 5 --videos failures
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--engine', default='', help='bundle folder; default: the bundled model')
    parser.add_argument('--modes', nargs='+', default=['full', 'auto'], choices=MODES,
                        help='; '.join(f'{m}: {text}' for m, text in DESCRIPTIONS.items())
                        + '; the first is compared with the others')  # fmt: skip
    parser.add_argument('--exit-layer', type=COUNT_FROM_0, nargs='+', default=[], metavar='LAYER',
                        help='of mode fixed, a row for each: layers 0 to LAYER - 1 run, then the '
                        "last; default: the bundle's")  # fmt: skip
    parser.add_argument(
        '--tolerance',
        type=number(0, 10),
        nargs='+',
        default=[],
        metavar='RMS',
        help='of mode oracle, a row for each: of the normalised actions',
    )
    parser.add_argument('--deer-ratio', type=number(0.01, 100), nargs='+', default=[],
                        metavar='RATIO',
                        help='of mode deer, a row for each: share of the passes that leave at an '
                        'exit, over that of the exit before')  # fmt: skip
    parser.add_argument('--links', nargs='+', default=[], metavar='LINK',
                        help='of the modes remote and verified, a row for each: seconds that an '
                        'answer takes more, then any of unanswered=SHARE, cut=SHARE, '
                        'down=SECONDS with commas between: 0.1,unanswered=0.05')  # fmt: skip
    parser.add_argument('--noise', type=number(0, 10), nargs='+', default=[], metavar='SHARE',
                        help='of the modes noise_critical and noise_free, a row for each: '
                        "standard deviation over each weight matrix's root mean "
                        'square')  # fmt: skip
    parser.add_argument(
        '--pace',
        nargs='+',
        default=[],
        metavar='PACE',
        help=f'of mode paced, a row for each: {WORDS}',
    )
    parser.add_argument('--episodes', type=COUNT, default=25, help='per family')
    parser.add_argument('--families', nargs='+', default=list(FAMILIES), choices=FAMILIES,
                        metavar='FAMILY',
                        help='kinds of task: ' + ', '.join(FAMILIES))  # fmt: skip
    parser.add_argument('--first-seed', type=SEED, default=1_000_000,
                        help='of the first episode; the others count up')  # fmt: skip
    parser.add_argument('--split', default='train', choices=get_args(Split),
                        help='scenes and phrasings')  # fmt: skip
    parser.add_argument('--latency', default='measured', help='measured, zero, or seconds')
    parser.add_argument('--time-limit', type=TIME_LIMIT, default=30.0, help='per episode [s]')
    parser.add_argument('--workers', type=WORKERS, default=1, help='processes')
    parser.add_argument('--random-depth', type=SHARE,
                        help='mean share of dynamic layers that mode random runs; default: '
                        'as many as auto ran')  # fmt: skip
    parser.add_argument('--probe', default='none', choices=PROBES,
                        help='whether it reads and sees: another instruction, or no '
                        'image')  # fmt: skip
    parser.add_argument('--skip-rule', default='', choices=('', 'ceil', 'level'), metavar='RULE',
                        help="ceil or level; default: the bundle's")  # fmt: skip
    parser.add_argument('--tau', type=SHARE, help='a controller opens above this score')
    parser.add_argument('--params-file', type=Path,
                        help='of the node; default: those of the simulated arm')  # fmt: skip
    parser.add_argument('--keep', type=Path, help='keep finished episodes in this file (JSON '
                        'lines), also when all are there, and go on from them; times of rows '
                        'added later are of another moment of this machine; default: only until '
                        'the run is complete, in the cache folder')  # fmt: skip
    parser.add_argument('--json', type=Path, help='write the report here')
    add_videos(parser)
    add_world(parser)
    parser.add_argument('--plot', type=Path, help='draw the report into this PNG')


def run(given: argparse.Namespace) -> int:
    """Evaluate, print a table, write JSON."""
    refuse_idle(given)
    check_json(given.json, 'evaluate')
    check_plot(given.plot)
    videos = videos_of(given)
    if given.world != 'tabletop':
        return run_world(given, videos)
    look_at_bundle('--engine', given.engine)
    look_at_file('--params-file', given.params_file, 'a parameter file')
    if given.plot is not None:
        need('train', 'matplotlib')
    if given.noise:
        need('train', 'onnx')
    options = _options(given, videos)
    total = len(options.specs()) * len(options.rows())
    console = Output()
    began = time.monotonic()
    facts = about(options)
    played: list[tuple[str, str, bool]] = []
    named = {**facts, 'rows': [asdict(row) for row in options.rows()],
             'episodes': [asdict(spec) for spec in options.specs()]}  # fmt: skip
    layers = evaluated_manifest(options).layers_total
    ledger = (Ledger(given.keep, facts, layers) if given.keep
              else waiting('evaluate', named, facts, layers))  # fmt: skip
    if len(ledger) and given.keep is None:
        console.say(f'goes on after {len(ledger)} of {total} episodes of an interrupted run')
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task('episodes', total=total)

            def note(row: str, result: EpisodeResult) -> None:
                progress.advance(task)
                played.append((episode_name(result.spec), row, result.success))

            document = evaluate(options, note, ledger)
    except KeyboardInterrupt:
        console.say(interrupted(len(ledger), total, given.keep))
        return 130
    document |= {
        'bundle': bundle_name(options.bundle),
        'episodes_per_family': options.episodes,
        'first_seed': options.first_seed,
        'split': options.split,
        'latency': given.latency,
        'probe': options.probe,
        'machine': platform.processor() or platform.machine(),
        'date': time.strftime('%Y-%m-%d'),
        'seconds': time.monotonic() - began,
    }
    console.print(_table(document))
    if document['paired']:
        console.print(_paired_table(document))
    if options.links:
        console.print(_links_table(document))
    if videos is not None:
        console.say(filmed(videos, played))
    if given.json is not None:
        write_json(given.json, document)
    if given.plot is not None:
        plot_evaluation(given.plot, document)
    if given.keep is None:  # last of all: a disk that is full now costs no episode
        ledger.done()
    return 0


def _options(given: argparse.Namespace, videos: Videos | None) -> EvaluateOptions:
    config = load_yaml(given.params_file or config_folder() / 'robots' / 'sim.yaml')
    if given.skip_rule:
        config = replace(config, skip=replace(config.skip, rule=given.skip_rule))
    if given.tau is not None:
        config = replace(config, skip=replace(config.skip, tau=given.tau))
    return EvaluateOptions(
        bundle=given.engine,
        modes=tuple(given.modes),
        exit_layers=tuple(given.exit_layer),
        tolerances=tuple(given.tolerance),
        deer_ratios=tuple(given.deer_ratio),
        links=tuple(given.links),
        noises=tuple(given.noise),
        paces=tuple(given.pace),
        episodes=given.episodes,
        first_seed=given.first_seed,
        families=in_order(given.families),
        split=given.split,
        latency=latency_seconds(given.latency),
        time_limit=given.time_limit,
        workers=given.workers,
        random_depth=given.random_depth,
        probe=given.probe,
        videos=videos,
        config=config,
    )


def interrupted(kept: int, total: int, path: Path | None = None) -> str:
    """What is left of a run that was broken off."""
    where = '' if path is None else f' in {path}'
    return f'interrupted: {kept} of {total} episodes are kept{where}; the same command goes on'


def _table(document: dict[str, Any]) -> Table:
    table = _narrow(f'{document["bundle"]}, {document["episodes_per_family"]} per family')
    titles = ('mode', 'won', '95 %', *FAMILIES, 'layers', 'c/f', 'ask', 'rerun', 'ms')
    for title in titles:
        _column(table, title)
    for mode, found in document['modes'].items():
        low, high = found['success_interval']
        families = [found['families'].get(name) for name in FAMILIES]
        table.add_row(
            mode,
            f'{100 * found["success_rate"]:.1f}',
            f'{100 * low:.0f}-{100 * high:.0f}',
            *('-' if one is None else f'{100 * one["success_rate"]:.0f}' for one in families),
            f'{found["layers_run_mean"]:.2f}',
            '-' if (ratio := found['critical_over_free']) is None else f'{ratio:.2f}',
            f'{found["controllers_mean"]:.1f}',
            f'{found["rerun_rate"]:.2f}',
            '-' if mode.startswith('oracle') else _number(found['pass_ms']['mean'], 1),
        )
    return table


def _narrow(title: str) -> Table:
    """Fits a terminal of 80 columns."""
    return Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False,
                 title_justify='left')  # fmt: skip


def _column(table: Table, title: str) -> None:
    """Numbers are never cut off; the name of a mode is broken where there is no room for it."""
    table.add_column(title, justify='right', no_wrap=title != 'mode', overflow='fold')


def _links_table(document: dict[str, Any]) -> Table:
    """What became of the requests, and what the arm did meanwhile; medians of the last two."""
    table = _narrow('links: requests lost, unsafe commands, held, median seconds of an episode, '
                    'at rest at its end, longest standstill, jerk RMS in rad/s^3 (- where the arm '
                    'never moved)')  # fmt: skip
    for title in ('mode', 'lost', 'unsafe', 'hold %', 's', 'rest %', 'still s', 'jerk'):
        _column(table, title)
    for mode, found in document['modes'].items():
        table.add_row(
            mode,
            str(found['requests_lost']),
            str(found['unsafe_commands']),
            '-' if (held := found['hold_ratio']) is None else f'{100 * held:.1f}',
            f'{found["seconds_median"]:.1f}',
            f'{100 * found["ended_at_rest"]:.0f}',
            *(
                _number(found[key] if found['moved'] else None, digits)
                for key, digits in (('longest_still_s', 2), ('jerk_rms', 1))
            ),
        )
    return table


def _paired_table(document: dict[str, Any]) -> Table:
    """Every row against the first one and, where there are fixed exits, against the best."""
    reference, fixed = next(iter(document['modes'])), document['paired_fixed']
    if fixed is not None and fixed['reference'] == reference:
        fixed = None  # the same column twice
    against = reference if fixed is None else f'{reference}, then to {fixed["reference"]}'
    table = _narrow(f'points lost to {against}; times against {reference}')
    for title in ('mode', *('lost', '95 %') * (1 if fixed is None else 2), 'backbone', 'faster',
                  'ceiling'):  # fmt: skip
        _column(table, title)
    for mode, found in document['paired'].items():
        cells = _lost(found)
        if fixed is not None:
            cells += _lost(fixed['rows'].get(mode))
        table.add_row(
            mode,
            *cells,
            _number(found['backbone_time_ratio'], 2),
            _number(found['speed_up'], 2),
            _number(found['speed_up_ceiling'], 2),
        )
    return table


def _number(value: float | None, digits: int) -> str:
    """A dash for what was not measured."""
    return '-' if value is None else f'{value:.{digits}f}'


def _lost(found: dict[str, float] | None) -> list[str]:
    if found is None:
        return ['', '']
    low, high = 100 * found['low'], 100 * found['high']
    return [f'{100 * found["loss"]:.1f}', f'{low:.1f}..{high:.1f}']
