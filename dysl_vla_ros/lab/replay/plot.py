"""A replay as one picture: layers, continuity, difference of the actions, over time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.lab.replay.compare import Row, Side
from dysl_vla_ros.targets import file_target, write_whole

_SOFTWARE = 'dysl_vla_ros'
"""Stands in the PNG: a picture of somebody else's is not overwritten."""


def check_plot(path: Path | None) -> None:
    """Refuse a place for a picture before the work that it shows; None is no picture.

    Raises:
        ConfigError: A folder, a link, or a file that is not a picture that dysl drew.
        DyslError: matplotlib is not installed.
    """
    if path is None:
        return
    file_target('--plot', path, _is_plot, 'a picture that dysl drew')
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise DyslError('--plot needs matplotlib: python -m pip install matplotlib') from None


def plot_replay(
    path: Path, rows: Sequence[Row], compared: str, threshold: float | None = None
) -> None:
    """Draw rows into a PNG.

    Args:
        path: Target; its folder is made.
        rows: At least one.
        compared: What the other side is: ``recorded``, ``unchanged``, or ''.
        threshold: Fall of continuity that counts as a drop.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    check_plot(path)
    both = bool(compared)
    figure = Figure(figsize=(9.0, 8.0 if both else 5.0), layout='constrained')
    panels = figure.subplots(4 if both else 2, 1, sharex=True)
    index = [row.index for row in rows]
    others = [row.then for row in rows if row.then is not None]
    maps = [('replayed', [row.now for row in rows]), *([(compared, others)] if both else [])]
    for axes, (title, sides) in zip(panels, maps, strict=False):
        _map(axes, sides, title)
    continuity = panels[len(maps)]
    for title, sides in maps:
        values = [np.nan if side.least is None else side.least for side in sides]
        continuity.plot(index[: len(values)], values, label=title, linewidth=1.2)
    said = '' if threshold is None else f'; a fall by {threshold:.3g} is a drop'
    continuity.set(ylabel='continuity', title=f'Lowest continuity of each chunk{said}')
    continuity.legend(loc='lower left')
    if both:
        errors = [np.nan if row.rms is None else row.rms for row in rows]
        panels[-1].plot(index, errors, color='#a04040', linewidth=1.2)
        panels[-1].set(ylabel='rms', title='Difference of the normalised actions', ylim=(0, None))
    panels[-1].set(xlabel='chunk')
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    draw = partial(figure.savefig, format='png', dpi=110, metadata={'Software': _SOFTWARE})
    write_whole(path.expanduser(), draw)


def _map(axes: Any, sides: Sequence[Side], title: str) -> None:
    """A column per chunk, a row per layer: dark where it ran, in the re-run too."""
    from matplotlib.ticker import MaxNLocator

    total = sides[0].passes[0].trace.layers_total
    picture = np.zeros((total, len(sides)))
    for column, side in enumerate(sides):
        for one in side.passes:
            run = [layer for layer in one.trace.layers_run if layer < total]
            picture[run, column] = 1.0 if one.mode != 'rerun' else 0.6
    axes.imshow(picture, aspect='auto', cmap='Greys', vmin=0, vmax=1.3, interpolation='nearest')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel='layer', title=f'Layers that ran, {title}')


def _is_plot(path: Path) -> bool:
    with path.open('rb') as stream:
        head = stream.read(4096)
    return head.startswith(b'\x89PNG') and f'Software\0{_SOFTWARE}'.encode() in head
