"""A policy's own chunks along held-out episodes of its set: where no simulator can play it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from dysl_vla_ros.core import transforms
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, normalise, unnormalise
from dysl_vla_ros.lab.data.robot_reading import Reading
from dysl_vla_ros.lab.data.robot_samples import RobotSamples
from dysl_vla_ros.lab.data.words import encode_all
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
from dysl_vla_ros.lab.learn.distill import live_pass
from dysl_vla_ros.lab.model.checkpoint import Checkpoint

Progress = Callable[[int, int], None]


@torch.no_grad()
def record_held_out(
    checkpoint: Checkpoint, reading: Reading, samples: RobotSamples, device: torch.device,
    progress: Progress | None = None,
) -> list[list[RecordedPass]]:  # fmt: skip
    """Half of a chunk is played before the next one takes over, as in the node.

    Every controller is live; a policy that is not distilled runs dense.
    """
    data, network = samples.held_out, checkpoint.network.to(device).eval()
    skipping = None if checkpoint.skipping is None else checkpoint.skipping.to(device).eval()
    tokens = encode_all(checkpoint.tokenizer, data.instructions,
                        checkpoint.config.instruction_tokens)  # fmt: skip
    state = normalise(data.proprioception, checkpoint.statistics.proprioception)
    recording: list[list[RecordedPass]] = []
    for number, rows in enumerate(samples.passes(reading.played), start=1):
        passes = []
        for row in rows.tolist():
            images = tuple(
                torch.from_numpy(data.images[camera.name][row]).to(device).permute(2, 0, 1)[None]
                .float() / 127.5 - 1.0 for camera in checkpoint.config.cameras
            )  # fmt: skip
            hidden = network.encode(images, torch.from_numpy(tokens[data.goal[row]])[None].to(
                device), torch.from_numpy(state[row])[None].to(device))  # fmt: skip
            scores: dict[int, torch.Tensor] = {}
            if skipping is None:
                hidden = network.states(hidden)[-1]
            else:
                hidden, _ = live_pass(network, skipping, hidden, scores=scores)
            chunk = network.head(hidden)[0].float().cpu().numpy()
            steps = displacements(checkpoint, reading, chunk, data, row)
            passes.append(
                RecordedPass(
                    steps,
                    reading.played,
                    {layer: float(score[0]) for layer, score in scores.items()},
                )
            )
        recording.append(passes)
        if progress is not None:
            progress(number, len(samples.starts))
    return recording


def displacements(
    checkpoint: Checkpoint, reading: Reading, chunk: NDArray[np.float32], data: Demonstrations,
    row: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Normalised steps of a normalised chunk, as the node takes them."""
    if checkpoint.robot is None or reading.space.endswith('delta'):
        return chunk.astype(np.float64)
    # Checkpoints of poses had no range of steps once; their bundles have that of the actions.
    spec = checkpoint.robot.displacement or checkpoint.statistics.action
    actions = unnormalise(chunk, checkpoint.statistics.action).astype(np.float64)
    openings = list(reading.action.gripper)
    motion = [n for n in range(chunk.shape[1]) if n not in openings]
    stood = [n for n in range(data.proprioception.shape[1]) if n not in reading.state.gripper]
    first = data.proprioception[row, stood].astype(np.float64)
    order = [*motion, *openings]
    steps = transforms.steps_from_state(actions[:, order], len(motion), first, reading.source,
                                        reading.space)  # fmt: skip
    return transforms.normalise(steps[:, np.argsort(order)], spec.low, spec.high, spec.mask)
