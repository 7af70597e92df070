"""A warm-up: teach vision, words and the lower layers to find what an instruction names.

Only the layers below the auxiliary heads run, so an update costs a fraction of a full one;
without it, a deep stack trained from nothing spends most of its budget before it looks at the
right object.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor, nn

from dysl_vla_ros.lab.begun_with import MadeOf
from dysl_vla_ros.lab.data.batches import BatchSource
from dysl_vla_ros.lab.learn.half import halved, on_cpu
from dysl_vla_ros.lab.learn.losses import grounding_loss
from dysl_vla_ros.lab.learn.train import (
    Reached,
    Say,
    TrainSettings,
    begun_with,
    build_optimizer,
    learning_rate,
    load_state,
    save_state,
)
from dysl_vla_ros.lab.model.policy_network import Answers, PolicyNetwork

log = logging.getLogger(__name__)

Progress = Callable[[int, int, dict[str, float]], None]


class Lower(nn.Module):
    """Stems, words, joints, slots, the layers below the auxiliary heads, and those heads."""

    def __init__(self, network: PolicyNetwork) -> None:
        """Share the parameters of ``network``."""
        super().__init__()
        self.stems, self.words = network.stems, network.words
        self.joints_in, self.joints_out = network.joints_in, network.joints_out
        self.slots = network.slots
        self.lower = network.layers[: network.config.auxiliary_layer]
        self.auxiliary = network.auxiliary
        # Not registered as a part: its upper layers would be parameters without a gradient.
        self._whole = (network,)

    def forward(self, images: tuple[Tensor, ...], tokens: Tensor, joints: Tensor) -> Answers:
        (network,) = self._whole
        patches = network.vision(*images)
        hidden = network.embed(patches, tokens, joints)
        for layer in self.lower:
            hidden = layer(hidden)
        answers: Answers = self.auxiliary(hidden, patches)
        return answers


def ground(
    network: PolicyNetwork,
    source: BatchSource,
    settings: TrainSettings,
    progress: Progress | None = None,
    state_path: Path | None = None,
    made_of: MadeOf | None = None,
    say: Say = log.info,
) -> dict[str, float]:
    """Train the lower part of ``network`` in place on the auxiliary losses alone.

    Args:
        network: Fresh.
        source: Training samples.
        settings: ``steps``, ``batch``, ``learning_rate``, ``warmup``, ``clip``, ``seed`` count.
        progress: Called with (step, steps, newest note).
        state_path: Where the resumable state lies; one found there is continued.
        made_of: Of what else than these weights and settings it is made: the data.
        say: Told, in one line, that a state is continued.

    Raises:
        ConfigError: The state is of other weights, settings or data.

    Returns:
        The last note: losses, and the share of named objects found.
    """
    on_gpu = source.device.type == 'cuda'
    mixed = 'bf16' if on_gpu and halved(settings.precision, on_gpu) else 'no'
    accelerator = Accelerator(mixed_precision=mixed, cpu=not on_gpu)
    begun = begun_with(network, settings, made_of or {}) if state_path is not None else {}
    lower = Lower(network.to(source.device))
    plain = build_optimizer(lower, settings)
    model, optimizer = accelerator.prepare(lower, plain)
    model.train()
    note: dict[str, float] = {}
    reached = Reached()
    if state_path is not None and state_path.is_file():
        reached = load_state(state_path, lower, nn.Module(), plain, begun, say)
    saved = time.monotonic()
    began = saved - reached.seconds
    for step in range(reached.step, settings.steps):
        for group in optimizer.param_groups:
            group['lr'] = learning_rate(step, settings.steps, settings)
        # Other batch numbers than those of the training that follows.
        number = -1 - step
        batch = source.draw(number, settings.batch, settings.augmentation,
                            accelerator.process_index)  # fmt: skip
        with on_cpu(settings.precision, on_gpu):
            answers = model(batch.images, batch.tokens, batch.proprioception)
        loss, parts = grounding_loss(answers, batch, settings.weights)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % settings.note_every == 0 or step + 1 == settings.steps:
            known = batch.point[:, 0] >= 0
            found = (answers[0][:, 0].argmax(-1) == batch.point[:, 0]) & known
            note = {
                'seconds': time.monotonic() - began,
                'named_found': float(found.sum() / known.sum().clamp(min=1)),
                **{name: float(value) for name, value in parts.items()},
            }
            if progress is not None:
                progress(step + 1, settings.steps, note)
        due = settings.save_every_s and time.monotonic() - saved > settings.save_every_s
        if due and state_path is not None:
            saved = time.monotonic()
            # No average, and no curve.
            save_state(state_path, lower, nn.Module(), plain,
                       Reached(step + 1, [], saved - began), begun)  # fmt: skip
    accelerator.free_memory()
    return note
