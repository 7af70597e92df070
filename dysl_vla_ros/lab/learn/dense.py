"""The dense policy from demonstrations: warm-up, training, both resumable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from dysl_vla_ros.lab.begun_with import check_same, flat
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, statistics
from dysl_vla_ros.lab.data.samples import batch_source, split
from dysl_vla_ros.lab.data.words import build_tokenizer, longest
from dysl_vla_ros.lab.learn.ground import ground
from dysl_vla_ros.lab.learn.made_of import data_of, shaping
from dysl_vla_ros.lab.learn.train import TrainResult, TrainSettings, train
from dysl_vla_ros.lab.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig
from dysl_vla_ros.lab.plots import plot_curve
from dysl_vla_ros.lab.workspace import Workspace
from dysl_vla_ros.lab.worlds.cell import DROPPED_ROWS
from dysl_vla_ros.lab.worlds.libero.units import DROPPED_ROWS as LIBERO_DROPPED_ROWS
from dysl_vla_ros.sim.wording import all_words

GROUNDED = 'grounded.safetensors'
_BEGUN = 'begun_with'
"""On the card of the warm-up alone: of what it was made."""


@dataclass(frozen=True)
class DenseSettings:
    """How to train the dense policy.

    Attributes:
        ground: Warm-up of vision, words and lower layers; None leaves it out.
        train: The training.
        network: Changes to the network's default shape.
        own_share: Share of samples with the goal that was being pursued.
        seed: Of the weights and of the order.
    """

    ground: TrainSettings | None
    train: TrainSettings
    network: dict[str, Any] = field(default_factory=dict)
    own_share: float = 0.5
    seed: int = 0


def train_dense(
    data: Demonstrations,
    settings: DenseSettings,
    space: Workspace,
    start: Checkpoint | None = None,
) -> Checkpoint:
    """Train from scratch, or train ``start`` further; the checkpoint is not saved here.

    Args:
        data: Checked demonstrations.
        settings: How.
        space: What an interrupted run left in its folder is continued.
        start: Not warmed up again.
    """
    if start is not None:
        checkpoint = start
    else:
        checkpoint = fresh_checkpoint(data, settings.network, settings.seed)
        if settings.ground is not None:
            checkpoint = _grounded(checkpoint, data, settings, space)
    result = fit('train', checkpoint, data, settings.train, space, settings.own_share)
    return replace(checkpoint, network=result.network)


def fresh_checkpoint(data: Demonstrations, network: Mapping[str, Any], seed: int) -> Checkpoint:
    """An untrained policy that fits the demonstrations."""
    torch.manual_seed(seed)
    cameras = tuple(
        CameraShape(name, images.shape[1], images.shape[2], _dropped_rows(name, data))
        for name, images in data.images.items()
    )
    tokenizer = build_tokenizer(data.instructions or all_words())
    config = PolicyConfig(
        vocabulary=tokenizer.get_vocab_size(), cameras=cameras,
        instruction_tokens=max(PolicyConfig.instruction_tokens,
                               longest(tokenizer, data.instructions)),
        proprioception_dim=data.proprioception.shape[1], action_horizon=data.chunk.shape[1],
        action_dim=data.chunk.shape[2], **{'names': max(12, len(data.instructions)), **network},
    )  # fmt: skip
    return Checkpoint(config, statistics(data), tokenizer.to_str(), PolicyNetwork(config))


def _dropped_rows(camera: str, data: Demonstrations) -> int:
    if not data.instructions:
        return DROPPED_ROWS
    return LIBERO_DROPPED_ROWS if camera == 'image' else 0


def fit(
    name: str,
    checkpoint: Checkpoint,
    data: Demonstrations,
    settings: TrainSettings,
    space: Workspace,
    own_share: float = 0.5,
) -> TrainResult:
    """One training, with a held-out tail for validation; its loss curve becomes a PNG."""
    training, held_out = split(data)
    state = space.folder / f'{name}.state.safetensors'
    result = train(
        checkpoint.network,
        batch_source(training, checkpoint, space.device, settings.seed, own_share),
        batch_source(held_out, checkpoint, space.device, 1, own_share), settings, state,
        lambda step, steps, figures: space.progress(name, step, steps, figures),
        made_of(checkpoint, data, own_share), space.say,
    )  # fmt: skip
    if space.main:
        plot_curve(space.results / f'{name}.png', result.curve, ('action', 'point', 'offset'))
    space.note(name, steps=result.steps, seconds=result.seconds, **result.validation)
    if space.device.type == 'cuda':
        torch.cuda.empty_cache()
    return result


def made_of(checkpoint: Checkpoint, data: Demonstrations, own_share: float) -> dict[str, Any]:
    """Of what a training of a checkpoint is made, beside its weights and settings."""
    robot = checkpoint.robot
    return {
        'data': data_of(data), 'own_share': own_share,
        'joints': [] if robot is None else list(robot.joint_names),
    }  # fmt: skip


def teach_heads(
    checkpoint: Checkpoint, data: Demonstrations, settings: TrainSettings, space: Workspace,
    own_share: float,
) -> dict[str, float]:  # fmt: skip
    """Train the auxiliary heads alone, in place: those of a policy from a bundle are untrained.

    Their gradient would pull at a trained stack otherwise, until they have learned to answer.
    """
    network = checkpoint.network
    training, _ = split(data)
    network.requires_grad_(False)
    network.auxiliary.requires_grad_(True)
    found = ground(
        network, batch_source(training, checkpoint, space.device, settings.seed, own_share),
        settings, lambda step, steps, figures: space.progress('heads', step, steps, figures),
    )  # fmt: skip
    network.cpu().requires_grad_(True)
    return found


def forget_states(space: Workspace, *names: str) -> None:
    """Remove the resumable states of trainings whose checkpoint is saved."""
    if space.main:
        for file in (GROUNDED, *(f'{name}.state.safetensors' for name in names)):
            (space.folder / file).unlink(missing_ok=True)


def _grounded(
    checkpoint: Checkpoint, data: Demonstrations, settings: DenseSettings, space: Workspace
) -> Checkpoint:
    """The warm-up, or what an interrupted run left of it."""
    path, state = space.folder / GROUNDED, space.folder / 'ground.state.safetensors'
    assert settings.ground is not None
    begun = {'ground': shaping(settings.ground), 'seed': settings.seed,
             'network': asdict(checkpoint.config),
             **made_of(checkpoint, data, settings.own_share)}  # fmt: skip
    if path.is_file():
        warmed = load_checkpoint(path)
        check_same(path, warmed.card.get(_BEGUN, {}), begun)
        space.say(f'{path}: the warm-up is there, taken as it is')
        return replace(warmed, card={})
    training, _ = split(data)
    found = ground(
        checkpoint.network,
        batch_source(training, checkpoint, space.device, settings.seed, settings.own_share),
        settings.ground,
        lambda step, steps, figures: space.progress('ground', step, steps, figures), state,
        made_of(checkpoint, data, settings.own_share), space.say,
    )  # fmt: skip
    if space.main:
        save_checkpoint(path, replace(checkpoint, card={_BEGUN: flat(begun)}), torch.float32)
    space.note('ground', steps=settings.ground.steps, **found)
    return checkpoint
