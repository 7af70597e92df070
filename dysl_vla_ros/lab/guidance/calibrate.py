"""Guidance numbers from the policy's own recorded chunks, seams included.

Demonstrations have no seams: thresholds taken from them fire on every chunk. So they
come from closed-loop episodes; ``prediction`` replays those through the robot's own skip policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.core.continuity import ContinuityHistory, DropDetector, DropState
from dysl_vla_ros.core.skip_policy import SkipSettings
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError


@dataclass(frozen=True)
class RecordedPass:
    """One accepted chunk.

    Attributes:
        chunk: Displacements from the first action that was still to be executed, (n, dim),
            in the model's normalised space.
        played: How many of them were executed before the next chunk took over.
        scores: Dynamic layer -> score of its controller; empty where none was asked.
    """

    chunk: FloatArray
    played: int
    scores: Mapping[int, float] = field(default_factory=dict)


Recording = Sequence[Sequence[RecordedPass]]
"""Episodes, each a sequence of accepted chunks."""


@dataclass(frozen=True)
class CalibrationReport:
    """What the numbers lead to on the recording they were chosen on.

    Attributes:
        continuity: C after every executed action, all episodes.
        chunks: Accepted chunks.
        drop_rate: Share of chunks in which a drop begins.
        seam_drops: Of those drops, the share that begins with a chunk's first action.
    """

    continuity: FloatArray
    chunks: int
    drop_rate: float
    seam_drops: float


def calibrate(
    recording: Recording,
    weights: tuple[float, ...],
    window: int = 5,
    drop_rate: float = 0.15,
) -> tuple[CalibrationSpec, CalibrationReport]:
    """Choose eta, threshold, hysteresis and levels.

    Args:
        recording: Closed-loop episodes of the policy.
        weights: Per action dimension.
        window: k of the continuity.
        drop_rate: Share of chunks that may be critical, i.e. begin in a drop or hold one: the
            threshold is the smallest that stays within it.
    """
    if not any(recording):
        raise ConfigError('recording', len(recording), 'at least one episode with a chunk')
    values = executed_continuity(recording, window, weights)
    falls = np.concatenate([-np.minimum(np.diff(v), 0.0) for v in values if len(v) > 1])
    every = np.concatenate(values)
    eta = max(float(np.quantile(falls[falls > 0], 0.5)) if (falls > 0).any() else 0.0, 1e-3)
    candidates = np.quantile(falls, np.linspace(0.5, 1.0, 26)) * window
    threshold = float(max(candidates[-1], 1e-3))
    for candidate in np.unique(np.maximum(candidates, 1e-3)):
        if _drops(recording, window, weights, float(candidate)).critical <= drop_rate:
            threshold = float(candidate)
            break
    spec = CalibrationSpec(
        eta=eta,
        window=window,
        threshold=threshold,
        hysteresis=0.5 * threshold,
        weights=weights,
        rule='level',
        level_low=float(np.quantile(every, 0.15)),
        level_high=float(max(np.quantile(every, 0.5), np.quantile(every, 0.15) + 1e-6)),
    )
    drops = _drops(recording, window, weights, threshold)
    chunks = sum(len(episode) for episode in recording)
    return spec, CalibrationReport(every, chunks, drops.begin, drops.seams)


def skip_settings(spec: CalibrationSpec) -> SkipSettings:
    """The skip policy's numbers under a calibration."""
    return SkipSettings(
        rule=spec.rule, eta=spec.eta, window=spec.window, threshold=spec.threshold,
        hysteresis=spec.hysteresis, weights=np.array(spec.weights), level_low=spec.level_low,
        level_high=spec.level_high,
    )  # fmt: skip


def executed_continuity(
    recording: Recording, window: int, weights: tuple[float, ...]
) -> list[FloatArray]:
    """C after every executed action, per episode."""
    values = []
    for episode in recording:
        history = ContinuityHistory(window, np.array(weights))
        steps = [history.append(d) for entry in episode for d in entry.chunk[: entry.played]]
        values.append(np.array([step for step in steps if step is not None]))
    return values


@dataclass(frozen=True)
class _Drops:
    """Shares of all chunks; ``seams`` of those in which a drop begins."""

    critical: float
    begin: float
    seams: float


def _drops(
    recording: Recording, window: int, weights: tuple[float, ...], threshold: float
) -> _Drops:
    """How often the detector would find a drop.

    A threshold near zero begins a drop once and never leaves it, so what counts for the choice
    is how many chunks are critical, not how many drops begin.
    """
    detector = DropDetector(threshold, 0.5 * threshold, window)
    chunks = critical = drops = seams = 0
    for episode in recording:
        history, state = ContinuityHistory(window, np.array(weights)), DropState()
        for entry in episode:
            first = detector.first_drop(state, history.extended_by(entry.chunk))
            critical += state.in_drop or first is not None
            chunks, drops, seams = chunks + 1, drops + (first is not None), seams + (first == 0)
            for displacement in entry.chunk[: entry.played]:
                state = detector.step(state, history.append(displacement))
    chunks = max(chunks, 1)
    return _Drops(critical / chunks, drops / chunks, seams / max(drops, 1))
