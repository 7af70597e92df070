"""A published OpenVLA-OFT and a data set -> static layers, then controllers and adapters.

The published network stays frozen and its folder untouched: what is found goes into a file of its
own, ``skipping.safetensors``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import folder_digest
from dysl_vla_ros.lab.data.demonstrations import normalise, unnormalise
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.data.lerobot_frames import read_rows
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
from dysl_vla_ros.lab.guidance.guidance import balanced_weights, guidance
from dysl_vla_ros.lab.learn.distill import DistillSettings, distill, live_pass
from dysl_vla_ros.lab.learn.distilling import STATE, add_look, curve_so_far
from dysl_vla_ros.lab.learn.made_of import oft_data_of
from dysl_vla_ros.lab.learn.oft_data import Choice, OftSamples, samples_of_episode, state_columns
from dysl_vla_ros.lab.learn.oft_dense import OftDense
from dysl_vla_ros.lab.model.oft_skipping import oft_skip_modules
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
from dysl_vla_ros.lab.model.published_settings import OftSettings
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping
from dysl_vla_ros.lab.workspace import Workspace

SKIPPING = 'skipping.safetensors'


def distil_oft(
    dense: OftDense, checkpoint: OftCheckpoint, layout: LayerLayout, samples: OftSamples,
    settings: DistillSettings, space: Workspace, rank: int = 0, note_every: int = 100,
    seed: int = 0,
) -> SkipModules:  # fmt: skip
    """Both stages; an interrupted one goes on. Under torchrun all processes distil together.

    Args:
        dense: The network, frozen.
        checkpoint: Its folder.
        layout: Static layers.
        samples: Of a data set; a fiftieth, at its end, is held out.
        settings: Of both stages.
        space: Gets ``distill.json``.
        rank: Of the adapters; 0 is width / 16.
        note_every: Updates between notes, and between resumable states.
        seed: Of the weights.
    """
    if not layout.dynamic_layers:
        raise ConfigError('static_layers', layout.static_layers, 'at least one dynamic layer')
    torch.manual_seed(seed)
    modules = oft_skip_modules(layout, checkpoint.config, rank)
    held_out = min(max(len(samples.tokens) // 50, 1), settings.batch)
    training = _rows(samples, range(max(len(samples.tokens) - held_out, 1)))
    unseen = samples.batch(range(len(samples.tokens) - held_out, len(samples.tokens)))
    path = space.results / 'distill.json'
    watched = curve_so_far(path) if (space.folder / STATE).is_file() else []

    def look(stage: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        found = _validate(dense, modules, unseen)
        add_look(watched, stage, step, {**figures, **found})
        space.write(path.name, {'static_layers': list(layout.static_layers), 'curve': watched})
        space.progress(f'distill {stage}', step, steps, {**figures, **found})

    made_of = {'model': folder_digest(checkpoint.folder), 'data': oft_data_of(samples),
               'seed': seed}  # fmt: skip
    # Each process its own frames; positions are drawn alike, so that gradients can be averaged.
    own = settings.seed + 1000 * space.process
    distill(dense, modules, training.stream(settings.batch, own), settings, look, note_every,
            space.folder / STATE, shared=True, made_of=made_of, say=space.say)  # fmt: skip
    last = watched[-1] if watched else {}
    space.note('distill', rank=modules.rank, static=list(layout.static_layers),
               skip_weight=settings.skip_weight, settings=asdict(settings),
               trained_parameters=sum(p.numel() for p in modules.parameters()),
               **{name: last[name] for name in ('mean_depth', 'live_error') if name in last},
               )  # fmt: skip
    return modules


def record_episodes(
    dense: OftDense, modules: SkipModules, checkpoint: OftCheckpoint, data: LerobotSet,
    settings: OftSettings, choice: Choice, episodes: int, space: Workspace,
) -> list[list[RecordedPass]]:  # fmt: skip
    """The policy's own chunks along recorded episodes, as the robot would ask for them.

    Half of a chunk is played before the next one takes over, as in the node.
    """
    columns = state_columns(data, choice) if checkpoint.config.proprioception_dim else ()
    played = max(settings.horizon // 2, 1)
    every = max(round(played * settings.period_s * data.fps), 1)
    recording: list[list[RecordedPass]] = []
    for number, rows in enumerate(read_rows(data, columns), start=1):
        seen = samples_of_episode(data, checkpoint, settings, replace(choice, actions=False),
                                  rows, every)  # fmt: skip
        recording.append(list(_passes(dense, modules, checkpoint, settings, seen, played)))
        space.progress('chunks', number, min(episodes, len(data.episodes)), {})
        if number >= episodes:
            break
    return recording


@torch.no_grad()
def _passes(
    dense: OftDense, modules: SkipModules, checkpoint: OftCheckpoint, settings: OftSettings,
    seen: OftSamples, played: int,
) -> Iterator[RecordedPass]:  # fmt: skip
    modules.to(dense.device).eval()
    for row in range(len(seen.tokens)):
        batch = seen.batch([row])
        scores: dict[int, torch.Tensor] = {}
        hidden, _ = live_pass(dense, modules, dense.encode(batch), scores=scores)
        chunk = dense.head(hidden)[0].double().cpu().numpy()
        start = None if batch.proprioception is None else batch.proprioception[0].numpy()
        gates = {layer: float(score[0]) for layer, score in scores.items()}
        yield RecordedPass(_steps(chunk, start, checkpoint, settings), played, gates)


def _steps(
    chunk: FloatArray, state: Any, checkpoint: OftCheckpoint, settings: OftSettings
) -> FloatArray:
    """Displacements; absolute joints are differenced, beginning with those that were measured."""
    if settings.space.endswith('delta'):
        return chunk
    first = chunk[:1]
    if state is not None and checkpoint.proprioception is not None:
        known = unnormalise(state[None], checkpoint.proprioception)
        width = min(known.shape[1], chunk.shape[1])
        measured = np.array(unnormalise(first.astype(np.float32), checkpoint.action))
        measured[:, :width] = known[:, :width]
        first = normalise(measured, checkpoint.action).astype(np.float64)
    steps: FloatArray = np.diff(np.concatenate([first, chunk]), axis=0)
    return steps


def guide(
    recording: Sequence[Sequence[RecordedPass]], layout: LayerLayout, space: Workspace,
    source: str, depth: float = 0.0, drop_rate: float = 0.15,
) -> CalibrationSpec:  # fmt: skip
    """When to skip, from such a recording; ``depth`` as in ``guidance``."""
    return guidance(recording, layout, space, balanced_weights(recording), drop_rate=drop_rate,
                    source=source, depth=depth)  # fmt: skip


def card(space: Workspace, key: str, data: LerobotSet) -> dict[str, Any]:
    """Where controllers and adapters come from."""
    return {'unnorm_key': key, 'dataset': data.folder.name, 'robot': data.robot,
            'frames': data.frames, 'report': dict(space.report)}  # fmt: skip


def with_calibration(skipping: Skipping, spec: CalibrationSpec) -> Skipping:
    """The same, guided otherwise."""
    return replace(skipping, calibration=spec)


@torch.no_grad()
def _validate(dense: OftDense, modules: SkipModules, unseen: Any) -> dict[str, float]:
    """On held-out frames: layers run, and how far live actions are from the dense model's."""
    training = modules.training
    modules.eval()
    entering = dense.encode(unseen)
    hidden, full = entering, entering
    for index in range(dense.layers_total):
        full = dense.layer(index, full)
    hidden, ran = live_pass(dense, modules, entering)
    error = (dense.head(hidden).float() - dense.head(full).float()).abs().mean()
    modules.train(training)
    return {'mean_depth': float(ran.float().mean()), 'live_error': float(error)}


def _rows(samples: OftSamples, rows: Sequence[int]) -> OftSamples:
    index = torch.as_tensor(list(rows))
    picked = {name: None if (part := getattr(samples, name)) is None else part[index]
              for name in ('proprioception', 'chunk')}  # fmt: skip
    return OftSamples(
        tuple(images[index] for images in samples.images), samples.tokens[index],
        picked['proprioception'], picked['chunk'], samples.episode[index.numpy()],
        samples.number[index.numpy()],
    )  # fmt: skip
