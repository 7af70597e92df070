"""What the demo knows of the running nodes, and the figures it sums up."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.demo.heat_map import PassSeen

COMMANDS = 'commands'
POLICY = 'policy'
STAGES = ('preprocess', 'encode', 'backbone', 'decode')
_PLAYING = ('running', 'verifying', 'holding')
_PAUSE_S = 0.5
"""A longer silence of the command stream is an intended one (between episodes)."""
_METER_S = 30.0
"""Jitter is reported over this span: one value per span counts."""


@dataclass
class Picture:
    """The newest of everything that was received.

    Attributes:
        values: Last word of the status's name -> key -> value, as on /diagnostics.
        episode: Keys of the simulated arm's episode.
        chunk: Keys of the newest chunk.
        seen: Newest passes, oldest first.
        frame: Newest camera picture, shape (height, width, 3), RGB; None before the first.
        dense: Time of the newest passes in which every layer ran [ms].
        continuity: Newest values, oldest first.
        skip_ratio: Newest values, oldest first.
        passes: Passes of the model.
        received: Arrival times of commands [s].
        rates: Achieved rate over 1 s, while commands were due [Hz].
        gaps: Longest gap as reported by the node [ms].
        jitters: (time [s], 99 % jitter [ms]) as reported by the node.
        outcomes: Seed, family and success of every episode that ended.
        told: Instruction that was given last.
        judged: Instruction of the episode that ended last.
        heard_at: When the node was heard last, or listening began [s].
    """

    values: dict[str, dict[str, str]] = field(default_factory=dict)
    episode: dict[str, str] = field(default_factory=dict)
    chunk: dict[str, str] = field(default_factory=dict)
    seen: deque[PassSeen] = field(default_factory=lambda: deque(maxlen=400))
    frame: ImageArray | None = None
    dense: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    continuity: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    skip_ratio: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    passes: int = 0
    received: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    jitters: list[tuple[float, float]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    told: str = ''
    judged: str = ''
    heard_at: float = 0.0

    def command_value(self, key: str) -> str:
        """A key of the commands status; '' while unknown."""
        return self.values.get(COMMANDS, {}).get(key, '')

    def policy_value(self, key: str) -> str:
        """A key of the policy status; '' while unknown."""
        return self.values.get(POLICY, {}).get(key, '')

    @property
    def waits(self) -> bool:
        """Whether the node is known not to move the arm."""
        state = self.command_value('state')
        return bool(state) and state not in _PLAYING

    def note_pass(self, values: dict[str, str]) -> None:
        """Take over one ``~/chunk_info``."""
        self.passes += 1
        self.chunk = values
        mask, mode = values.get('layer_mask', ''), values.get('mode', '')
        if not mask:
            return
        self.seen.append(PassSeen(mask, mode, self.episode.get('phase', '')))
        if mode == 'full' and '0' not in mask and self.pass_ms is not None:
            self.dense.append(self.pass_ms)

    @property
    def pass_ms(self) -> float | None:
        """What the newest pass took, all stages [ms]; None where a stage is not known."""
        stages = [number(self.chunk.get(f'{stage}_ms', '')) for stage in STAGES]
        known = [ms for ms in stages if ms is not None]
        return sum(known) if len(known) == len(STAGES) else None

    def note_episode(self, values: dict[str, str]) -> None:
        """Take over the simulated arm's episode; it says how one ended many times."""
        before, self.episode = self.episode, values
        self.told = values.get('instruction') or self.told
        ended = values.get('outcome') in ('success', 'failure')
        seed = _whole(values.get('seed', ''))
        # One seed may come twice: the scene that holds what a person asks for.
        again = all(before.get(key) == values.get(key) for key in ('seed', 'outcome'))
        if ended and seed is not None and not again:
            success = values['outcome'] == 'success'
            self.judged = self.told  # between two episodes there is none
            self.outcomes.append(
                {'seed': seed, 'family': values.get('family', ''), 'success': success}
            )

    def note_status(self, name: str, values: dict[str, str], now: float) -> None:
        """Take over one status of /diagnostics, ``<node>: <name>``."""
        kind = name.rpartition(': ')[2]
        self.values[kind] = values
        if kind != COMMANDS:
            return
        rate, gap, jitter = (
            number(values.get(key, ''))
            for key in ('command_rate_hz', 'command_gap_ms_max', 'command_jitter_ms_p99')
        )
        if values.get('state') in _PLAYING and rate is not None:
            self.rates.append(rate)
        if gap is not None:
            self.gaps.append(gap)
        if jitter is not None:
            self.jitters.append((now, jitter))


def number(text: str) -> float | None:
    """The number in a diagnostics value; None for ``n/a``, nothing, or one that is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def why_no_pass(picture: Picture) -> str:
    """What the node says of itself where the model has not run, for the end of the demo."""
    state = picture.command_value('state')
    if not state:
        return 'the node was not configured, or nothing of it arrived here'
    reason = picture.command_value('hold_reason')
    text = state if reason in ('', 'n/a') else f'{state}: {reason}'
    return f'{text}; nobody started it (~/start)' if state == 'ready' else text


def figures(picture: Picture) -> dict[str, Any]:
    """The demo's JSON: what the node reports of itself, and what arrived here.

    Returns:
        Rates in Hz, times in ms; None where nothing was measured.
    """
    command, policy = picture.command_value, picture.policy_value
    intervals = np.diff(picture.received) if len(picture.received) > 1 else np.array([])
    intervals = intervals[intervals < _PAUSE_S]
    return {
        'command_rate_hz_mean': float(np.mean(picture.rates)) if picture.rates else None,
        'command_rate_hz_min': min(picture.rates, default=None),
        'command_jitter_ms_p99': _worst_jitter(picture.jitters),
        'command_gap_ms_max': max(picture.gaps, default=None),
        'hold_ratio': number(command('hold_ratio')),
        'actions_played_hz': number(command('actions_played_hz')),
        'observation_age_ms_p95': number(command('observation_age_ms_p95')),
        'passes': picture.passes,
        'inference_ms_p50': number(policy('inference_ms_p50')),
        'inference_ms_p95': number(policy('inference_ms_p95')),
        'skip_ratio': number(policy('skip_ratio_lifetime')),
        'layers_run_mean': number(policy('layers_run_mean')),
        'layers_total': _whole(policy('layers_total')),
        'reruns': _whole(policy('rerun_count')),
        'starvation_count': _whole(command('starvation_count')),
        'clipped_ratio': number(command('clipped_ratio')),
        'episodes': len(picture.outcomes),
        'successes': sum(outcome['success'] for outcome in picture.outcomes),
        'outcomes': picture.outcomes,
        'received_rate_hz_mean': float(1.0 / intervals.mean()) if len(intervals) else None,
        'received_gap_ms_max': float(1e3 * intervals.max()) if len(intervals) else None,
    }


def _worst_jitter(jitters: list[tuple[float, float]]) -> float | None:
    """The largest of the values that cover separate spans, counted back from the last."""
    if not jitters:
        return None
    worst, end = jitters[-1][1], jitters[-1][0]
    for time, value in reversed(jitters):
        if end - time >= _METER_S:
            worst, end = max(worst, value), time
    return worst


def _whole(text: str) -> int | None:
    value = number(text)
    return None if value is None else int(value)
