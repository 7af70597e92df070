"""A checkpoint: one safetensors file with the weights, and all that gives them meaning.

The configuration, the statistics, the tokenizer and, once known, the layer split and the
calibration lie as JSON in the file's header, so that a checkpoint cannot lose them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dysl_vla_ros.bundle.git_lfs import refuse_pointer
from dysl_vla_ros.bundle.manifest import CalibrationSpec, NormalisationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.robot_contract import RobotContract, contract_from
from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig, Statistics
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.tensor_values import check_finite, check_kind
from dysl_vla_ros.targets import file_target, write_whole

FORMAT = 'dysl_vla_checkpoint_1'


@dataclass(frozen=True)
class Checkpoint:
    """A policy with its meaning.

    Attributes:
        config: Shape of the network.
        statistics: Normalisation.
        tokenizer: The ``tokenizers`` library's JSON.
        network: The dense model.
        skipping: Controllers and adapters; None before distillation.
        calibration: Guidance numbers; None before calibration.
        card: Where it comes from: data, steps, seeds, figures.
        robot: What its numbers mean; None is the bundled arm.
    """

    config: PolicyConfig
    statistics: Statistics
    tokenizer: str
    network: PolicyNetwork
    skipping: SkipModules | None = None
    calibration: CalibrationSpec | None = None
    card: dict[str, Any] = field(default_factory=dict)
    robot: RobotContract | None = None


def save_checkpoint(
    path: Path, checkpoint: Checkpoint, dtype: torch.dtype = torch.float16
) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of one."""
    tensors = {f'network.{k}': v for k, v in checkpoint.network.state_dict().items()}
    header: dict[str, Any] = {
        'config': dataclasses.asdict(checkpoint.config),
        'statistics': dataclasses.asdict(checkpoint.statistics),
        'tokenizer': checkpoint.tokenizer,
        'card': checkpoint.card,
    }
    if checkpoint.skipping is not None:
        layout = checkpoint.skipping.layout
        header['static_layers'] = layout.static_layers
        header['rank'] = checkpoint.skipping.rank
        tensors |= {f'skipping.{k}': v for k, v in checkpoint.skipping.state_dict().items()}
    if checkpoint.robot is not None:
        header['robot'] = dataclasses.asdict(checkpoint.robot)
    if checkpoint.calibration is not None:
        header['calibration'] = checkpoint.calibration.told()
    save_tensors(path, {k: v.to(dtype) for k, v in tensors.items()}, header)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; weights become float32 on the CPU.

    Raises:
        BundleError: Not a checkpoint, or its tensors do not fit its configuration.
    """
    tensors, header = load_tensors(path)
    config = parse_config(header['config'])
    network = PolicyNetwork(config)
    _load(network, tensors, 'network.', path)
    skipping = None
    if 'static_layers' in header:
        layout = LayerLayout(config.layers, tuple(header['static_layers']))
        skipping = SkipModules(layout, config.width, header['rank'])
        _load(skipping, tensors, 'skipping.', path)
    calibration = header.get('calibration')
    if calibration is not None:
        calibration = CalibrationSpec(**{**calibration, 'weights': tuple(calibration['weights'])})
    statistics = {name: _normalisation(spec) for name, spec in header['statistics'].items()}
    return Checkpoint(
        config, Statistics(**statistics), header['tokenizer'], network, skipping, calibration,
        header.get('card', {}), contract_from(header['robot']) if 'robot' in header else None,
    )  # fmt: skip


def with_card(checkpoint: Checkpoint, **figures: Any) -> Checkpoint:
    """The same checkpoint with more figures on its card."""
    return replace(checkpoint, card={**checkpoint.card, **figures})


def all_static(checkpoint: Checkpoint) -> Checkpoint:
    """The same policy with every layer static: what the exporter takes of one that never skips."""
    layers = checkpoint.config.layers
    layout = LayerLayout(layers, tuple(range(layers)))
    return replace(checkpoint, skipping=SkipModules(layout, checkpoint.config.width))


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header into one safetensors file, atomically.

    Raises:
        ConfigError: Something else than such a file is there.
    """
    file_target('checkpoint', path, is_checkpoint, 'a file of tensors that dysl wrote')
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {'format': 'pt', 'kind': FORMAT, 'header': json.dumps(header)}
    write_whole(path, lambda place: save_file(plain, place, metadata=metadata))


def is_checkpoint(path: Path) -> bool:
    """Whether ``save_tensors`` wrote a file."""
    try:
        with safe_open(str(path), framework='pt') as stream:
            return bool((stream.metadata() or {}).get('kind') == FORMAT)
    except (SafetensorError, OSError):
        return False


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        BundleError: The file is missing or is something else.
    """
    if not path.is_file():
        raise BundleError(f'{path}: no such file; expected a checkpoint written by dysl train')
    refuse_pointer(path)
    try:
        with safe_open(str(path), framework='pt') as stream:
            metadata = stream.metadata() or {}
            if metadata.get('kind') != FORMAT:
                raise BundleError(f'{path}: kind = {metadata.get("kind")!r}: expected {FORMAT!r}')
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise BundleError(
            f'{path}: {error}: expected a checkpoint written by dysl train or dysl distill'
        ) from None
    header: dict[str, Any] = json.loads(metadata['header'])
    return tensors, header


def weights_of(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights in float32.

    Raises:
        BundleError: One has numbers that are none of floating point, or not finite.
    """
    for name, tensor in tensors.items():
        check_kind(f'{path}: {name}', tensor.dtype)
        check_finite(f'{path}: {name}', tensor, 'train it again, or copy it again')
    return {name: tensor.float() for name, tensor in tensors.items()}


def parse_config(values: dict[str, Any]) -> PolicyConfig:
    """The network's shape from its JSON."""
    cameras = tuple(CameraShape(**camera) for camera in values['cameras'])
    stem = tuple(values['stem_channels'])
    return PolicyConfig(**{**values, 'cameras': cameras, 'stem_channels': stem})


def _normalisation(values: dict[str, Any]) -> NormalisationSpec:
    return NormalisationSpec(**{name: tuple(part) for name, part in values.items()})


def _load(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        module.load_state_dict(weights_of(part, path))
    except RuntimeError as error:
        raise BundleError(f'{path}: the tensors do not fit the configuration: {error}') from None
