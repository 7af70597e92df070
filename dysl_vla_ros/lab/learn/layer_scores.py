"""Which layers matter: scores from the dense model alone, no labels needed.

Source: DySL-VLA, arXiv 2602.22896: ``score[l] = 1 - mean cos(h_l, h_{l+1})`` with ``h_l`` the
residual stream entering layer ``l``; the ``round(0.20 * L)`` highest are static.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION
from dysl_vla_ros.lab.learn.dense_model import DenseModel, Source, dense_model, states
from dysl_vla_ros.lab.learn.dense_model import batches as draws
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork

TokenSet = Literal['all', 'slots']


@torch.no_grad()
def layer_scores(
    model: PolicyNetwork | DenseModel, source: Source, batch: int = 256, batches: int = 8
) -> dict[TokenSet, tuple[float, ...]]:
    """Scores per layer over all tokens and over the action slots, in float32.

    Raises:
        ConfigError: A layer's state is not finite: no order of such scores means anything.
    """
    network, draw = dense_model(model, source), draws(source, batch, NO_AUGMENTATION)
    layers = network.layers_total
    sums: dict[TokenSet, Tensor] = {'all': torch.zeros(layers), 'slots': torch.zeros(layers)}
    for number in range(batches):
        entering = states(network, network.encode(draw(number)))
        for layer, (before, after) in enumerate(zip(entering[:-1], entering[1:], strict=True)):
            cosine = functional.cosine_similarity(before.float(), after.float(), dim=-1)
            sums['all'][layer] += 1.0 - cosine.mean().cpu()
            sums['slots'][layer] += 1.0 - cosine[:, network.slots].mean().cpu()
    for layer, score in enumerate(sums['all'].tolist()):
        if not math.isfinite(score):
            raise ConfigError(f'score of layer {layer}', score, 'a finite number: its state is '
                              'not; weights are NaN, or overflow in this precision')  # fmt: skip
    return {
        'all': tuple((sums['all'] / batches).tolist()),
        'slots': tuple((sums['slots'] / batches).tolist()),
    }


def choose_static(scores: tuple[float, ...], share: float = 0.2) -> LayerLayout:
    """The split: the highest scores are static, the first and the last layer always.

    From 20 layers on the two forced ones lie inside the budget, below they come on top of it:
    a short stack would otherwise leave nothing to choose.
    """
    layers = len(scores)
    if not 0.0 < share < 1.0:
        raise ConfigError('static_share', share, 'more than 0 and less than 1')
    budget = round(share * layers)
    chosen = {0, layers - 1}
    free = budget - (2 if layers >= 20 else 0)
    ranked = sorted(range(1, layers - 1), key=lambda layer: -scores[layer])
    chosen.update(ranked[: max(free, 0)])
    return LayerLayout(layers, tuple(sorted(chosen)))


def draw_static(layers: int, share: float, lot: int) -> LayerLayout:
    """As many static layers as ``choose_static`` takes, by lot: the same lot draws the same.

    The first and the last layer are static here, too.

    Args:
        layers: Of the stack.
        share: Of static layers.
        lot: Seed.
    """
    order = np.random.default_rng(lot).permutation(layers)
    return choose_static(tuple(float(place) for place in order), share)


@torch.no_grad()
def knock_out(
    model: PolicyNetwork | DenseModel, source: Source, batch: int = 256, batches: int = 4
) -> tuple[float, ...]:
    """How much the action error grows when one layer alone is left out, per layer."""
    network, draw = dense_model(model, source), draws(source, batch, NO_AUGMENTATION)
    layers = network.layers_total
    grown = torch.zeros(layers)
    for number in range(batches):
        drawn = draw(number)
        entering = states(network, network.encode(drawn))
        full = _error(network.head(entering[-1]), drawn.chunk)
        for layer in range(layers):
            hidden = entering[layer]
            for following in range(layer + 1, layers):
                hidden = network.layer(following, hidden)
            grown[layer] += _error(network.head(hidden), drawn.chunk) - full
    return tuple((grown / batches).tolist())


def _error(predicted: Tensor, wanted: Tensor) -> float:
    return float((predicted.float() - wanted).abs().mean())
