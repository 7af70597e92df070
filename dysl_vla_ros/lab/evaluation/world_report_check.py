"""Whether a report of ``dysl evaluate --world`` says one thing, before figures are taken from it.

A row's summary and its episodes are two accounts of the same: a file that was cut, put together
from two, or edited, has them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.fields import check_told
from dysl_vla_ros.lab.evaluation.paired_report_check import check_shares, check_times, wins_told
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.statistics import paired_difference
from dysl_vla_ros.lab.worlds.libero.suites import STARTS

NAMELESS = frozenset((
    'libero_object', 'libero_object_blank', 'libero_object_fixed_5', 'libero_object_swap',
    'libero_object_swap_fixed_5', 'libero_object_words',
))  # fmt: skip
"""Committed before reports named their policy, which is gone: of these six it is not asked."""


def check_report(name: str, report: Found) -> None:
    """Refuse a report, of any world, whose summaries are not those of its episodes.

    Args:
        name: Of its file, without the ending.
        report: As the file has it.

    Raises:
        ConfigError: A row has a start twice, or a summary of other episodes; names the field.
    """
    rows, episodes = report.get('rows', {}), report.get('episodes', {})
    if not rows:
        raise ConfigError(f'{name}.json: rows', rows, 'a summary of each row')
    for part, found, other in (('episodes', episodes, rows), ('rows', rows, episodes)):
        if not other.keys() <= found.keys():
            raise ConfigError(f'{name}.json: {part}', list(found), f'those of {list(other)}: a '
                              'summary and the episodes of each row')  # fmt: skip
    for row, told in rows.items():
        _unique(f'{name}.json: episodes.{row}', episodes[row])
        for field, wanted in _summed(episodes[row], told).items():
            given = told
            for key in field.split('.'):
                given = given.get(key) if isinstance(given, Mapping) else None
            if not _same(given, wanted):
                raise ConfigError(f'{name}.json: rows.{row}.{field}', given, f'{wanted}, as many '
                                  f'as its {len(episodes[row])} episodes tell')  # fmt: skip


def check_libero(name: str, report: Found) -> None:
    """``check_report``, and what the results page says of LIBERO's reports.

    Args:
        name: Of its file, without the ending.
        report: As the file has it.

    Raises:
        ConfigError: It names no policy, was drawn with fewer triangles, has drawn starts among
            the official ones, or is not whole; names the field.
    """
    check_report(name, report)
    if not report.get('policy') and name not in NAMELESS:
        raise ConfigError(f'{name}.json: policy', report.get('policy'), 'the digest of the policy '
                          'that played, as dysl evaluate writes it')  # fmt: skip
    if report.get('thin') != 1.0:
        raise ConfigError(f'{name}.json: thin', report.get('thin'), '1.0, full pictures: others '
                          'are not the benchmark, and no evidence for this page')  # fmt: skip
    first = report.get('first_start', 0)
    least, most = (first, STARTS) if first < STARTS else (first, math.inf)
    for row, episodes in report['episodes'].items():
        for task, start, *_ in episodes:
            if start < STARTS <= first:
                raise ConfigError(f'{name}.json: first_start', first, f'at most {start}, a start '
                                  f'of {row}')  # fmt: skip
            if not least <= start < most:
                raise ConfigError(f'{name}.json: episodes.{row}', [task, start], f'starts from '
                                  f'{least} to {most - 1}: those from {STARTS} on are drawn, and '
                                  'none of the official ones')  # fmt: skip


def check_figures(name: str, report: Found) -> None:
    """Refuse summaries of a world with figures that their episodes and rows cannot have.

    Args:
        name: Of its file, without the ending.
        report: Of which ``check_report`` had nothing to say.

    Raises:
        ConfigError: Names the figure.
    """
    file, rows = f'{name}.json', report['rows']
    first, episodes = next(iter(rows)), report['episodes']
    wins = {row: {(one[0], one[1]): bool(one[2]) for one in episodes[row]} for row in rows}
    for row, told in rows.items():
        where = f'rows.{row}'
        chunks = max(sum(one[5] for one in episodes[row]), 1)
        layers = sum(one[4] for one in episodes[row])
        check_told(file, told, {
            **wins_told(list(wins[row].values())), 'layers_total': rows[first]['layers_total'],
            'layers_per_action': layers / max(sum(one[3] for one in episodes[row]), 1),
            **_certain(row, told['layers_total']),
        }, where, f'as its {len(episodes[row])} episodes and its name tell')  # fmt: skip
        check_shares(file, where, told, chunks)
        check_times(file, where, told['pass_ms'], told['backbone_ms'])
        most = (1 + told['rerun_rate']) * told['layers_total']
        if told['layers_run_mean'] > most + 1e-6:
            raise ConfigError(f'{file}: {where}.layers_run_mean', told['layers_run_mean'],
                              f'at most {most:g}, every layer of every pass')  # fmt: skip
    for row, told in report['paired'].items():
        if row not in rows or row == first:
            raise ConfigError(f'{file}: paired', row, f'rows of the report beside {first}')
        both = [(won, wins[row][key]) for key, won in wins[first].items() if key in wins[row]]
        found = paired_difference([one for one, _ in both], [other for _, other in both])
        check_told(file, told, {'episodes': len(both),
                                **dict(zip(('loss', 'low', 'high'), found, strict=True))},
                   f'paired.{row}', f'as its {len(both)} pairs tell')  # fmt: skip


def _certain(row: str, layers: int) -> dict[str, float]:
    """What every pass of such a row does: it asks no controller and is never run again."""
    mode, _, depth = row.partition(' ')
    if mode not in ('full', 'fixed'):
        return {}
    ran = {'layers_run_mean': layers} if mode == 'full' else {}
    if depth.isdigit() and mode == 'fixed':
        ran = {'layers_run_mean': int(depth) + 1}
    return {**ran, 'controllers_mean': 0, 'rerun_rate': 0}


def _unique(field: str, episodes: Sequence[Sequence[Any]]) -> None:
    seen: set[tuple[int, int]] = set()
    for one in episodes:
        told = isinstance(one, list) and all(isinstance(number, (int, float)) for number in one)
        if not told or len(one) < 3 or one[2] not in (0, 1):
            raise ConfigError(field, one, 'numbers: task, start, 0 or 1 for lost or won, and more')
        if (one[0], one[1]) in seen:
            raise ConfigError(field, one[:2], 'each task and start once')
        seen.add((one[0], one[1]))


def _summed(episodes: Sequence[Sequence[Any]], told: Found) -> dict[str, float]:
    """What the summary must say: field -> number."""
    found: dict[str, float] = {'episodes': len(episodes),
                               'successes': sum(one[2] for one in episodes)}  # fmt: skip
    for task in sorted({str(one[0]) for one in episodes} | set(told.get('tasks', ()))):
        if 'tasks' in told:
            found[f'tasks.{task}'] = sum(one[2] for one in episodes if str(one[0]) == task)
    if episodes and all(len(one) > 5 for one in episodes):
        found['actions_mean'] = sum(one[3] for one in episodes) / len(episodes)
        chunks = max(sum(one[5] for one in episodes), 1)
        found['layers_run_mean'] = sum(one[4] for one in episodes) / chunks
    return found


def _same(given: Any, wanted: float) -> bool:
    return isinstance(given, (int, float)) and math.isclose(given, wanted, abs_tol=1e-6)
