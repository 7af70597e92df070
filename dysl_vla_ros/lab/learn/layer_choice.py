"""Which layers of a checkpoint are static: measured, plotted, and written on its card."""

from __future__ import annotations

from typing import Any

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.lab.data.samples import batch_source, split
from dysl_vla_ros.lab.learn.layer_scores import (
    TokenSet,
    choose_static,
    draw_static,
    knock_out,
    layer_scores,
)
from dysl_vla_ros.lab.model.checkpoint import Checkpoint, with_card
from dysl_vla_ros.lab.plots import plot_layers
from dysl_vla_ros.lab.workspace import Workspace

CARD = 'layers'


def choose_layers(
    checkpoint: Checkpoint,
    data: Demonstrations,
    space: Workspace,
    share: float = 0.2,
    tokens: TokenSet = 'slots',
    batch: int = 256,
    lot: int | None = None,
) -> Checkpoint:
    """Score every layer on held-out samples; the card then names the static ones.

    The in/out cosine is taken over all tokens and over the action slots; both are reported beside
    what leaving each layer out alone costs, and ``tokens`` says which of the two decides.

    A distilled checkpoint keeps its static layers, for its adapters were made for them.

    Args:
        checkpoint: Dense or distilled.
        data: Demonstrations.
        space: Gets the plot and the report.
        share: Of static layers.
        tokens: ``all`` or ``slots``.
        batch: Samples at a time.
        lot: Seed by which as many layers are drawn whatever they score: what the choice is worth.
    """
    _, held_out = split(data)
    source = batch_source(held_out, checkpoint, space.device, 3)
    network = checkpoint.network.to(space.device)
    scores = layer_scores(network, source, batch)
    worth = knock_out(network, source, batch)
    layout, chosen_by = choose_static(scores[tokens], share), str(tokens)
    if lot is not None:
        layout, chosen_by = draw_static(layout.layers_total, share, lot), f'lot {lot}'
    if checkpoint.skipping is not None:
        layout, chosen_by = checkpoint.skipping.layout, 'kept: the adapters fit them'
    found: dict[str, Any] = {
        'static': list(layout.static_layers),
        'chosen_by': chosen_by,
        'longest_segment': max(end - first for first, end in layout.segments),
        'score_all_tokens': [round(score, 5) for score in scores['all']],
        'score_action_slots': [round(score, 5) for score in scores['slots']],
        'error_without_it': [round(error, 5) for error in worth],
    }
    space.note('layers', **found)
    if space.main:
        plot_layers(
            space.results / 'layers.png',
            {'all tokens': scores['all'], 'action slots': scores['slots'],
             'error without it': worth}, layout.static_layers,
        )  # fmt: skip
    return with_card(checkpoint, **{CARD: found})


def chosen_layers(checkpoint: Checkpoint) -> LayerLayout | None:
    """The layout that ``choose_layers`` wrote on the card; None before that.

    Raises:
        ConfigError: The card's layers do not fit the network.
    """
    found = checkpoint.card.get(CARD)
    if found is None:
        return None
    static, layers = found.get('static'), checkpoint.config.layers
    fits = isinstance(static, list) and static == sorted({*static}) and all(
        isinstance(layer, int) and 0 <= layer < layers for layer in static
    )  # fmt: skip
    if not fits:
        raise ConfigError(f'card.{CARD}.static', static, f'rising layers below {layers}; '
                          'choose them again with dysl calibrate')  # fmt: skip
    return LayerLayout(layers, tuple(static))
