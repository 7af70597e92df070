"""From a dense checkpoint to one that skips: both stages, watched as they go."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.lab.data.samples import batch_source, split
from dysl_vla_ros.lab.learn.distill import DistillSettings, distill
from dysl_vla_ros.lab.learn.made_of import checkpoint_of, data_of
from dysl_vla_ros.lab.learn.validation import validate_skipping
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.plots import plot_distillation
from dysl_vla_ros.lab.workspace import Workspace

STATE = 'distill.state.safetensors'
_DRAW_EVERY_S = 30.0
"""A picture takes longer than many updates."""


def distil_checkpoint(
    checkpoint: Checkpoint,
    layout: LayerLayout,
    data: Demonstrations,
    settings: DistillSettings,
    space: Workspace,
    rank: int = 0,
    note_every: int = 100,
    seed: int = 0,
    own_share: float = 0.5,
) -> Checkpoint:
    """Train adapters, then controllers and adapters; the network itself is not changed.

    Writes ``distill.json`` and ``distill.png``: losses, and on held-out samples what each
    adapter adds to the action error, how open each controller is, and the mean depth.

    Args:
        checkpoint: Dense; one that is distilled already begins anew.
        layout: Static layers.
        data: Demonstrations.
        settings: Of both stages.
        space: What an interrupted run left in its folder is continued.
        rank: Of the adapters; 0 is width / 16.
        note_every: Updates between two looks at the held-out samples.
        seed: Of the weights.
        own_share: Share of samples with the goal that was being pursued.
    """
    if layout.layers_total != checkpoint.config.layers:
        raise ConfigError('static_layers', layout.static_layers,
                          f'a split of {checkpoint.config.layers} layers')  # fmt: skip
    training, held_out = split(data)
    source = batch_source(training, checkpoint, space.device, 2, own_share)
    unseen = batch_source(held_out, checkpoint, space.device, 3, own_share)
    torch.manual_seed(seed)
    skipping = SkipModules(layout, checkpoint.config.width, rank)
    network = checkpoint.network.to(space.device).eval()
    state, path = space.folder / STATE, space.results / 'distill.json'
    watched = curve_so_far(path) if state.is_file() else []
    drawn = [time.monotonic()]

    def look(stage: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        found = validate_skipping(network, skipping, unseen, min(settings.batch, 128))
        add_look(watched, stage, step, {**figures, 'validation': found})
        space.write(path.name, {'layers_total': layout.layers_total, 'curve': watched,
                                'static_layers': list(layout.static_layers)})  # fmt: skip
        if space.main and (step == steps or time.monotonic() - drawn[0] > _DRAW_EVERY_S):
            plot_distillation(space.results / 'distill.png', watched, layout.layers_total)
            drawn[0] = time.monotonic()
        shown = {'mean_depth': found['mean_depth'],
                 'live_error_added': found['live_error'] - found['dense_error']}  # fmt: skip
        space.progress(f'distill {stage}', step, steps, {**figures, **shown})

    made_of = {'data': data_of(training), 'checkpoint': checkpoint_of(checkpoint),
               'own_share': own_share, 'seed': seed}  # fmt: skip
    distill(network, skipping, source, settings, look, note_every, state, made_of=made_of,
            say=space.say)  # fmt: skip
    last = watched[-1]['validation'] if watched else {}
    space.note('distill', rank=skipping.rank, skip_weight=settings.skip_weight,
               static=list(layout.static_layers),
               steps=settings.adapter_steps + settings.controller_steps,
               trained_parameters=sum(p.numel() for p in skipping.parameters()),
               **last)  # fmt: skip
    return replace(checkpoint, skipping=skipping.cpu())


def note_size(checkpoint: Checkpoint, space: Workspace) -> None:
    """How many numbers were trained, the dense policy's apart from those that skipping adds."""
    skipping = checkpoint.skipping
    space.note(
        'policy',
        parameters=sum(p.numel() for p in checkpoint.network.parameters()),
        skipping_parameters=sum(p.numel() for p in skipping.parameters()) if skipping else 0,
    )


def add_look(
    curve: list[dict[str, Any]], stage: str, step: int, figures: Mapping[str, Any]
) -> None:
    """Note one look; after an interruption the last one may be repeated.

    Args:
        curve: Changed in place.
        stage: Ends in its number, as ``distill`` calls it.
        step: Of the stage.
        figures: What was seen.
    """
    number = int(stage.split()[-1])
    curve[:] = [note for note in curve if (note['stage'], note['step']) < (number, step)]
    curve.append({'stage': number, 'step': step, **figures})


def curve_so_far(path: Path) -> list[dict[str, Any]]:
    """The curve that an interrupted run had written."""
    if not path.is_file():
        return []
    curve: list[dict[str, Any]] = json.loads(path.read_text('utf-8'))['curve']
    return curve
