"""``dysl results``: the page of all comparisons from committed JSON; the runs that it lacks."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT_FROM_0, POSITIVE, WORKERS
from dysl_vla_ros.config import load_yaml
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.results_figure import HEAD, figure
from dysl_vla_ros.lab.evaluation.results_page import LARGEST, load_evidence, render
from dysl_vla_ros.targets import file_target, write_whole

PIECES = ('results_tabletop', 'results_heldout', 'ablation_tabletop', 'ablation_k1_tabletop',
          'ablation_k9_tabletop', 'noise_tabletop', 'latency_zero_tabletop',
          'latency_quarter_tabletop', 'latency_half_tabletop', 'latency_one_tabletop',
          'latency_three_tabletop', 'latency_smooth_tabletop')  # fmt: skip
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
    console = Console()
    if given.run:
        return _run(given, console)
    if not given.evidence.is_dir():
        raise ConfigError('evidence', str(given.evidence), 'a folder of reports (JSON)')
    size = sum(path.stat().st_size for path in given.evidence.glob('*.json'))
    if size > LARGEST:
        raise ConfigError('evidence', f'{size} bytes', f'at most {LARGEST} in all')
    evidence = load_evidence(given.evidence)
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
        console.print(f'{(other or [path])[0]}: {said}')
        return 1 if other else 0
    file_target('--write', path, is_page, 'a page that dysl results wrote')
    file_target('--write', picture, is_picture, 'a picture that dysl results drew')
    for target, text in made.items():
        write_whole(target, text.encode())
        console.print(f'{target}: written')
    return 0


def is_page(path: Path) -> bool:
    """Whether a file begins as ours does."""
    with path.open(encoding='utf-8', errors='replace') as stream:
        return stream.readline() == '# Results\n'


def is_picture(path: Path) -> bool:
    """Whether a file begins as the picture of the page does."""
    with path.open(encoding='utf-8', errors='replace') as stream:
        return stream.read(len(HEAD)) == HEAD


def _run(given: argparse.Namespace, console: Console) -> int:
    from dysl_vla_ros.lab.evaluation.results_run import anchored, pieces, run_piece

    if given.anchor and not given.engine:
        raise ConfigError('engine', given.engine, 'the bundle of the anchor')

    known = pieces(load_yaml(config_folder() / 'robots' / 'sim.yaml'), given.engine, given.workers)
    left = 0
    for piece in given.run:
        wanted = known[piece]
        if given.anchor:
            wanted = anchored(wanted, piece, given.anchor)
        name = f'{piece}_{given.anchor}' if given.anchor else piece
        target = given.evidence / f'{name}.json'
        check_json(target)
        began = time.monotonic()
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(name, total=None)

            def show(done: int, total: int, progress: Any = progress, task: Any = task) -> None:
                progress.update(task, completed=done, total=total)

            before = _report(target)
            found = run_piece(
                name, wanted, given.keep, given.minutes, given.episodes, show, before
            )
        over = f'{given.minutes:g} minutes are over; the same command goes on'
        if found is None:
            left += 1
            console.print(f'{name}: {over}')
            continue
        earlier = before if before.get('played_with') == found['played_with'] else {}
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
            console.print(f'{name}: {found["episodes_played"]} of {found["episodes_wanted"]} '
                          f'episodes in every row; {over}')  # fmt: skip
        if _episodes_of(before) > found['episodes_played']:
            console.print(f'{target}: has more episodes than that, played with something else or '
                          'in an earlier version, and is left as it is')  # fmt: skip
            continue
        write_json(target, found)
        console.print(f'{target}: written')
    return _LEFT if left else 0


def _report(path: Path) -> dict[str, Any]:
    """What an earlier go wrote; nothing where there is none."""
    found = json.loads(path.read_text('utf-8')) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _episodes_of(report: Mapping[str, Any]) -> int:
    """How many pairs a report has; 0 where there is none."""
    each = (int(row['episodes']) for row in report.get('modes', {}).values())
    return int(report.get('episodes_played', min(each, default=0)))
