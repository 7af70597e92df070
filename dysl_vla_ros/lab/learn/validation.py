"""What skipping costs, on held-out samples: per layer, and with every controller live."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION
from dysl_vla_ros.lab.learn.dense_model import DenseModel, Source, batches, dense_model, states
from dysl_vla_ros.lab.learn.distill import live_pass
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules


@torch.no_grad()
def validate_skipping(
    model: PolicyNetwork | DenseModel, skipping: SkipModules, source: Source,
    batch: int = 128, count: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Action error against the demonstrations, normalised, and what skipping adds to it.

    Args:
        model: Dense and frozen.
        skipping: Its controllers and adapters.
        source: Held-out samples.
        batch: Samples at a time.
        count: How often.

    Returns:
        ``dense_error``; ``layers``: for each dynamic layer what its adapter adds, were it used
        there alone, to the error and to the share of wrong gripper commands, and how often its
        controller is open; ``live_error`` and ``mean_depth`` with every controller live.
    """
    network, draw = dense_model(model, source), batches(source, batch, NO_AUGMENTATION)
    training = skipping.training
    skipping.to(network.device).eval()
    sums: dict[str, float] = {}

    def add(name: str, value: float) -> None:
        sums[name] = sums.get(name, 0.0) + value / count

    for number in range(count):
        drawn = draw(number)
        entering = states(network, network.encode(drawn))
        full = _errors(network.head(entering[-1]), drawn.chunk)
        add('dense', full[0])
        for first, end in skipping.layout.segments:
            for layer in range(first, end):
                hidden = skipping.adapter(layer)(entering[layer])
                hidden = _from(network, hidden, end)
                error, gripper = _errors(network.head(hidden), drawn.chunk)
                add(f'error {layer}', error - full[0])
                add(f'gripper {layer}', gripper - full[1])
                gate = skipping.controller(layer)(entering[layer])
                add(f'open {layer}', float((gate > 0.5).float().mean()))
        hidden, ran = live_pass(network, skipping, entering[0])
        add('live', _errors(network.head(hidden), drawn.chunk)[0])
        add('depth', float(ran.float().mean()))
    skipping.train(training)
    return {
        'dense_error': sums['dense'],
        'live_error': sums['live'],
        'mean_depth': sums['depth'],
        'layers': {
            str(layer): {'error_added': sums[f'error {layer}'],
                         'gripper_wrong_added': sums[f'gripper {layer}'],
                         'open': sums[f'open {layer}']}
            for layer in skipping.layout.dynamic_layers
        },
    }  # fmt: skip


def _from(network: DenseModel, hidden: Tensor, layer: int) -> Tensor:
    for index in range(layer, network.layers_total):
        hidden = network.layer(index, hidden)
    return hidden


def _errors(predicted: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Mean absolute error, and the share of gripper commands on the wrong side."""
    wrong = (predicted[..., -1] > 0) != (wanted[..., -1] > 0)
    return float((predicted.float() - wanted).abs().mean()), float(wrong.float().mean())
