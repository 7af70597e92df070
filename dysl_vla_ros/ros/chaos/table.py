"""Cases as lines of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from dysl_vla_ros.ros.chaos.case import Case

WIDTH = 80
_ROW = '{:<22} {:<10}{:<7}{:>5}{:>6}{:>6}{:>6} {:<10}{:<6}'
HEADER = (
    _ROW.format('fault', 'expected', 'state', 'rest', 'cmd', 'meas', 'step', 'then', '').rstrip()
    + '\n'
    + _ROW.format('', '', '', 's', 'rad/s', 'rad/s', 'rad', '', '').rstrip()
)


def lines(case: Case) -> list[str]:
    """One row, and the reasons below it where it was not safe."""
    rest = '-' if case.rest_s is None else f'{case.rest_s:.2f}'
    row = _ROW.format(
        case.name[:22], case.expected, case.state[:7], rest, _short(case.commanded),
        _short(case.measured), _short(case.step), case.outcome, case.verdict,
    )  # fmt: skip
    found = [row.rstrip()]
    for reason in case.reasons:
        found += textwrap.wrap(
            reason, WIDTH - 4, initial_indent='    ', subsequent_indent='      '
        )
    return found


def total(cases: Sequence[Case]) -> str:
    """The last line."""
    counts = {
        name: sum(case.verdict == name for case in cases) for name in ('safe', 'unsafe', 'unclear')
    }
    kinds = len({case.kind for case in cases})
    return f'{len(cases)} faults of {kinds} kinds: ' + ', '.join(
        f'{count} {name}' for name, count in counts.items()
    )


def _short(value: float) -> str:
    return f'{value:.2f}' if value < 100 else f'{value:.0e}'
