"""What a calibration will do: a recording replayed through the robot's own skip policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dysl_vla_ros.core.skip_policy import SkipPolicy, SkipSettings
from dysl_vla_ros.engines.bundle import CalibrationSpec
from dysl_vla_ros.engines.engine import LayerLayout
from dysl_vla_ros.training.calibrate import Recording


@dataclass(frozen=True)
class Prediction:
    """Rates on the recording, were every live controller to open.

    Attributes:
        chunks: Accepted chunks.
        skip_rate: Share of chunks predicted with at least one layer skipped.
        rerun_rate: Re-runs per chunk.
        reruns_at_seam: Of those, the ones whose drop begins with the first action to be executed.
        reruns_inside: The others.
        skip_ratio: Layers not run / layers x chunks, re-runs counted as run.
    """

    chunks: int
    skip_rate: float
    rerun_rate: float
    reruns_at_seam: int
    reruns_inside: int
    skip_ratio: float


def skip_settings(spec: CalibrationSpec) -> SkipSettings:
    """The skip policy's numbers under a calibration."""
    return SkipSettings(
        rule=spec.rule, eta=spec.eta, window=spec.window, threshold=spec.threshold,
        hysteresis=spec.hysteresis, weights=np.array(spec.weights), level_low=spec.level_low,
        level_high=spec.level_high,
    )  # fmt: skip


def predict(recording: Recording, layout: LayerLayout, spec: CalibrationSpec) -> Prediction:
    """Replay a recording.

    A re-run resumes at the first jump, so it costs the layers from there on. The recorded chunk
    stands for the re-run one too: what a full pass would have predicted is not known.
    """
    ends = [end for _, end in layout.segments]
    chunks = skipped = layers = 0
    reruns = [0, 0]
    for episode in recording:
        policy = SkipPolicy(layout.segments, skip_settings(spec))
        for entry in episode:
            allow = policy.plan('auto').allow
            jumps = [a for a, end in zip(allow, ends, strict=True) if a < end]
            verdict = policy.verify(entry.chunk, skipped=bool(jumps))
            policy.accepted(verdict, was_rerun=verdict.rerun)
            for displacement in entry.chunk[: entry.played]:
                policy.played(displacement)
            chunks, skipped = chunks + 1, skipped + bool(jumps)
            layers += layout.layers_total - sum(e - a for a, e in zip(allow, ends, strict=True))
            if verdict.rerun:
                reruns[verdict.drop_index != 0] += 1
                layers += layout.layers_total - min(jumps)
    return Prediction(
        chunks, skipped / chunks, sum(reruns) / chunks, reruns[0], reruns[1],
        1.0 - layers / (chunks * layout.layers_total),
    )  # fmt: skip


def sweep(
    recording: Recording, layout: LayerLayout, spec: CalibrationSpec, points: int = 9
) -> list[tuple[float, Prediction]]:
    """Predictions at thresholds around the chosen one, the hysteresis in proportion."""
    share = spec.hysteresis / spec.threshold
    thresholds = spec.threshold * np.geomspace(0.25, 4.0, points)
    return [
        (float(t), predict(recording, layout, replace(spec, threshold=t, hysteresis=share * t)))
        for t in thresholds.tolist()
    ]
