"""What a policy must beat on held-out episodes: answers that need neither eyes nor words.

All are asked for the same chunks, and judged by the same error: mean absolute, in the normalised
units of the policy, where 2 is the range of a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.demonstrations import normalise
from dysl_vla_ros.lab.data.robot_samples import RobotSamples
from dysl_vla_ros.lab.model.shapes import Statistics

MEAN, LAST, NEAREST = 'mean chunk', 'last action repeated', 'nearest state'
_AT_A_TIME = 256


def baselines(samples: RobotSamples, statistics: Statistics) -> dict[str, float]:
    """Error of each baseline on the held-out frames.

    Args:
        samples: What was learnt from, and what was not.
        statistics: Normalisation.
    """
    known = normalise(samples.training.chunk, statistics.action)
    wanted = normalise(samples.held_out.chunk, statistics.action)
    last = normalise(samples.before, statistics.action)
    states = [normalise(part.proprioception, statistics.proprioception)
              for part in (samples.training, samples.held_out)]  # fmt: skip
    near = known[nearest(states[0], states[1])]
    return {
        MEAN: error(np.broadcast_to(known.mean(axis=0), wanted.shape), wanted),
        LAST: error(np.broadcast_to(last[:, None], wanted.shape), wanted),
        NEAREST: error(near, wanted),
    }  # fmt: skip


def nearest(known: NDArray[np.float32], asked: NDArray[np.float32]) -> NDArray[np.int64]:
    """Row of ``known`` (n, p) that is nearest to each row of ``asked`` (m, p)."""
    found = []
    square = (known**2).sum(axis=1)
    for start in range(0, len(asked), _AT_A_TIME):
        part = asked[start : start + _AT_A_TIME]
        found.append((square[None] - 2.0 * part @ known.T).argmin(axis=1))
    return np.concatenate(found).astype(np.int64)


def error(predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Mean absolute error of chunks (n, horizon, dim)."""
    return float(np.abs(np.asarray(predicted, np.float64) - wanted).mean())
