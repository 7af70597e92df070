"""Whether a report of headroom, of a gate or of a soak says one thing: figures beside each other.

Those of ``dysl headroom`` tell no episodes, so that they are held to what they say of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.lab.evaluation.fields import check_told, refuse
from dysl_vla_ros.lab.evaluation.headroom import DENSE, found_of
from dysl_vla_ros.lab.evaluation.regret import Outcome, verdict
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.statistics import wilson_interval

_WHOLE = 1e-6
_REFUSED = 1.05
"""Passes whose chunks were refused count in all layers, and in no phase: a few in a hundred."""


def check_headroom(name: str, report: Found) -> None:
    """Refuse a report of ``dysl headroom`` that says two things.

    Args:
        name: Of its file, without the ending.
        report: Of the shape of such reports.

    Raises:
        ConfigError: Names the file and the field.
    """
    file, offline = f'{name}.json', report['offline']
    for number, one in enumerate(offline['exits']):
        for tolerance in (f'{told["tolerance"]:g}' for told in offline['oracle']):
            if tolerance not in one['within']:
                refuse(file, f'offline.exits[{number}].within', one['within'],
                       f'a share for each tolerance of the oracle, {tolerance} too')  # fmt: skip
    for number, one in enumerate(offline['oracle']):
        if one.get('histogram'):
            _check_histogram(file, f'offline.oracle[{number}]', one, offline['states'])
    for split, part in report.get('closed_loop', {}).items():
        _check_played(file, f'closed_loop.{split}', part)


def check_gate(name: str, report: Found) -> None:
    """Refuse a verdict on a gate that is not that of its rows.

    Args:
        name: Of its file, without the ending.
        report: As ``GATE`` asks for.

    Raises:
        ConfigError: Names the file and the field.
    """
    file, fields = f'{name}.json', tuple(Outcome.__annotations__)
    rows = [Outcome(**{field: one[field] for field in fields}) for one in report['gate']]
    for number, one in enumerate(rows):
        if one.layers_free > one.layers + _WHOLE:
            refuse(file, f'gate[{number}].layers_free', one.layers_free,
                   f'at most {one.layers:g}, with what looking costs')  # fmt: skip
    check_told(file, report['verdict'], verdict(rows), 'verdict', 'as its rows tell')


def check_soak(name: str, report: Found) -> None:
    """Refuse a rate that is not that of its seconds.

    Args:
        name: Of its file, without the ending.
        report: As ``SOAK`` asks for.

    Raises:
        ConfigError: Names the file and the field.
    """
    file, counts = f'{name}.json', [count for _, count in report.get('commands_per_second', [])]
    check_told(file, report['ok'], not report['problems'], 'ok', 'as `problems` tells')
    if counts:
        check_told(file, report, {
            'rate_hz_mean': round(sum(counts) / len(counts), 2), 'rate_hz_least': min(counts),
            'seconds_commanded': len(counts),
        }, '', 'as its commands_per_second tell')  # fmt: skip
    elif report.get('rate_hz_least', 0) > report['rate_hz_mean']:
        refuse(file, 'rate_hz_least', report['rate_hz_least'], 'at most rate_hz_mean, '
               f'{report["rate_hz_mean"]:g}')  # fmt: skip


def _check_histogram(file: str, where: str, told: Found, states: int) -> None:
    counts = told['histogram']
    for layers in counts:
        if not layers.isdecimal():
            refuse(file, f'{where}.histogram', layers, 'numbers of layers')
    check_told(file, sum(counts.values()), states, f'{where}.histogram', 'as many as `states`')
    mean = sum(int(layers) * count for layers, count in counts.items()) / states
    check_told(file, told['layers_mean'], mean, f'{where}.layers_mean', 'as its histogram tells')


def _check_played(file: str, where: str, part: Found) -> None:
    rows = part['rows']
    for row, told in rows.items():
        _check_row(file, f'{where}.rows.{row}', told, part['episodes'])
    if DENSE.name in rows:
        for row, told in rows.items():
            loss = rows[DENSE.name]['success_rate'] - told['success_rate']
            check_told(file, told, {'loss': loss}, f'{where}.rows.{row}', 'against dense')
        if all('loss' in told for told in rows.values()):
            check_told(file, part, found_of(rows), where, 'as its rows tell')


def _check_row(file: str, where: str, told: Found, episodes: int) -> None:
    wins = _check_wins(file, where, told, episodes)
    families: Mapping[str, Any] = told.get('families', {})
    if families:
        each = [_check_wins(file, f'{where}.families.{family}', one, one['episodes'])
                for family, one in families.items()]  # fmt: skip
        check_told(file, sum(one['episodes'] for one in families.values()), episodes,
                   f'{where}.families', 'episodes of all')  # fmt: skip
        check_told(file, sum(each), wins, f'{where}.families', 'won, as success_rate says')
    phases = [one for one in told.get('layers_by_phase', {}).values() if one is not None]
    if phases and not min(phases) - _WHOLE <= told['layers_run_mean'] <= _REFUSED * max(phases):
        refuse(file, f'{where}.layers_run_mean', told['layers_run_mean'],
               f'within {min(phases):.4g} and {max(phases):.4g}, its layers_by_phase')  # fmt: skip


def _check_wins(file: str, where: str, told: Found, episodes: int) -> int:
    """Episodes won, by the rate; refuses another interval than they have."""
    share: float = told['success_rate']
    wins = share * episodes
    if abs(wins - round(wins)) > _WHOLE:
        refuse(file, f'{where}.success_rate', told['success_rate'],
               f'a whole number of {episodes} episodes')  # fmt: skip
    check_told(file, told, {
        'successes': round(wins),
        'success_interval': list(wilson_interval(round(wins), episodes)),
    }, where, f'as success_rate of {episodes} episodes tells')  # fmt: skip
    return round(wins)
