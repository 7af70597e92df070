"""A pass, verified before any of its actions is played: where nothing happens meanwhile.

The node does the same in ``chunk_desk``, chunk by chunk while the arm moves. Here the world waits:
a benchmark, a client that asks and then plays, a bench. What is verified is what will be played.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.core import transforms
from dysl_vla_ros.core.skip_policy import SkipPolicy, Verdict
from dysl_vla_ros.data_types import FloatArray, Observation
from dysl_vla_ros.policy import Pass


def verified(
    skip: SkipPolicy, first: Pass, steps_of: Callable[[Pass], FloatArray], due: int,
    rerun: Callable[[Pass], Pass],
) -> tuple[Pass, FloatArray, Verdict]:  # fmt: skip
    """The pass to be played: the first, or the full one where continuity drops in it.

    Args:
        skip: Of this episode; is told what was accepted.
        first: The newest pass.
        steps_of: Displacements of a pass's actions, (horizon, dim).
        due: How many of them will be played before the next pass.
        rerun: Runs the same observation again in full.

    Returns:
        The pass, the displacements of its actions, and what was found in those that are due.
    """
    result, steps = first, steps_of(first)
    resumable = first.mode == 'skipped' and first.trace.resume_layer is not None
    verdict = skip.verify(steps[:due], resumable)
    if verdict.rerun:
        result = rerun(first)
        steps = steps_of(result)
        verdict = skip.verify(steps[:due], False)
    skip.accepted(verdict, was_rerun=result is not first)
    return result, steps, verdict


def physical_actions(manifest: Manifest, normalised: FloatArray) -> FloatArray:
    """Actions in metres, radians and openings, (horizon, dim), as the model means them."""
    spec = manifest.action.normalisation
    return transforms.unnormalise(normalised, spec.low, spec.high, spec.mask)


def displacements(
    manifest: Manifest, normalised: FloatArray, observation: Observation
) -> FloatArray:
    """Per-step displacements of a chunk without the arm's model, (horizon, dim).

    Where the observation does not say from where the first of the absolute actions starts, its
    step is taken to be as the second one.
    """
    action = manifest.action
    if action.space.endswith('delta'):
        return normalised
    physical = physical_actions(manifest, normalised)
    spec = action.displacement
    steps = transforms.steps_from_state(
        physical, action.dim - int(action.gripper), np.asarray(observation.joints),
        manifest.proprioception.source, action.space,
    )  # fmt: skip
    return transforms.normalise(steps, spec.low, spec.high, spec.mask)
