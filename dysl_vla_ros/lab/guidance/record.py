"""The policy's own chunks on recorded observations: for calibration without a simulator.

Better than demonstrations, which have no seams; worse than closed-loop episodes, in which the
policy sees what its own actions led to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
from dysl_vla_ros.lab.learn.dense_model import DenseModel
from dysl_vla_ros.lab.learn.distill import live_pass
from dysl_vla_ros.lab.model.skipping import SkipModules


@torch.no_grad()
def record(
    model: DenseModel,
    skipping: SkipModules,
    episodes: Iterable[Iterable[Any]],
    played: int,
) -> list[list[RecordedPass]]:
    """Predict with every controller live, observation after observation.

    Args:
        model: Dense and frozen.
        skipping: Its controllers and adapters, distilled.
        episodes: Each a sequence of batches of one observation, ``played`` actions apart. The
            actions must be increments; absolute ones have to be differenced first.
        played: Actions of each chunk that are executed before the next one takes over.
    """
    skipping.to(model.device).eval()
    recording = []
    for episode in episodes:
        passes = []
        for observation in episode:
            hidden, _ = live_pass(model, skipping, model.encode(observation))
            passes.append(RecordedPass(model.head(hidden)[0].double().cpu().numpy(), played))
        recording.append(passes)
    return recording
