"""Which layers of a published model are static, and the file that says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.strict_json import load
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.learn.dense_model import DenseModel
from dysl_vla_ros.lab.learn.layer_scores import TokenSet, choose_static, layer_scores
from dysl_vla_ros.lab.plots import plot_layers
from dysl_vla_ros.lab.workspace import Workspace

LAYERS = 'layers.json'


def score_layers(
    dense: DenseModel, stream: Iterable[Any], space: Workspace, share: float = 0.2,
    tokens: TokenSet = 'slots', batch: int = 8, batches: int = 8,
) -> LayerLayout:  # fmt: skip
    """Choose the static layers and write ``layers.json`` and a plot.

    Args:
        dense: The network.
        stream: Batches of a data set, without an end; no label is used.
        space: Gets what is found.
        share: Of static layers.
        tokens: Whose score decides.
        batch: Frames at a time, for the report.
        batches: How many.
    """
    scores = layer_scores(dense, stream, batch, batches)
    layout = choose_static(scores[tokens], share)
    found = {
        'layers_total': layout.layers_total, 'static': list(layout.static_layers),
        'chosen_by': tokens, 'frames': batch * batches,
        'longest_segment': max((end - first for first, end in layout.segments), default=0),
        'score_all_tokens': [round(score, 5) for score in scores['all']],
        'score_action_slots': [round(score, 5) for score in scores['slots']],
    }  # fmt: skip
    space.note('layers', **found)
    space.write(LAYERS, found)
    if space.main:
        plot_layers(space.results / 'layers.png', {'all tokens': scores['all'],
                    'action slots': scores['slots']}, layout.static_layers)  # fmt: skip
    return layout


def read_layers(path: Path, layers: int) -> LayerLayout:
    """The layout that ``score_layers`` wrote.

    Raises:
        ConfigError: Another file, or of a model of another depth.
    """
    try:
        found = load(path)
        total, static = found['layers_total'], tuple(found['static'])
        fits = total == layers and all(type(n) is int and 0 <= n < layers for n in static)
    except (BundleError, TypeError, KeyError):
        total, fits = None, False
    if not fits:
        raise ConfigError('layers', str(path), f'{LAYERS} of a model of {layers} layers, as dysl '
                          f'calibrate FOLDER --dataset writes it (this says {total})')  # fmt: skip
    return LayerLayout(layers, static)
