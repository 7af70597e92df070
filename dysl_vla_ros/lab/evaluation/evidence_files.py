"""The folder of evidence: every file of it is of a known kind and in order, or is refused by name.

The name of a file says its kind; one of another name must show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.strict_json import load
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import BundleError, ConfigError, InputError
from dysl_vla_ros.lab.evaluation.anchor_rows import anchor_for
from dysl_vla_ros.lab.evaluation.committed import COLUMNS, episodes_told
from dysl_vla_ros.lab.evaluation.evidence import check_evidence
from dysl_vla_ros.lab.evaluation.evidence_joins import check_joins
from dysl_vla_ros.lab.evaluation.evidence_policies import check_policies
from dysl_vla_ros.lab.evaluation.evidence_shapes import (
    BENCH,
    EVALUATED,
    GATE,
    LINELESS,
    MEASURED,
    PIECE,
    SOAK,
    WORLD,
    headroom_shape,
    trained_shape,
)
from dysl_vla_ros.lab.evaluation.fields import Kind, check_fields, check_finite, check_told, refuse
from dysl_vla_ros.lab.evaluation.paired_report_check import (
    check_evaluated,
    check_lineless,
    check_played,
)
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.results_run import anchored, pieces
from dysl_vla_ros.lab.evaluation.small_report_check import check_gate, check_headroom, check_soak
from dysl_vla_ros.lab.evaluation.world_report_check import check_figures, check_libero
from dysl_vla_ros.lab.worlds.libero.suites import family_of

LARGEST = 5_000_000
"""Of all evidence that a page is made from [bytes]."""
WITHOUT_LINES = frozenset(
    f'latency_{name}_tabletop' for name in ('zero', 'quarter', 'half', 'one', 'three', 'smooth')
)
"""Committed before runs told each episode, on 2026-11-27 or before: of these it is not asked."""
_LINES_SINCE = '2026-11-28'
_WHOLE = 'noise_tabletop'
"""Of which a table needs every row."""


def read_evidence(folder: Path) -> dict[str, Found]:
    """Reports by file name, without the ending, of which every one is in order.

    Raises:
        ConfigError: A file is no JSON, of no known kind, damaged, or says two things; names the
            file and the field.
    """
    found: dict[str, Found] = {
        path.stem: read_report(path) for path in sorted(folder.glob('*.json'))
    }
    for name, report in found.items():
        check_report_file(name, report)
    check_joins(found)
    check_policies(found)
    return found


def read_report(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        ConfigError: It is none, or has a number that is none; names the file.
    """
    try:
        document = load(path, LARGEST)
    except BundleError as error:
        said = str(error).removeprefix(f'{path}: ')
        raise ConfigError(path.name, 'damaged', f'a report as dysl wrote it: {said}') from None
    if not isinstance(document, dict):
        refuse(path.name, '', document, 'a report as dysl wrote it, an object')
    check_finite(path.name, document)
    return dict(document)


def check_report_file(name: str, report: Found) -> None:
    """Refuse a report that is not of the kind that its name says, or not in order.

    Args:
        name: Of its file, without the ending.
        report: As the file has it.

    Raises:
        ConfigError: Names the file and the field.
    """
    kind = next((one for one in KINDS if any(name.startswith(head) for head in one.heads)), None)
    kind = kind or next((one for one in KINDS if one.shows(report)), None)
    if kind is None:
        known = ', '.join(f'{head}*' for one in KINDS for head in one.heads)
        refuse(f'{name}.json', '', report, f'a report that dysl results knows: {known}')
        return
    shape = kind.shape(report) if callable(kind.shape) else kind.shape
    check_fields(f'{name}.json', report, shape)
    kind.check(name, report)


def check_piece(name: str, report: Found) -> None:
    """Refuse a report of ``dysl results --run`` that is not in order: ``PIECE``.

    Args:
        name: Of its file, without the ending.
        report: As the file has it.

    Raises:
        ConfigError: Names the file and the field.
    """
    file = f'{name}.json'
    if name in WITHOUT_LINES and 'columns' not in report:
        check_fields(file, report, LINELESS)
        if report['date'] >= _LINES_SINCE:
            refuse(file, 'columns', None, f'the lines of its episodes: since {_LINES_SINCE} every '
                   'run tells them')  # fmt: skip
        _check_episodes(name, report)
        check_lineless(file, report)
        return
    check_fields(file, report, PIECE)
    check_told(file, report['columns'], COLUMNS, 'columns', 'as this version reads them')
    _check_episodes(name, report)
    played = report['played_with']
    for key, value in (('latency', float(report['latency'])), ('probe', report['probe'])):
        check_told(file, played[key], value, f'played_with.{key}', f'as `{key}` says')
    check_played(file, report)


def _check_episodes(name: str, report: Found) -> None:
    """That they are those of the piece: seeds, scenes, latency and rows."""
    file = f'{name}.json'
    known = pieces(NodeConfig(), '', 1)
    piece = max((one for one in known if name == one or name.startswith(f'{one}_')), key=len,
                default='')  # fmt: skip
    if not piece:
        refuse(file, '', name, f'the name of a piece: {", ".join(known)}')
    wanted, joins = known[piece], known[piece].joins
    if name != piece:
        try:
            anchor_for(piece, name.removeprefix(f'{piece}_'))
        except ConfigError as error:
            refuse(file, '', name, f'{piece}, or with the name of an anchor behind it: '
                   f'{error.expected}')  # fmt: skip
        wanted, joins = anchored(wanted, piece, name.removeprefix(f'{piece}_')), piece
    options = wanted.options
    told = episodes_told(options)
    rows = told.pop('rows')
    told |= {'piece': name, 'latency': f'{options.latency}', 'probe': options.probe}
    if 'random' in report['modes']:
        told['random_depth'] = options.random_depth
    if joins or 'joins' in report:
        told['joins'] = joins
        check_told(file, report.get('joins'), joins or None, 'joins', f'that of {piece}')
    check_told(file, report, told, '', f'that of {piece}')
    for row in report['modes']:
        if row not in rows:
            refuse(file, 'modes', row, f'rows of {piece}: {", ".join(rows)}')
    missing = [row for row in rows if row not in report['modes']]
    if piece == _WHOLE and missing:
        refuse(file, 'modes', list(report['modes']), f'{", ".join(missing)} too: its table sets '
               'rows beside each other')  # fmt: skip
    check_told(file, report.get('rows', {}), rows, 'rows', f'that of {piece}')


def _check_evaluated(name: str, report: Found) -> None:
    check_evaluated(f'{name}.json', report)


def _check_world(name: str, report: Found) -> None:
    if not family_of(report['suite']):
        refuse(f'{name}.json', 'suite', report['suite'], 'a suite of LIBERO')
    check_libero(name, report)
    check_figures(name, report)


def _check_bench(name: str, report: Found) -> None:
    try:
        check_evidence(report)
    except InputError as error:
        raise ConfigError(f'{name}.json', 'damaged', f'what dysl bench wrote: {error}') from None


def _check_trained(name: str, report: Found) -> None:
    if 'train' not in report and not any(stage.endswith('_is') for stage in report):
        refuse(f'{name}.json', '', report, 'report.json of a run of dysl recipe or dysl anchors: '
               'a policy that was trained')  # fmt: skip


def _nothing_more(name: str, report: Found) -> None:
    pass


@dataclass(frozen=True)
class FileKind:
    """A kind of evidence.

    Attributes:
        heads: What names of its files begin with.
        shape: Its fields; a function where they depend on the report.
        check: What they must say together; called with the name and the report.
        shows: Whether a report under another name is one.
    """

    heads: tuple[str, ...]
    shape: Kind | Callable[[Mapping[str, Any]], Kind]
    check: Callable[[str, Found], None] = _nothing_more
    shows: Callable[[Found], bool] = lambda report: False


KINDS = (
    FileKind(('libero_',), WORLD, _check_world, lambda found: 'world' in found),
    FileKind(('results_', 'ablation_', 'noise_', 'latency_'), {}, check_piece,
             lambda found: 'piece' in found),
    FileKind(('fixed_exits_',), EVALUATED, _check_evaluated,
             lambda found: {'modes', 'paired'} <= found.keys()),
    FileKind(('bench_',), BENCH, _check_bench,
             lambda found: found.get('format') == 'dysl_vla_bench'),
    FileKind(('headroom_',), headroom_shape, check_headroom,
             lambda found: found.get('format') == 'dysl_vla_headroom'),
    FileKind(('gate_',), GATE, check_gate, lambda found: 'gate' in found),
    FileKind(('trained_',), trained_shape, _check_trained),
    FileKind(('soak_',), SOAK, check_soak),
    FileKind(('four_rows_', 'openvla_oft_'), MEASURED),
)  # fmt: skip
