"""What a calibration will do: a recording replayed through the robot's own skip policy.

Where the recording knows the score of each controller in each pass, a jump is predicted where the
first live controller opens; where it does not, every live controller counts as open. What a
deeper pass would have changed in the motion that follows is left out: the prediction is for
choosing numbers, the evaluation for reporting them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.core.skip_policy import SkipPolicy
from dysl_vla_ros.data_types import Jump, LayerLayout, SkipPlan
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass, Recording, skip_settings


@dataclass(frozen=True)
class Prediction:
    """Rates on the recording.

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


def predict(recording: Recording, layout: LayerLayout, spec: CalibrationSpec) -> Prediction:
    """Replay a recording.

    A re-run resumes at the first jump, so it costs the layers from there on. The recorded chunk
    stands for the re-run one too: what a full pass would have predicted is not known.
    """
    chunks = skipped = layers = 0
    reruns = [0, 0]
    for episode in recording:
        policy = SkipPolicy(layout.segments, skip_settings(spec))
        for entry in episode:
            jumps = _jumps(layout, policy.plan('auto'), entry)
            verdict = policy.verify(entry.chunk, skipped=bool(jumps))
            policy.accepted(verdict, was_rerun=verdict.rerun)
            for displacement in entry.chunk[: entry.played]:
                policy.played(displacement)
            chunks, skipped = chunks + 1, skipped + bool(jumps)
            layers += layout.layers_total - sum(jump.target - jump.layer for jump in jumps)
            if verdict.rerun:
                reruns[verdict.drop_index != 0] += 1
                layers += layout.layers_total - jumps[0].layer
    return Prediction(
        chunks, skipped / chunks, sum(reruns) / chunks, reruns[0], reruns[1],
        1.0 - layers / (chunks * layout.layers_total),
    )  # fmt: skip


def _jumps(layout: LayerLayout, plan: SkipPlan, entry: RecordedPass) -> list[Jump]:
    """The jumps that a pass takes under a plan."""
    jumps = []
    for (_, end), allow in zip(layout.segments, plan.allow, strict=True):
        opened = (d for d in range(allow, end) if entry.scores.get(d, 1.0) > plan.threshold)
        layer = next(opened, None)
        if layer is not None:
            jumps.append(Jump(layer, end))
    return jumps


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
