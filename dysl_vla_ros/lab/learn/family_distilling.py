"""Controllers and adapters for a model of any family, on batches that the family makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf
from dysl_vla_ros.lab.learn.dense_model import DenseModel
from dysl_vla_ros.lab.learn.distill import DistillSettings, distill
from dysl_vla_ros.lab.learn.distilling import STATE, add_look, curve_so_far
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.workspace import Workspace

CURVE = 'distill.json'


def distil_family(
    dense: DenseModel, modules: SkipModules, stream: Iterator[Any], settings: DistillSettings,
    space: Workspace, note_every: int = 100, made_of: MadeOf | None = None,
) -> None:  # fmt: skip
    """Both stages; an interrupted one goes on. ``modules`` are trained in place.

    Args:
        dense: The model, frozen.
        modules: Untrained.
        stream: Batches, without an end; each process has its own.
        settings: Of both stages.
        space: Gets ``distill.json``.
        note_every: Updates between notes, and between resumable states.
        made_of: The model and the data, which an interrupted one must have been begun with.

    Raises:
        ConfigError: No layer is dynamic, or the state is of something else.
    """
    layout = modules.layout
    if not layout.dynamic_layers:
        raise ConfigError('static_layers', layout.static_layers, 'at least one dynamic layer')
    path = space.results / CURVE
    watched = curve_so_far(path) if (space.folder / STATE).is_file() else []

    def look(stage: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        add_look(watched, stage, step, figures)
        space.write(CURVE, {'static_layers': list(layout.static_layers), 'curve': watched})
        space.progress(f'distill {stage}', step, steps, figures)

    torch.manual_seed(settings.seed)
    distill(dense, modules, stream, settings, look, note_every, space.folder / STATE,
            shared=True, made_of=made_of, say=space.say)  # fmt: skip
    space.note('distill', rank=modules.rank, static=list(layout.static_layers),
               settings=asdict(settings))  # fmt: skip
