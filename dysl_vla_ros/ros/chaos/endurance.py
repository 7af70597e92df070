"""A long run in figures: does anything grow, and does the command rate hold?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dysl_vla_ros.ros.chaos.proc import Usage
from dysl_vla_ros.ros.chaos.verdict import LATCHED, PLAYING

WARM_UP_S = 300.0
"""Growth counts from here on, or from a third of a shorter run."""
MEAN_HZ, LEAST_HZ = 29.5, 25
_GROWTH = 0.01
_SPARE = 2
"""Descriptors and threads may differ by so many: a service call or a log file in flight."""
_SPAN_S = 60.0
_FAULTS_PER_HOUR = 5
"""Of 450 episodes: an arm that slips off what it presses on moves farther than it was told to."""
_LONG_S = 120.0
_LEAST_SHARE = 0.5
"""Of a longer run of the demo; between its episodes nothing is sent."""
_SETTLED_S = 0.3
_BLOCKS = '▁▂▃▄▅▆▇█'


@dataclass
class Run:
    """What was measured.

    Attributes:
        usage: Process -> (seconds since the start, usage).
        arrivals: When commands arrived [s since the start].
        states: Changes of the node's state [s since the start].
        restarts: Process -> how often its process id changed.
        faults: (when last said [s since the start], what was said) of each latched fault.
    """

    usage: dict[str, list[tuple[float, Usage]]] = field(default_factory=dict)
    arrivals: list[float] = field(default_factory=list)
    states: list[tuple[float, str]] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[float, str]] = field(default_factory=list)

    def playing(self, until: float) -> list[tuple[float, float]]:
        """Intervals in which the node commanded the arm, a little after each start."""
        spans: list[tuple[float, float]] = []
        since = None
        for at, state in [*self.states, (until, '')]:
            if state in PLAYING and since is None:
                since = at
            elif state not in PLAYING and since is not None:
                spans.append((since + _SETTLED_S, at))
                since = None
        return [span for span in spans if span[1] > span[0]]


def rates(run: Run, until: float) -> list[tuple[float, int]]:
    """(start, commands) of every whole second in which the arm was commanded throughout."""
    arrivals = np.array(run.arrivals)
    found = []
    for since, end in run.playing(until):
        for start in np.arange(since, end - 1.0, 1.0):
            low, high = np.searchsorted(arrivals, [start, start + 1.0])
            found.append((float(start), int(high - low)))
    return found


def longest_gap(run: Run, until: float) -> float:
    """Longest time without a command while the arm was commanded [s]."""
    arrivals = np.array(run.arrivals)
    gaps = [0.0]
    for since, end in run.playing(until):
        here = arrivals[(arrivals >= since) & (arrivals <= end)]
        gaps.append(float(np.diff(np.concatenate(([since], here, [end]))).max()))
    return max(gaps)


def summary(run: Run, until: float) -> dict[str, Any]:
    """Figures and the verdict.

    Args:
        run: So far.
        until: Its length [s].
    """
    counts = [count for _, count in rates(run, until)]
    warm = min(WARM_UP_S, until / 3.0)
    processes = {
        name: _growth(samples, warm, until) for name, samples in sorted(run.usage.items())
    }
    for name, found in processes.items():
        found['restarts'] = run.restarts.get(name, 0)
    problems = []
    if not counts:
        problems.append('no second in which the arm was commanded')
    elif float(np.mean(counts)) < MEAN_HZ:
        problems.append(f'{np.mean(counts):.1f} commands per second: at least {MEAN_HZ:g}')
    if counts and min(counts) < LEAST_HZ:
        problems.append(f'a second with {min(counts)} commands: at least {LEAST_HZ}')
    problems += [f'{state} at {at:.0f} s' for at, state in run.states if state == 'e-stop']
    latched = sum(state == 'fault' for _, state in run.states)
    if latched > _FAULTS_PER_HOUR * max(until / 3600.0, 1.0):
        problems.append(f'{latched} faults: at most {_FAULTS_PER_HOUR} an hour')
    if run.states and run.states[-1][1] in LATCHED:
        problems.append(f'it ended in {run.states[-1][1]}')
    if until >= _LONG_S and len(counts) < _LEAST_SHARE * until:
        problems.append(
            f'commanded in {len(counts)} of {until:.0f} s: at least {100 * _LEAST_SHARE:g} %'
        )
    for name, found in processes.items():
        if found['restarts']:
            problems.append(f'{name} was replaced {found["restarts"]} times')
        if found.get('rss_growth', 0.0) >= _GROWTH:
            problems.append(
                f'{name}: resident memory grew by {100 * found["rss_growth"]:.1f} %: less than '
                f'{100 * _GROWTH:g} % after {warm:.0f} s'
            )
        for what in ('descriptors', 'threads'):
            more = found.get(f'{what}_end', 0) - found.get(f'{what}_warm', 0)
            if more > _SPARE:
                problems.append(f'{name}: {more} {what} more than after {warm:.0f} s')
    return {
        'seconds': round(until, 1),
        'seconds_commanded': len(counts),
        'rate_hz_mean': round(float(np.mean(counts)), 2) if counts else None,
        'rate_hz_least': min(counts) if counts else None,
        'gap_s_longest': round(longest_gap(run, until), 4),
        'warm_up_s': round(warm, 1),
        'processes': processes,
        'faults': [[round(at, 1), said] for at, said in run.faults],
        'problems': problems,
        'ok': not problems,
    }


def sparkline(values: Sequence[float], width: int = 46) -> str:
    """Values as a line of blocks between their least and greatest."""
    if not len(values):
        return ''
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(width, len(values)))
    means = np.array([part.mean() for part in parts])
    low, span = means.min(), max(float(np.ptp(means)), 1e-9)
    return ''.join(_BLOCKS[int((len(_BLOCKS) - 1) * (m - low) / span)] for m in means)


def text(run: Run, until: float) -> list[str]:
    """The plot for a terminal."""
    found = []
    for name, samples in sorted(run.usage.items()):
        series = {
            'MB': [u.rss_mb for _, u in samples],
            'files': [float(u.descriptors) for _, u in samples],
            'threads': [float(u.threads) for _, u in samples],
        }
        for unit, values in series.items():
            found.append(
                f'{name[:10]:<10} {unit:<8}{min(values):>6.0f} {max(values):>6.0f} '
                f'{sparkline(values)}'
            )
    counts = [float(count) for _, count in rates(run, until)]
    if counts:
        found.append(
            f'{"commands":<10} {"per s":<8}{min(counts):>6.0f} {max(counts):>6.0f} '
            f'{sparkline(counts)}'
        )
    return found


def _growth(samples: Sequence[tuple[float, Usage]], warm: float, until: float) -> dict[str, Any]:
    """From the span after the warm-up to the last span of the run."""
    span = min(_SPAN_S, (until - warm) / 3.0)
    first = [u for at, u in samples if warm <= at <= warm + span]
    last = [u for at, u in samples if at >= until - span]
    found: dict[str, Any] = {
        'rss_mb': round(samples[-1][1].rss_mb, 1),
        'rss_mb_most': round(max(u.rss_mb for _, u in samples), 1),
    }
    if not first or not last:
        return found
    begin, end = (float(np.median([u.rss_mb for u in part])) for part in (first, last))
    found['rss_growth'] = round(end / begin - 1.0, 5)
    for what in ('descriptors', 'threads'):
        found[f'{what}_warm'] = int(np.median([getattr(u, what) for u in first]))
        found[f'{what}_end'] = int(np.median([getattr(u, what) for u in last]))
    return found
