"""``dysl results``: the page of all comparisons from committed JSON; the runs that it lacks."""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT_FROM_0, POSITIVE, WORKERS
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.evidence_files import (
    LARGEST,
    check_report_file,
    read_evidence,
    read_report,
)
from dysl_vla_ros.lab.evaluation.results_figure import HEAD, figure
from dysl_vla_ros.lab.evaluation.results_page import render
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.targets import file_target, write_whole

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.results_run import Piece

PIECES = ('results_tabletop', 'results_heldout', 'ablation_tabletop', 'ablation_k1_tabletop',
          'ablation_k9_tabletop', 'noise_tabletop', 'latency_zero_tabletop',
          'latency_quarter_tabletop', 'latency_half_tabletop', 'latency_one_tabletop',
          'latency_three_tabletop', 'latency_smooth_tabletop')  # fmt: skip
_OF_RUNS = ('--minutes', '--episodes', '--workers', '--engine', '--anchor', '--keep')
_LEFT = 3
"""Exit code of a run whose time was over before the end."""

EXAMPLE = 'dysl results --check doc/results.md'
KEPT = 'finished episodes; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--evidence', type=Path, default=Path('doc/evidence'),
                        help='folder of the JSON')  # fmt: skip
    parser.add_argument(
        '--write',
        type=Path,
        help='write the page here, and its picture beside it (.svg); default: print it',
    )
    parser.add_argument('--check', type=Path, help='say whether this page and its picture are '
                        'what would be written; default: write or print')  # fmt: skip
    group = parser.add_argument_group('runs', 'play what is missing, then write its JSON')
    group.add_argument('--run', nargs='+', default=[], choices=PIECES, metavar='PIECE',
                       help=', '.join(PIECES))  # fmt: skip
    group.add_argument('--minutes', type=POSITIVE, default=120.0, help='of each piece; the same '
                       'command goes on')  # fmt: skip
    group.add_argument('--episodes', type=COUNT_FROM_0, default=0,
                       help="per family; default: the piece's")  # fmt: skip
    group.add_argument('--workers', type=WORKERS, default=2, help='processes')
    group.add_argument('--engine', default='', help='bundle folder; default: the bundled model')
    group.add_argument('--anchor', default='', metavar='NAME', help='--engine is a bundle of dysl '
                       'anchors, fixed_D, layers_N, random_static_S or stages_N: a row of the '
                       'tables of --run; default: the deep policy')  # fmt: skip
    group.add_argument('--keep', type=Path, default=Path('runs/results'),
                       help='folder of finished episodes')  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Run pieces, then check, write or print the page."""
    console = Output()
    if given.run:
        refuse_ignored(given, ('--check', '--write'), 'beside --run', 'pieces are played, and the '
                       'page is made by a call of its own')  # fmt: skip
        return _run(given, console)
    refuse_ignored(given, _OF_RUNS, 'without --run', 'no piece is played')
    if given.check is not None:
        refuse_ignored(given, ('--write',), 'beside --check', 'the page that is there is compared')
    if not given.evidence.is_dir():
        raise ConfigError('evidence', str(given.evidence), 'a folder of reports (JSON)')
    size = sum(path.stat().st_size for path in given.evidence.glob('*.json'))
    if size > LARGEST:
        raise ConfigError('evidence', f'{size} bytes', f'at most {LARGEST} in all')
    evidence = read_evidence(given.evidence)
    path = given.check or given.write
    if path is None:
        print(render(evidence), end='')
        return 0
    picture = path.with_suffix('.svg')
    if picture == path:
        raise ConfigError('--check' if given.check else '--write', str(path),
                          'the page, as results.md: its picture is written beside it')  # fmt: skip
    made = {path: render(evidence, picture.name), picture: figure(evidence)}
    if given.check is not None:
        other = [path for path, text in made.items()
                 if not path.is_file() or path.read_text('utf-8') != text]  # fmt: skip
        said = (f'not what the evidence says: dysl results --write {path}' if other
                else 'as the evidence says')  # fmt: skip
        console.say(f'{(other or [path])[0]}: {said}')
        return 1 if other else 0
    file_target('--write', path, is_page, 'a page that dysl results wrote')
    file_target('--write', picture, is_picture, 'a picture that dysl results drew')
    for target, text in made.items():
        write_whole(target, text.encode())
        console.say(f'{target}: written')
    return 0


def is_page(path: Path) -> bool:
    """Whether a file begins as ours does."""
    with path.open(encoding='utf-8', errors='replace') as stream:
        return stream.readline() == '# Results\n'


def is_picture(path: Path) -> bool:
    """Whether a file begins as the picture of the page does."""
    with path.open(encoding='utf-8', errors='replace') as stream:
        return stream.read(len(HEAD)) == HEAD


def _run(given: argparse.Namespace, console: Output) -> int:
    from dysl_vla_ros.lab.evaluation.results_run import check_piece_run, run_piece

    wanted = {name: (piece, given.evidence / f'{name}.json', _report(given.evidence, name))
              for name, piece in _wanted(given).items()}  # fmt: skip
    for name, (piece, _, before) in wanted.items():
        check_piece_run(name, piece, before)
    left = 0
    for name, (piece, target, before) in wanted.items():
        began = time.monotonic()
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(name, total=None)

            def show(done: int, total: int, progress: Any = progress, task: Any = task) -> None:
                progress.update(task, completed=done, total=total)

            found = run_piece(name, piece, given.keep, given.minutes, given.episodes, show, before)
        over = f'{given.minutes:g} minutes are over; the same command goes on'
        if found is None:
            left += 1
            console.say(f'{name}: {over}')
            continue
        earlier = before or {}
        machines = [*earlier.get('machine', '').split(', '),
                    platform.processor() or platform.machine()]  # fmt: skip
        found |= {
            'machine': ', '.join(dict.fromkeys(filter(None, machines))),
            'date': time.strftime('%Y-%m-%d'),
            'seconds': earlier.get('seconds', 0.0) + time.monotonic() - began,
        }
        partly = found['episodes_played'] < found['episodes_wanted']
        if partly:
            left += 1
            console.say(f'{name}: {found["episodes_played"]} of {found["episodes_wanted"]} '
                        f'episodes in every row; {over}')  # fmt: skip
        if earlier.get('episodes_played', 0) > found['episodes_played']:
            console.say(f'{target}: has more episodes than that, and is left as it is')
            continue
        write_json(target, found)
        console.say(f'{target}: written')
    return _LEFT if left else 0


def _wanted(given: argparse.Namespace) -> dict[str, Piece]:
    """What is to be played, by the name of its file."""
    from dysl_vla_ros.lab.evaluation.results_run import anchored, pieces

    if given.anchor and not given.engine:
        raise ConfigError('engine', given.engine, 'the bundle of the anchor')
    known = pieces(load_yaml(config_folder() / 'robots' / 'sim.yaml'), given.engine, given.workers)
    if not given.anchor:
        return {piece: known[piece] for piece in given.run}
    return {f'{piece}_{given.anchor}': anchored(known[piece], piece, given.anchor)
            for piece in given.run}  # fmt: skip


def _report(folder: Path, name: str) -> dict[str, Any] | None:
    """What an earlier go wrote, in order; None where there is nothing."""
    target = folder / f'{name}.json'
    check_json(target)
    if not target.is_file():
        return None
    found = read_report(target)
    check_report_file(name, found)
    return found
