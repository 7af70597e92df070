"""Whether a report of the bundled tasks says one thing, before figures are taken from it.

What has its episodes is summed up again from them; what has none, of before they were told, is
held to what its own figures say of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dysl_vla_ros.lab.evaluation.committed import FAMILIES_BEFORE, TIME_LIMIT_BEFORE, unpacked
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.fields import check_told, refuse
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.statistics import paired_difference, wilson_interval
from dysl_vla_ros.lab.evaluation.summary import summary

_WHOLE = 1e-6
"""How far a share of a count may be from a whole number of it."""
_BY_CHUNK = ('layers_run_mean', 'controllers_mean', 'rerun_rate')
Wins = Mapping[str, Sequence[bool]]


def check_played(file: str, report: Found) -> None:
    """Refuse a report of ``dysl results --run`` whose figures are not those of its lines.

    Args:
        file: Its name.
        report: As ``PIECE`` asks for.

    Raises:
        ConfigError: Names the field.
    """
    played = {row: _results(file, report, row) for row in _same_rows(file, report, 'episodes')}
    check_counts(file, report, {row: len(found) for row, found in played.items()})
    wins = {row: [one.success for one in found] for row, found in played.items()}
    _check_marks(file, report, wins)
    depths = {one.layers_total for found in played.values() for one in found}
    if len(depths) > 1:
        refuse(file, 'episodes', sorted(depths), 'lines of one policy, of as many layers each')
    for row, found in played.items():
        check_told(file, report['modes'][row], summary(found), f'modes.{row}',
                   f'as its {len(found)} lines tell')  # fmt: skip
    check_pairs(file, report, wins)


def check_lineless(file: str, report: Found) -> None:
    """The same of one that has its wins alone: ``LINELESS``.

    Raises:
        ConfigError: Names the field.
    """
    wins = {row: [mark == '1' for mark in report['won'][row]]
            for row in _same_rows(file, report, 'won')}  # fmt: skip
    check_counts(file, report, {row: len(won) for row, won in wins.items()})
    specs = _specs(report, max(map(len, wins.values())))
    for row, won in wins.items():
        of = [(spec.family, one) for spec, one in zip(specs, won, strict=False)]
        _check_wins(file, report, row, of, 'as its `won` tells')
        check_row(file, f'modes.{row}', report['modes'][row])
    check_pairs(file, report, wins)


def check_evaluated(file: str, report: Found) -> None:
    """The same of ``dysl evaluate``, which has a small entry for each episode.

    Raises:
        ConfigError: Names the field.
    """
    rows, wins = _same_rows(file, report, 'episodes'), {}
    first = report['first_seed']
    families = [one['family'] for one in report['episodes'][rows[0]]]
    for row in rows:
        episodes = report['episodes'][row]
        for number, one in enumerate(episodes):
            check_told(file, one, {'seed': first + number, 'family': families[number]}
                       if number < len(families) else {'seed': first + number},
                       f'episodes.{row}[{number}]', 'as every row plays them from first_seed on',
                       )  # fmt: skip
        chunks = max(sum(one['chunks'] for one in episodes), 1)
        wins[row] = [one['success'] for one in episodes]
        _check_wins(file, report, row, [(one['family'], one['success']) for one in episodes],
                    f'as its {len(episodes)} episodes tell')  # fmt: skip
        check_told(file, report['modes'][row], {
            'chunks': chunks,
            'layers_run_mean': sum(one['layers_run'] for one in episodes) / chunks,
            'rerun_rate': sum(one['reruns'] for one in episodes) / chunks,
        }, f'modes.{row}', f'as its {len(episodes)} episodes tell')  # fmt: skip
        check_row(file, f'modes.{row}', report['modes'][row])
    check_pairs(file, report, wins)


def check_counts(file: str, report: Found, counts: Mapping[str, int]) -> None:
    """Refuse rows of more or fewer episodes than the report says were played and wanted."""
    each = report['episodes_per_family']
    wanted = each * len(report.get('families', FAMILIES_BEFORE))
    check_told(file, report.get('episodes_wanted', wanted), wanted, 'episodes_wanted',
               f'{each} of each family')  # fmt: skip
    played = report.get('episodes_played', wanted)
    if played > wanted:
        refuse(file, 'episodes_played', played, f'at most {wanted}, as many as are wanted')
    decided = report.get('decided', [])
    for row in decided:
        if row not in counts:
            refuse(file, 'decided', row, f'rows of the report: {", ".join(counts)}')
    for row, count in counts.items():
        if count > played or (count < played and row not in decided):
            refuse(file, f'modes.{row}', f'{count} episodes', f'{played}, as episodes_played says'
                   + ('' if count > played else ', or the row in `decided`'))  # fmt: skip


def check_pairs(file: str, report: Found, wins: Wins) -> None:
    """Refuse differences between rows that are not those of their episodes."""
    first = next(iter(wins))
    pairs = [('paired', first, report['paired'])]
    told = report['paired_fixed']
    if told is not None:
        if told['reference'] not in wins:
            refuse(file, 'paired_fixed.reference', told['reference'], 'a row of the report')
        pairs.append(('paired_fixed.rows', told['reference'], told['rows']))
    for where, reference, rows in pairs:
        for row, given in rows.items():
            if row not in wins or row == reference:
                refuse(file, where, row, f'rows of the report beside {reference}')
            both = list(zip(wins[reference], wins[row], strict=False))
            if report.get('decided') is None and len(wins[reference]) != len(wins[row]):
                refuse(file, f'modes.{row}', f'{len(wins[row])} episodes',
                       f'{len(wins[reference])}, as {reference} has')  # fmt: skip
            found = paired_difference([one for one, _ in both], [other for _, other in both])
            check_told(file, given, dict(zip(('loss', 'low', 'high'), found, strict=True)),
                       f'{where}.{row}', f'as its {len(both)} pairs tell')  # fmt: skip


def check_row(file: str, where: str, told: Found) -> None:
    """Refuse a summary whose figures cannot all be so.

    Args:
        file: Whose name a message begins with.
        where: The row's place in it.
        told: As ``ROW`` asks for.

    Raises:
        ConfigError: Names the figure.
    """
    chunks, total = told['chunks'], told['layers_total']
    check_told(file, told['depth'], told['layers_run_mean'] / total, f'{where}.depth',
               'layers_run_mean of layers_total')  # fmt: skip
    check_shares(file, where, told, chunks)
    counts = {phase: {int(layers): count for layers, count in passes.items()}
              for phase, passes in told['layers_histogram'].items()}  # fmt: skip
    passes = sum(count for phase in counts.values() for count in phase.values())
    layers = sum(depth * count for phase in counts.values() for depth, count in phase.items())
    if passes not in (0, chunks):
        refuse(file, f'{where}.chunks', chunks, f'{passes}, as many as layers_histogram has')
    if layers > told['layers_run_mean'] * chunks + _WHOLE:
        refuse(file, f'{where}.layers_run_mean', told['layers_run_mean'],
               f'at least {layers / chunks:.4f}, as layers_histogram says')  # fmt: skip
    for phase, found in counts.items():
        count = sum(found.values())
        mean = sum(depth * one for depth, one in found.items()) / count if count else None
        check_told(file, told['layers_by_phase'].get(phase), mean,
                   f'{where}.layers_by_phase.{phase}', 'as layers_histogram says')  # fmt: skip
    times = [told[key] and told[key]['p50'] for key in ('pass_ms', 'backbone_ms')]
    check_times(file, where, *times)


def check_shares(file: str, where: str, told: Found, chunks: int) -> None:
    """Refuse means over so many chunks that no whole number of layers, controllers, re-runs has.

    A pass that is run again runs every layer once more or for the first time.
    """
    for key in _BY_CHUNK:
        count = told[key] * chunks
        if abs(count - round(count)) > _WHOLE * max(count, 1.0):
            refuse(file, f'{where}.{key}', told[key], f'a whole number in all of {chunks} chunks')
    least = told['rerun_rate'] * told['layers_total']
    if told['layers_run_mean'] < least - _WHOLE:
        refuse(file, f'{where}.rerun_rate', told['rerun_rate'], 'at most layers_run_mean of '
               f'layers_total, {told["layers_run_mean"] / told["layers_total"]:.4f}: a re-run '
               'runs every layer')  # fmt: skip


def check_times(file: str, where: str, whole: float | None, part: float | None) -> None:
    """Refuse a backbone that takes longer than the pass that it is a part of."""
    if whole is not None and part is not None and part > whole:
        refuse(file, f'{where}.backbone_ms', part, f'at most {whole}, the time of a whole pass')


def wins_told(wins: Sequence[bool]) -> dict[str, Any]:
    """What a summary says of these episodes."""
    count, won = len(wins), sum(wins)
    return {'episodes': count, 'successes': won, 'success_rate': won / count,
            'success_interval': list(wilson_interval(won, count))}  # fmt: skip


def _check_wins(
    file: str, report: Found, row: str, of: Sequence[tuple[str, bool]], why: str
) -> None:
    told, where = report['modes'][row], f'modes.{row}'
    check_told(file, told, wins_told([won for _, won in of]), where, why)
    families = {family for family, _ in of}
    if set(told['families']) != families:
        refuse(file, f'{where}.families', told['families'], f'those of {sorted(families)}')
    for family, found in told['families'].items():
        wanted = wins_told([won for name, won in of if name == family])
        check_told(file, found, wanted, f'{where}.families.{family}', why)


def _check_marks(file: str, report: Found, wins: Wins) -> None:
    for row in _same_rows(file, report, 'won'):
        marks, right = report['won'][row], ''.join(str(int(won)) for won in wins[row])
        if marks == right:
            continue
        if len(marks) != len(right):
            refuse(
                file, f'won.{row}', f'{len(marks)} episodes', f'{len(right)}, as its lines tell'
            )
        at = next(number for number, mark in enumerate(marks) if mark != right[number])
        refuse(file, f'won.{row}[{at}]', marks[at], f'{right[at]}, as its line tells')


def _same_rows(file: str, report: Found, field: str) -> list[str]:
    """The rows of the report, of which this field must tell, and of no others."""
    rows, told = list(report['modes']), report[field]
    if set(told) != set(rows):
        refuse(file, field, list(told), f'those of {", ".join(rows)}')
    return rows


def _results(file: str, report: Found, row: str) -> list[EpisodeResult]:
    lines = report['episodes'][row]
    if len(lines) > report['episodes_wanted']:
        refuse(file, f'episodes.{row}', f'{len(lines)} lines', f'at most '
               f'{report["episodes_wanted"]}, as episodes_wanted says')  # fmt: skip
    found = []
    for number, (line, spec) in enumerate(zip(lines, _specs(report, len(lines)), strict=True)):
        try:
            found.append(unpacked(line, spec))
        except ValueError as error:
            refuse(file, f'episodes.{row}[{number}]', line,
                   f'a line as dysl results --run wrote it: {error}')  # fmt: skip
    return found


def _specs(report: Found, count: int) -> list[EpisodeSpec]:
    """The first episodes of a piece; families take turns by the seed."""
    families, first = report.get('families', FAMILIES_BEFORE), report['first_seed']
    limit = float(report.get('time_limit', TIME_LIMIT_BEFORE))
    return [EpisodeSpec(seed, families[seed % len(families)], report['split'], time_limit=limit)
            for seed in range(first, first + count)]  # fmt: skip
