"""One picture of an evaluation: success, depth by phase, and one episode in time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.sim.observer import PHASES
from dysl_vla_ros.targets import file_target, write_whole

PHASE_COLOURS = {'reach': '#dfe8f2', 'grasp': '#f6d5c8', 'carry': '#e2eeda', 'release': '#f3dff0'}


_SOFTWARE = 'dysl_vla_ros'
"""Stands in the PNG: a picture of somebody else's is not overwritten."""


def check_plot(path: Path | None) -> None:
    """Refuse a place for a picture before the work that it shows; None is no picture.

    Raises:
        ConfigError: A folder, a link, or a file that is not a picture of ``plot_evaluation``.
    """
    if path is not None:
        file_target('--plot', path, _is_plot, 'a picture that dysl evaluate drew')


def plot_evaluation(path: Path, document: dict[str, Any]) -> None:
    """Draw the report of ``evaluate`` into a PNG.

    Args:
        path: Target; its folder is made.
        document: As returned by ``evaluate``.

    Raises:
        DyslError: matplotlib is not installed.
        ConfigError: As ``check_plot``.
    """
    check_plot(path)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DyslError('--plot needs matplotlib: python -m pip install matplotlib') from None
    modes = list(document['modes'])
    shown = 'auto' if 'auto' in modes else modes[-1]
    figure = Figure(figsize=(9.0, 6.0), layout='constrained')
    grid = figure.add_gridspec(2, 2)
    _success(figure.add_subplot(grid[0, 0]), document)
    _depth(figure.add_subplot(grid[0, 1]), document)
    _episode(figure.add_subplot(grid[1, :]), shown, document['traces'][shown])
    draw = partial(figure.savefig, format='png', dpi=110, metadata={'Software': _SOFTWARE})
    write_whole(path.expanduser(), draw)


def _is_plot(path: Path) -> bool:
    with path.open('rb') as stream:
        head = stream.read(4096)
    return head.startswith(b'\x89PNG') and f'Software\0{_SOFTWARE}'.encode() in head


def _success(axes: Any, document: dict[str, Any]) -> None:
    found = document['modes']
    rates = [100 * one['success_rate'] for one in found.values()]
    low = [100 * (one['success_rate'] - one['success_interval'][0]) for one in found.values()]
    high = [100 * (one['success_interval'][1] - one['success_rate']) for one in found.values()]
    axes.bar(range(len(found)), rates, yerr=[low, high], color='#5b83b0', capsize=3)
    axes.set_xticks(range(len(found)), list(found), rotation=20)
    axes.set(ylim=(0, 100), ylabel='success [%]', title='Success, 95 % intervals')


def _depth(axes: Any, document: dict[str, Any]) -> None:
    found = document['modes']
    width = 0.8 / len(found)
    for index, (mode, one) in enumerate(found.items()):
        places = [x + (index - (len(found) - 1) / 2) * width for x in range(len(PHASES))]
        axes.bar(places, [one['layers_by_phase'][p] or 0.0 for p in PHASES], width, label=mode)
    axes.axhline(next(iter(found.values()))['layers_total'], color='black', linewidth=0.6)
    axes.set_xticks(range(len(PHASES)), PHASES)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set(ylabel='layers run per chunk', title='Depth by phase, re-runs included')
    axes.legend(fontsize=7)


def _episode(axes: Any, mode: str, trace: dict[str, Any] | None) -> None:
    if trace is None:
        axes.set_title('no accepted chunk in any episode')
        return
    times = trace['time_s']
    ends = [*times[1:], times[-1] + (times[-1] - times[-2] if len(times) > 1 else 0.2)]
    for start, end, phase in zip(times, ends, trace['phase'], strict=True):
        axes.axvspan(start, end, color=PHASE_COLOURS[phase], linewidth=0)
    axes.step([*times, ends[-1]], [*trace['layers_run'], trace['layers_run'][-1]],
              where='post', color='#1f4e79')  # fmt: skip
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel='time [s]', ylabel='layers run', xlim=(times[0], ends[-1]),
             title=f'{mode}: "{trace["instruction"]}" (seed {trace["seed"]})')  # fmt: skip
    other = axes.twinx()
    known = [(t, c) for t, c in zip(times, trace['continuity'], strict=True) if c is not None]
    other.plot([t for t, _ in known], [c for _, c in known], color='#c05020', linewidth=1.0)
    other.set_ylabel('continuity', color='#c05020')
    for phase in PHASES:
        axes.fill_between([], [], color=PHASE_COLOURS[phase], label=phase)
    axes.legend(fontsize=7, loc='lower right', ncols=4)
