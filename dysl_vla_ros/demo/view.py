"""The live view of the demo in a terminal, and its summary."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dysl_vla_ros.demo.camera_text import camera_text
from dysl_vla_ros.demo.figures import Picture, number
from dysl_vla_ros.demo.heat_map import heat_map
from dysl_vla_ros.demo.keys import HELP, Operator

_FEWEST_ROWS = 9
"""Of the upper half, however small the terminal."""
_NAMES = 10
"""Width of the names of the rows: that of 'continuity'."""
_BARS = '▁▂▃▄▅▆▇█'
_STATE_COLOURS = {
    'running': 'green', 'verifying': 'yellow', 'holding': 'yellow', 'ready': 'cyan',
    'stale': 'red', 'e-stop': 'red', 'fault': 'red',
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Of a terminal, in cells, and whether it shows colours."""

    columns: int = 80
    rows: int = 24
    colour: bool = True


DEFAULT_SIZE = Size()


def sparkline(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """One block character per value.

    Args:
        values: Oldest first.
        low: Value of the lowest bar; default the smallest.
        high: Value of the highest bar; default the largest.
    """
    if not values:
        return ''
    low = min(values) if low is None else low
    high = max(values) if high is None else high
    span = high - low or 1.0
    top = len(_BARS) - 1
    return ''.join(_BARS[min(max(round((v - low) / span * top), 0), top)] for v in values)


def live_view(
    picture: Picture,
    seconds: float,
    size: Size = DEFAULT_SIZE,
    operator: Operator | None = None,
    address: str = '',
) -> Panel:
    """The screen at one instant: camera and figures above, layers over time below.

    Args:
        picture: What is known.
        seconds: Since the demo began [s].
        size: Of the terminal, and whether it shows colours.
        operator: Whoever types; None where nobody can.
        address: Of a page that shows the same; '' where there is none.
    """
    inner, layers = size.columns - 4, len(picture.seen[-1].mask) if picture.seen else 20
    below = [heat_map(picture.seen, inner, size.colour)] if picture.seen else []
    head = [Text(address, overflow='fold')] if address else []
    taken = (not size.colour) + -(-len(address) // inner)
    rows = max(size.rows - 3 - (layers + 1) // 2 - 1 - taken, _FEWEST_ROWS - taken)
    above = Table.grid(padding=(0, 1))
    width = inner - 2 * rows - 1 if picture.frame is not None else inner
    above.add_column(width=width)
    cells: list[RenderableType] = [_figures(picture, operator, width, rows)]
    if picture.frame is not None:
        above.add_column(width=2 * rows)
        cells.append(camera_text(picture.frame, 2 * rows, rows, size.colour))
    above.add_row(*cells)
    title = f'dysl_vla_ros   {seconds:.0f} s   {"Ctrl-C ends" if operator is None else HELP}'
    legend = 'layers:  cyan ran   yellow full pass   magenta run again   · jumped'
    if not size.colour:
        legend = 'layers:  █ ran   · jumped    pass:  F full   R run again'
    return Panel(Group(*head, above, *below), title=title, title_align='left', border_style='blue',
                 subtitle=legend if below else None)  # fmt: skip


def _figures(picture: Picture, operator: Operator | None, width: int, rows: int) -> Table:
    command, policy, chunk = picture.command_value, picture.policy_value, picture.chunk
    state = command('state') or 'starting'
    told = Text(picture.episode.get('instruction') or '(between two episodes)', style='bold')
    if operator is not None and operator.typed is not None:
        told = Text(f'> {operator.typed}_', style='bold reverse')
    table = Table.grid(padding=(0, 1))
    # Widths are given: else a long reason takes the names of the rows away.
    table.add_column(style='dim', justify='right', width=_NAMES)
    room = max(width - _NAMES - 1, 1)
    table.add_column(overflow='ellipsis', no_wrap=True, width=room)
    lines: list[tuple[str, str | Text]] = []

    def add(name: str, value: str | Text) -> None:
        lines.append((name, value))

    add('told', told)
    add('state', Text(f'{state}  {command("hold_reason")}'.replace('n/a', ''),
                      style=_STATE_COLOURS.get(state, 'white')))  # fmt: skip
    add('phase', f'{picture.episode.get("phase") or "-"}   won '
                 f'{picture.episode.get("successes", "0")} of '
                 f'{picture.episode.get("episodes", "0")} episodes')  # fmt: skip
    add('commands', f'{command("command_rate_hz") or "-"} Hz, longest gap '
                    f'{command("command_gap_ms_max") or "-"} ms')  # fmt: skip
    depth = f'{chunk.get("layers_run", "-")} of {chunk.get("layers_total", "-")} layers'
    add('pass', f'{_ms(picture.pass_ms)}, {depth}; dense {_ms(_dense_ms(picture))}')
    add('mode', f'{policy("skip_mode") or "-"}, re-runs {policy("rerun_count") or 0} of '
                f'{policy("chunks_total") or 0} chunks')  # fmt: skip
    add('skipped', f'{sparkline(list(picture.skip_ratio)[-20:], 0.0, 1.0)} '
                   f'{policy("skip_ratio") or "-"}')  # fmt: skip
    add('continuity', f'{sparkline(list(picture.continuity)[-20:])} '
                      f'{_short(policy("continuity_last"))}, drop: falls '
                      f'{_short(policy("continuity_threshold"))}')  # fmt: skip
    answer: list[str] = []
    if operator is not None and operator.said and operator.typed is None:
        answer = textwrap.wrap(operator.said, room, max_lines=max(rows - 3, 1))
    # A reason is read once: it may take the place of the last figures for as long.
    for line in lines[: max(rows - len(answer), 3)]:
        table.add_row(*line)
    for index, part in enumerate(answer):
        table.add_row('' if index else 'answer', Text(part))
    return table


def _dense_ms(picture: Picture) -> float | None:
    """A pass through all layers: as measured, else reckoned from the backbone's share."""
    if picture.dense:
        return float(np.median(picture.dense))
    if picture.pass_ms is None:
        return None
    backbone, run, total = (
        number(picture.chunk.get(key, '')) for key in ('backbone_ms', 'layers_run', 'layers_total')
    )
    if backbone is None or not run or total is None:
        return None
    return picture.pass_ms + backbone * (total / run - 1.0)


def _short(value: str) -> str:
    known = number(value)
    return '-' if known is None else f'{known:.2f}'


def _ms(value: float | None) -> str:
    return '-' if value is None else f'{value:.0f} ms'


def summary(figures: dict[str, Any]) -> Table:
    """The end of the demo, as a table."""
    table = Table(title='Summary', title_justify='left', show_header=False)
    table.add_column(style='dim')
    table.add_column(justify='right')
    for name, value in figures.items():
        if isinstance(value, list):
            continue  # for the JSON
        shown = (
            '-' if value is None else f'{value:.3g}' if isinstance(value, float) else str(value)
        )
        table.add_row(name, shown)
    return table
