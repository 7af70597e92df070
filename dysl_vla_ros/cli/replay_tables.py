"""Tables of ``dysl replay``, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from dysl_vla_ros.lab.replay.compare import Row, Side
    from dysl_vla_ros.lab.replay.motion import MotionRow

Shown = Table | Text


def replay_tables(rows: Sequence[Row], found: Mapping[str, Any], most: int) -> list[Shown]:
    """Chunk by chunk, as far as they fit, and the figures of all.

    Args:
        rows: One per chunk.
        found: ``run.summary``.
        most: Rows of the first table.
    """
    other = found['compared_with']
    shown: list[Shown] = []
    if most:
        both = ('then', 'now') if other else ('now',)
        titles = ['chunk', 's', 'mode', *(f'layers {name}' for name in both),
                  *(f'C {name}' for name in both), 'drop',
                  *(('rms', 'max') if other else ())]  # fmt: skip
        table = _table('', titles)
        for row in rows[:most]:
            sides = [side for side in (row.then, row.now) if side is not None]
            cells = [str(row.index), f'{row.step.seconds:.1f}', _mode(row.now)]
            cells += _pad([str(side.layers) for side in sides], len(both))
            cells += _pad([_number(side.least) for side in sides], len(both))
            cells += ['' if row.now.drop_index is None else str(row.now.drop_index)]
            if other:
                cells += [_small(row.rms), _small(row.largest)]
            table.add_row(*cells, style=None if row.same_layers is not False else 'yellow')
        shown.append(table)
        if len(rows) > most:
            shown.append(Text(f'... and {len(rows) - most} more: --rows, or all in --json'))
    shown.append(_summary(found, other))
    return shown


def _summary(found: Mapping[str, Any], other: str | None) -> Table:
    table = _table('', ['', *([other] if other else []), 'replayed'])
    sides = [found['compared'], found['replayed']] if other else [found['replayed']]
    total = found['replayed']['layers_total']
    for name, key, form in (
        (f'layers run of {total}, re-runs counted', 'layers_run_mean', '{:.2f}'),
        ('re-runs', 'reruns', '{}'),
        ('chunks with a drop', 'chunks_with_a_drop', '{}'),
        ('lowest continuity, median', 'continuity_least_median', '{:.3f}'),
    ):
        table.add_row(name, *('n/a' if side[key] is None else form.format(side[key])
                              for side in sides))  # fmt: skip
    blank = [''] if other else []
    table.add_row('chunks', *blank, str(found['chunks']))
    if found['missing']:
        table.add_row('passes missing in between', *blank, str(found['missing']))
    if found['same_layers'] is not None:
        table.add_row('chunks with the same layers', *blank, str(found['same_layers']))
    if found['rules_agree'] is not None:
        good, asked = found['rules_agree']
        told = f'{good} of {asked}'
        table.add_row('plans and re-runs that follow from the motion', *blank, told)
    if found['difference'] is not None:
        error = found['difference']
        table.add_row('difference of the actions, rms', *blank, _small(error['rms_mean']))
        table.add_row('  95 % below', *blank, _small(error['rms_p95']))
        table.add_row('  largest of one number', *blank, _small(error['max']))
    return table


def motion_tables(rows: Sequence[MotionRow], most: int) -> list[Shown]:
    """Of a replay of motion only."""
    table = _table('', ('chunk', 'mode', 'layers', 'C then', 'C now', 'drop then', 'drop now'))
    for row in rows[:most]:
        table.add_row(
            str(row.index), row.mode, str(row.mask.count('1')), _number(row.least_then),
            _number(row.least_now), *('' if drop is None else str(drop) for drop in row.drops),
        )  # fmt: skip
    shown: list[Shown] = [table]
    if len(rows) > most:
        shown.append(Text(f'... and {len(rows) - most} more: --rows, or all in --json'))
    return shown


def _table(title: str, titles: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify='left', box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0), show_edge=False)  # fmt: skip
    for index, name in enumerate(titles):
        table.add_column(name, justify='right' if index else 'left', no_wrap=False)
    return table


def _mode(side: Side) -> str:
    modes = [one.mode for one in side.passes]
    return 're-run' if modes[-1] == 'rerun' else modes[-1]


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.3f}'


def _small(value: float | None) -> str:
    return '' if value is None else '0' if value == 0 else f'{value:.2g}'


def _pad(cells: list[str], count: int) -> list[str]:
    return [''] * (count - len(cells)) + cells
