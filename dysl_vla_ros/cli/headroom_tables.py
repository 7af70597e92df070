"""Tables of ``dysl headroom``, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

_LONGEST = 24


def exits_table(found: Mapping[str, Any], tolerances: Sequence[str]) -> Table:
    """Per exit how far it is from dense, and the oracle below.

    Args:
        found: ``headroom.offline``.
        tolerances: As its keys name them.
    """
    table = _table(f'{found["states"]} states: error of each exit; % within',
                   ('layers', 'p50', 'p95', *tolerances))  # fmt: skip
    for row in found['exits']:
        error, within = row['error'], row['within']
        table.add_row(str(row['layers']), f'{error["p50"]:.3f}', f'{error["p95"]:.3f}',
                      *(f'{100 * within[name]:.0f}' for name in tolerances))  # fmt: skip
    oracle = [f'{one["layers_mean"]:.2f}' for one in found['oracle']]
    table.add_row('oracle: mean layers', '', '', *oracle, style='bold')
    return table


def groups_table(found: Mapping[str, Any], tolerances: Sequence[str]) -> Table:
    """Mean layers of the offline oracle by phase, task, distance and split."""
    table = _table('mean layers of the oracle', ('', 'states', *tolerances))
    for kind, groups in found['groups'].items():
        for name, one in groups.items():
            layers = (f'{one["layers_mean"][tolerance]:.2f}' for tolerance in tolerances)
            short = name if len(name) <= _LONGEST else f'{name[: _LONGEST - 1]}…'
            table.add_row(f'{kind} {short}', str(one['states']), *layers)
    return table


def closed_table(split: str, found: Mapping[str, Any]) -> Table:
    """Success and depth of every row of one split."""
    table = _table(f'{split}: {found["episodes"]} episodes in closed loop',
                   ('', 'won', '95 %', 'lost to dense', '95 %', 'layers'))  # fmt: skip
    for name, row in found['rows'].items():
        low, high = row['success_interval']
        dense = name == 'oracle 0'
        table.add_row(
            'dense' if dense else name,
            f'{100 * row["success_rate"]:.1f}',
            f'{100 * low:.0f}-{100 * high:.0f}',
            '' if dense else f'{100 * row["loss"]:.1f}',
            '' if dense else f'{100 * row["low"]:.1f}..{100 * row["high"]:.1f}',
            f'{row["layers_run_mean"]:.2f}',
        )
    return table


def _table(title: str, titles: Sequence[str]) -> Table:
    table = Table(title=title, title_justify='left', box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  show_edge=False)  # fmt: skip
    for index, name in enumerate(titles):
        table.add_column(name, justify='right' if index else 'left', no_wrap=True)
    return table
