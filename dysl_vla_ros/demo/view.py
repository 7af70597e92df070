"""The live view of the demo in a terminal, and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dysl_vla_ros.demo.figures import Picture

_BARS = '▁▂▃▄▅▆▇█'
_STATE_COLOURS = {
    'running': 'green', 'verifying': 'yellow', 'holding': 'yellow', 'ready': 'cyan',
    'stale': 'red', 'e-stop': 'red', 'fault': 'red',
}  # fmt: skip


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


def live_view(picture: Picture, seconds: float) -> Panel:
    """The screen at one instant.

    Args:
        picture: What is known.
        seconds: Since the demo began [s].
    """
    command, policy, chunk = picture.command_value, picture.policy_value, picture.chunk
    state = command('state') or 'starting'
    told = Text(picture.episode.get('instruction') or '(between two episodes)', style='bold')
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style='dim', justify='right')
    rows.add_column()
    rows.add_row('instruction', told)
    rows.add_row('state', Text(f'{state}  {command("hold_reason")}'.replace('n/a', ''),
                               style=_STATE_COLOURS.get(state, 'white')))  # fmt: skip
    rows.add_row('successes', f'{picture.episode.get("successes", "0")} of '
                              f'{picture.episode.get("episodes", "0")} episodes')  # fmt: skip
    rows.add_row('commands', f'{command("command_rate_hz") or "-"} Hz   longest gap '
                             f'{command("command_gap_ms_max") or "-"} ms   actions '
                             f'{command("actions_played_hz") or "-"} Hz')  # fmt: skip
    rows.add_row('inference', f'{policy("inference_ms_p50") or "-"} ms   95 %: '
                              f'{policy("inference_ms_p95") or "-"} ms   '
                              f'{policy("rerun_count") or 0} re-runs')  # fmt: skip
    rows.add_row('layers', f'{chunk.get("layer_mask", "").replace("1", "█").replace("0", "░")}  '
                           f'{chunk.get("mode", "")}')  # fmt: skip
    rows.add_row('skip ratio', f'{sparkline(list(picture.skip_ratio), 0.0, 1.0)}  '
                               f'{policy("skip_ratio") or "-"}')  # fmt: skip
    rows.add_row('continuity', f'{sparkline(list(picture.continuity))}  '
                               f'{policy("continuity_last") or "-"}')  # fmt: skip
    title = f'dysl_vla_ros   {seconds:.0f} s   Ctrl-C ends'
    return Panel(Group(rows), title=title, title_align='left', border_style='blue')


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
