"""Checkpoint -> bundle: one ONNX file per part of the network, and the manifest."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dysl_vla_ros.engines.bundle import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST_NAME,
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    FileEntry,
    InstructionSpec,
    Manifest,
    ProprioceptionSpec,
    SegmentSpec,
    manifest_to_dict,
    sha256_of,
)
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.export.onnx_files import OPSET, write_onnx
from dysl_vla_ros.model.checkpoint import Checkpoint
from dysl_vla_ros.model.policy_network import PolicyNetwork
from dysl_vla_ros.model.skipping import Controller, SkipModules

Progress = Callable[[int, int, str], None]
TOKENIZER = 'tokenizer.json'


@dataclass(frozen=True)
class RobotContract:
    """What the actions mean on the robot the demonstrations came from.

    Attributes:
        joint_names: In the order of the proprioception.
        period_s: How long one action lasts [s].
        frame_id: Frame of the deltas.
        tip_link: Link they move.
    """

    joint_names: tuple[str, ...] = (
        'shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint',
        'wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint',
    )  # fmt: skip
    period_s: float = 0.05
    frame_id: str = 'base_link'
    tip_link: str = 'grasp_link'


class _Vision(nn.Module):
    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *images: Tensor) -> Tensor:
        return self.network.vision(*images)


class _Embed(nn.Module):
    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor, tokens: Tensor, proprioception: Tensor) -> Tensor:
        return self.network.embed(patches, tokens, proprioception)


class _GatedLayer(nn.Module):
    """A layer that also scores the state it made, so that the next controller costs no launch."""

    def __init__(self, layer: nn.Module, controller: Controller) -> None:
        super().__init__()
        self.layer, self.controller = layer, controller

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        after = self.layer(hidden)
        return after, self.controller(after)


class _Head(nn.Module):
    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, hidden: Tensor) -> Tensor:
        return self.network.head(hidden)


def export_bundle(
    checkpoint: Checkpoint,
    folder: Path,
    name: str,
    robot: RobotContract | None = None,
    half_weights: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Write a bundle; ``folder`` appears complete or not at all.

    Args:
        checkpoint: Distilled; see ``training.distill``.
        folder: Replaced when it exists.
        name: Of the model, for people.
        robot: Meaning of the actions; the bundled arm's by default.
        half_weights: Store weights as float16; they are computed with as float32 all the same.
        progress: Called with (graphs written, graphs, newest name).

    Raises:
        ConfigError: The checkpoint has no controllers and adapters yet.
    """
    skipping = checkpoint.skipping
    if skipping is None:
        raise ConfigError('checkpoint.skipping', None, 'a distilled checkpoint; run dysl distill')
    partial = folder.with_name(f'.{folder.name}.{os.getpid()}')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        segments = _write_segments(checkpoint.network, skipping, partial, half_weights, progress)
        (partial / TOKENIZER).write_text(checkpoint.tokenizer, encoding='utf-8')
        manifest = _manifest(
            checkpoint, skipping, partial, name, robot or RobotContract(), segments
        )
        text = json.dumps(manifest_to_dict(manifest), indent=1, sort_keys=True)
        (partial / MANIFEST_NAME).write_text(text + '\n', encoding='utf-8')
        old = folder.with_name(f'.{folder.name}.{os.getpid()}.old')
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write_segments(
    network: PolicyNetwork,
    skipping: SkipModules,
    folder: Path,
    half_weights: bool,
    progress: Progress | None,
) -> dict[str, SegmentSpec]:
    network, skipping = network.cpu().float().eval(), skipping.cpu().float().eval()
    config, dynamic = network.config, skipping.layout.dynamic_layers
    hidden = torch.randn(1, config.tokens, config.width)
    images = tuple(torch.randn(1, 3, c.height, c.width) for c in config.cameras)
    patches = torch.randn(1, config.patches, config.width)
    tokens = torch.zeros(1, config.instruction_tokens, dtype=torch.int64)
    joints = torch.randn(1, config.proprioception_dim)
    names = [camera.name for camera in config.cameras]
    parts: list[tuple[str, nn.Module, tuple[Tensor, ...], list[str], list[str]]] = [
        ('vision', _Vision(network), images, names, ['patches']),
        ('embed', _Embed(network), (patches, tokens, joints),
         ['patches', 'tokens', 'proprioception'], ['hidden']),
        ('head', _Head(network), (hidden,), ['hidden'], ['actions']),
    ]  # fmt: skip
    for index, layer in enumerate(network.layers):
        module, outputs = layer, ['hidden_out']
        if index + 1 in dynamic:
            module, outputs = (
                _GatedLayer(layer, skipping.controller(index + 1)),
                [*outputs, 'gate'],
            )
        parts.append((f'layer_{index:02d}', module, (hidden,), ['hidden'], outputs))
    for index in dynamic:
        bridge = skipping.adapter(index)
        parts.append((f'bridge_{index:02d}', bridge, (hidden,), ['hidden'], ['hidden_out']))
    segments: dict[str, SegmentSpec] = {}
    for count, (name, module, arguments, inputs, outputs) in enumerate(parts, start=1):
        file = f'segments/{name}.onnx'
        segments[name] = write_onnx(module, arguments, inputs, outputs, folder, file, half_weights)
        if progress is not None:
            progress(count, len(parts), name)
    return segments


def _manifest(
    checkpoint: Checkpoint,
    skipping: SkipModules,
    folder: Path,
    name: str,
    robot: RobotContract,
    segments: dict[str, SegmentSpec],
) -> Manifest:
    config, statistics = checkpoint.config, checkpoint.statistics
    paths = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    files = {
        str(path.relative_to(folder)): FileEntry(sha256_of(path), path.stat().st_size)
        for path in paths
    }
    calibration = checkpoint.calibration or CalibrationSpec(
        eta=0.1, window=5, threshold=0.3, hysteresis=0.15, weights=(1.0,) * config.action_dim
    )
    return Manifest(
        format=FORMAT, version=FORMAT_VERSION, name=name, family='dysl_small', precision='fp32',
        opset=OPSET, layers_total=config.layers, static_layers=skipping.layout.static_layers,
        hidden_tokens=config.tokens, hidden_width=config.width,
        cameras=tuple(CameraSpec(c.name, c.height, c.width) for c in config.cameras),
        proprioception=ProprioceptionSpec(
            dim=config.proprioception_dim, gripper=True, normalisation=statistics.proprioception
        ),
        instruction=InstructionSpec(tokenizer=TOKENIZER, tokens=config.instruction_tokens),
        action=ActionSpec(
            space='eef_delta', dim=config.action_dim, horizon=config.action_horizon,
            period_s=robot.period_s, gripper=True, delta_reference='commanded',
            normalisation=statistics.action, displacement=statistics.action,
            joint_names=robot.joint_names, frame_id=robot.frame_id, tip_link=robot.tip_link,
        ),
        calibration=calibration, segments=segments, files=files,
        card=json.loads(json.dumps({**checkpoint.card, 'network': dataclasses.asdict(config)})),
    )  # fmt: skip
