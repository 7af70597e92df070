"""Success against compute in one picture: a panel for each world, a mark for each policy and mode.

An SVG of our own making, so that the same evidence gives the same bytes on every machine, and a
test can say whether the picture that is committed is that of the figures beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dysl_vla_ros.lab.evaluation.libero_lines import Line
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.results_libero import libero_series
from dysl_vla_ros.lab.evaluation.results_page import PARETO, joined
from dysl_vla_ros.lab.evaluation.statistics import wilson_interval

LOWEST, TICKS = 0.85, (0.85, 0.90, 0.95, 1.0)
"""Success that is shown; what wins less is named at the foot of its panel."""
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" data-made-by="dysl results"'
"""How the file begins: a picture of somebody else's is not overwritten."""
_BUNDLED = 'results_tabletop'
_WIDTH, _HEIGHT, _GAP = 300, 230, 46
_LEFT, _TOP, _BELOW = 44, 34, 92
_STYLE = (
    'text{font:11px sans-serif;fill:#222}.t{font-weight:bold;font-size:12px}.s{font-size:10px;'
    'fill:#555}.m{text-anchor:middle}.e{text-anchor:end}.a{stroke:#999}.g{stroke:#eee}'
    '.f{fill:none;stroke:#bbb;stroke-width:4;stroke-opacity:.45}.i{stroke-opacity:.35}'
)


@dataclass(frozen=True)
class Kind:
    """How rows of one kind are drawn.

    Attributes:
        colour: Of the line, and of the inside where it is filled.
        shape: ``circle``, ``square``, ``diamond`` or ``triangle``.
        filled: Whether it was trained for that depth.
    """

    colour: str
    shape: str
    filled: bool = True


KINDS = {
    'dense': Kind('#222222', 'square'),
    'fixed exit': Kind('#1f6fb4', 'circle', filled=False),
    'fixed exit, fine-tuned': Kind('#1f6fb4', 'circle'),
    'n-layer': Kind('#2a9d8f', 'diamond'),
    'DySL `auto`': Kind('#e06a00', 'triangle'),
    'controllers alone': Kind('#e06a00', 'triangle', filled=False),
    'exit by instruction': Kind('#8e3fa8', 'diamond', filled=False),
    'exit by instruction, fine-tuned': Kind('#8e3fa8', 'diamond'),
    'paced': Kind('#8a8a2b', 'triangle', filled=False),
    'DeeR': Kind('#777777', 'circle', filled=False),
    'random': Kind('#777777', 'square', filled=False),
    'static': Kind('#777777', 'diamond', filled=False),
}  # fmt: skip
"""Rows of other kinds are no points of this picture."""


@dataclass(frozen=True)
class Mark:
    """One policy in one mode.

    Attributes:
        kind: Of ``KINDS``.
        share: Layers run / layers of the dense policy.
        wins: Episodes won.
        count: Episodes.
        label: Beside it.
    """

    kind: str
    share: float
    wins: int
    count: int
    label: str = ''

    @property
    def success(self) -> float:
        """Share of episodes won."""
        return self.wins / self.count


@dataclass(frozen=True)
class Panel:
    """One world."""

    title: str
    marks: Sequence[Mark]


def figure(evidence: Mapping[str, Found]) -> str:
    """The picture of what the results page has in its first tables.

    Args:
        evidence: Reports by file name.

    Returns:
        An SVG; without a panel where there is no evidence.
    """
    evidence = joined(evidence)
    panels = [*_bundled(evidence)]
    for suite, lines in libero_series(evidence):
        total = max(line.told['layers_total'] for line in lines)
        marks = [_mark(line, total) for line in lines if line.kind in KINDS]
        panels.append(Panel(f'LIBERO-{suite}, {_counted(marks)}', marks))
    return draw(panels)


def draw(panels: Sequence[Panel]) -> str:
    """Panels side by side above one legend."""
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + _BELOW
    parts = [
        f'{HEAD} viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        '<title>Episodes won against layers run</title>', f'<style>{_STYLE}</style>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]  # fmt: skip
    for number, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + number * (_WIDTH + _GAP))
    shown = {mark.kind for panel in panels for mark in panel.marks if mark.success >= LOWEST}
    present = [kind for kind in KINDS if kind in shown]
    parts += _legend(present, width)
    return '\n'.join([*parts, '</svg>', ''])


def front(marks: Sequence[Mark]) -> list[Mark]:
    """Those that win more than all that run no more layers; the shallowest first."""
    best: list[Mark] = []
    for mark in sorted(marks, key=lambda one: (one.share, -one.success)):
        if not best or mark.success > best[-1].success:
            best.append(mark)
    return best


def _bundled(evidence: Mapping[str, Found]) -> list[Panel]:
    found = evidence.get(_BUNDLED)
    if found is None:
        return []
    total, marks = max(told['layers_total'] for told in found['modes'].values()), []
    for row in PARETO:
        told, kind = found['modes'].get(row.line(found)), re.sub(r',? \d+', '', row.name)
        if told is not None and kind in KINDS:
            marks.append(Mark(kind, told['layers_run_mean'] / total, told['successes'],
                              told['episodes'], _depth(row.name)))  # fmt: skip
    return [Panel(f'Bundled tasks, {_counted(marks)}', marks)]


def _counted(marks: Sequence[Mark]) -> str:
    """How many episodes the marks that are drawn stand for."""
    counts = [mark.count for mark in marks if mark.success >= LOWEST]
    least, most = min(counts, default=0), max(counts, default=0)
    return f'{most:,} episodes' if least == most else f'{least:,} to {most:,} episodes'


def _mark(line: Line, total: int) -> Mark:
    told = line.told
    return Mark(line.kind, told['layers_run_mean'] / total, told['successes'], told['episodes'],
                '' if line.kind == 'paced' else _depth(line.name))  # fmt: skip


def _depth(name: str) -> str:
    """The layer in the name of a row."""
    found = re.search(r'\d+', name)
    return found[0] if found else ''


def _panel(panel: Panel, left: int) -> list[str]:
    def at(share: float, success: float) -> tuple[float, float]:
        return left + _WIDTH * share, _TOP + _HEIGHT * (1.0 - success) / (1.0 - LOWEST)

    bottom = _TOP + _HEIGHT
    parts = [_text(left, _TOP - 14, panel.title, 't')]
    for success in TICKS:
        parts += [_line(at(0.0, success), at(1.0, success), 'g'),
                  _text(left - 6, at(0.0, success)[1] + 4, _percent(success), 's e')]  # fmt: skip
    for share in (0.25, 0.5, 0.75, 1.0):
        parts += [_line(at(share, 1.0), at(share, LOWEST), 'g'),
                  _text(at(share, 1.0)[0], bottom + 15, _percent(share), 's m')]  # fmt: skip
    parts.append(_line(at(0.0, LOWEST), at(1.0, LOWEST), 'a'))
    shown = [mark for mark in panel.marks if mark.success >= LOWEST]
    path = ' '.join(_point(*at(one.share, one.success)) for one in front(shown))
    parts.append(f'<polyline class="f" points="{path}"/>')
    for mark in shown:
        (x, y), kind = at(mark.share, mark.success), KINDS[mark.kind]
        low, high = wilson_interval(mark.wins, mark.count)
        parts += [
            _line(at(mark.share, max(low, LOWEST)), at(mark.share, high), 'i', kind.colour),
            _shape(kind, x, y),
        ]  # fmt: skip
        if mark.label:
            parts.append(_text(x + 6, y - 5, mark.label, 's'))
    below = [f'{mark.kind} {_percent(mark.success)}' for mark in panel.marks if mark not in shown]
    if below:
        parts.append(_text(left + 4, bottom - 6, 'below: ' + ', '.join(below), 's'))
    return parts


def _legend(kinds: Sequence[str], width: int) -> list[str]:
    y = _TOP + _HEIGHT + 40
    parts = [_text(_LEFT, y, 'Across: layers run, of those of the dense policy, re-runs included. '
                   'Up: episodes won, with 95 % intervals. A number is the layer of an exit. '
                   'Grey: what no other beats.', 's')]  # fmt: skip
    x = float(_LEFT)
    for kind in kinds:
        wide = 30 + 6.2 * len(kind)
        if x + wide > width:
            x, y = float(_LEFT), y + 18
        parts += [_shape(KINDS[kind], x + 5, y + 18), _text(x + 14, y + 22, kind, '')]
        x += wide
    return parts


def _shape(kind: Kind, x: float, y: float) -> str:
    style = f'fill="{kind.colour if kind.filled else "#fff"}" stroke="{kind.colour}"'
    if kind.shape == 'circle':
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" stroke-width="1.5" {style}/>'
    corners = {
        'square': ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        'diamond': ((0, -5), (5, 0), (0, 5), (-5, 0)),
        'triangle': ((0, -5), (5, 4), (-5, 4)),
    }[kind.shape]
    points = ' '.join(_point(x + dx, y + dy) for dx, dy in corners)
    return f'<polygon points="{points}" stroke-width="1.5" {style}/>'


def _point(x: float, y: float) -> str:
    return f'{x:.1f},{y:.1f}'


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %'


def _line(
    start: tuple[float, float], end: tuple[float, float], name: str, colour: str = ''
) -> str:
    stroke = f' stroke="{colour}"' if colour else ''
    return (f'<line class="{name}"{stroke} x1="{start[0]:.1f}" y1="{start[1]:.1f}" '
            f'x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>')  # fmt: skip


def _text(x: float, y: float, words: str, name: str) -> str:
    words = words.replace('`', '').replace('&', '&amp;').replace('<', '&lt;')
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{name}">{words}</text>'
