"""What an OpenVLA-OFT costs: numbers of weights, FLOPs of a pass, memory of a distillation.

All of it is computed. What autograd keeps was counted on small widths (in units of one hidden
state, which do not depend on the width) and is compared with the count in a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, OftEmbed, OftHead, OftLayer, oft_vision

STAGE_1_KEPT = 3.0
"""Hidden states kept per dynamic layer by stage 1, beside twice the adapter's rank."""
STAGE_2_KEPT = 4.2
"""Hidden states kept by a controller, its adapter and the mixing, beside one per frozen layer."""
HEAD_KEPT = 1.8
"""States of the slots kept by the head."""
LAYER_INSIDE = 15.5
"""Hidden states inside one layer, which is computed again on the way back."""
_OPTIMISED = 16
"""Bytes per trained number: itself, its gradient and two moments, in float32."""


@dataclass(frozen=True)
class OftSizes:
    """Numbers of weights per part.

    Attributes:
        vision: Both towers and the projector.
        embed: Words and proprioception.
        layer: One decoder layer.
        layers: How many.
        head: Final norm and action head.
    """

    vision: int
    embed: int
    layer: int
    layers: int
    head: int

    @property
    def total(self) -> int:
        """Of the whole network."""
        return self.vision + self.embed + self.layer * self.layers + self.head

    @property
    def largest(self) -> int:
        """Of the largest part, which is what an export holds at a time."""
        return max(self.vision, self.embed, self.layer, self.head)


def sizes(config: OftConfig) -> OftSizes:
    """Weights per part; needs no memory."""
    with torch.device('meta'):
        found = {
            name: sum(p.numel() for p in part(config).parameters())
            for name, part in (('vision', oft_vision), ('embed', OftEmbed), ('layer', OftLayer),
                               ('head', OftHead))
        }  # fmt: skip
    return OftSizes(layers=config.layers, **found)


def pass_flops(config: OftConfig) -> float:
    """Floating-point operations of one dense pass at batch 1: two per multiplication."""
    found, tokens = sizes(config), config.tokens
    attention = 4.0 * tokens**2 * config.width
    layers = config.layers * (2.0 * found.layer * tokens + attention)
    return layers + 2.0 * found.vision * config.patches + 2.0 * found.head * config.action_horizon


def distillation_bytes(
    config: OftConfig, layout: LayerLayout, batch: int, rank: int = 0, weight_bytes: int = 2,
    state_bytes: int = 2, shares: int = 1,
) -> dict[str, float]:  # fmt: skip
    """Memory of both stages of a distillation.

    Args:
        config: Of the network.
        layout: Static layers.
        batch: Samples per update.
        rank: Of the adapters; 0 is width / 16.
        weight_bytes: Of a frozen weight; 2 on a GPU (bfloat16).
        state_bytes: Of a number of a hidden state.
        shares: GPUs that the frozen weights are split over; each keeps its share and, while it
            computes, the whole of the largest part.

    Returns:
        Bytes of ``weights``, ``trained``, ``stage 1``, ``stage 2``, and ``all``: weights, what is
        trained and the larger stage. A backend's own workspace, about 1 GB, comes on top.
    """
    width, rank = config.width, rank or max(config.width // 16, 1)
    inner, dynamic = max(width // 16, 1), len(layout.dynamic_layers)
    state = float(batch * config.tokens * width)
    trained = dynamic * (2 * width * rank + width + width * inner + 2 * inner + 1 + width)
    states = (layout.layers_total + 1) * state * state_bytes
    one = states + dynamic * (STAGE_1_KEPT + 2.0 * rank / width) * state * 4
    first = min((end for begin, end in layout.segments if begin < end), default=0)
    rest = layout.layers_total - first
    slots = HEAD_KEPT * config.slots / config.tokens
    two = states + rest * state * state_bytes + (STAGE_2_KEPT + slots) * state * 4
    two += LAYER_INSIDE * state * 4
    size = sizes(config)
    kept = size.total if shares == 1 else size.total / shares + size.largest
    found = {'weights': float(kept * weight_bytes),
             'trained': float(trained * _OPTIMISED), 'stage 1': one, 'stage 2': two}  # fmt: skip
    return {**found, 'all': found['weights'] + found['trained'] + max(one, two)}


def distillation_flops(
    config: OftConfig, batch: int, adapter_steps: int, controller_steps: int
) -> float:
    """Of both stages: a dense pass in the first; in the second about four of them.

    (The dense one, the live one before the jump, the one after it, that one again for its
    gradient, and the gradient; each over a part of the layers.)
    """
    return pass_flops(config) * batch * (adapter_steps + 4.0 * controller_steps)
