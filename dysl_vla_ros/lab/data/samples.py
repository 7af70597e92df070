"""From dataset folders to batches of training and of held-out samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.batches import BatchSource
from dysl_vla_ros.lab.data.contract import contract
from dysl_vla_ros.lab.data.dataset_reader import Thinning, load_dataset, open_dataset
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, join
from dysl_vla_ros.lab.data.words import encode_table
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.worlds.goals import all_phrases, target_names


def load_samples(folders: Sequence[Path], thinning: Thinning | None = None) -> Demonstrations:
    """Load datasets; all are checked before the first is loaded.

    Args:
        folders: The last one's last frames are what validation is made of.
        thinning: Which frames; its limit holds for each dataset.

    Raises:
        ConfigError: A dataset is wrong; names the field and what would be right.
    """
    for folder in folders:
        open_dataset(folder, contract())
    parts = [load_dataset(folder, contract(), thinning) for folder in folders]
    return parts[0] if len(parts) == 1 else join(parts)


def check_fits(checkpoint: Checkpoint, data: Demonstrations) -> None:
    """Refuse a checkpoint that cannot be trained further on these demonstrations.

    Raises:
        ConfigError: Other cameras, joints, actions or horizon.
    """
    config = checkpoint.config
    for camera in config.cameras:
        found = data.images[camera.name].shape[1:3] if camera.name in data.images else None
        if found != (camera.height, camera.width):
            raise ConfigError(
                f'observation.images.{camera.name}', found,
                f'pictures of {camera.height}x{camera.width}, which the checkpoint sees',
            )  # fmt: skip
    for name, found, wanted in (
        ('observation.state', data.proprioception.shape[1:], (config.proprioception_dim,)),
        ('label.chunk', data.chunk.shape[1:], (config.action_horizon, config.action_dim)),
    ):
        if found != wanted:
            raise ConfigError(f'{name}.shape', found, f'{wanted}, as the checkpoint has it')


def batch_source(
    data: Demonstrations, checkpoint: Checkpoint, device: torch.device, seed: int,
    own_share: float = 0.5,
) -> BatchSource:  # fmt: skip
    """Batches of training phrasings.

    Args:
        data: Samples.
        checkpoint: Whose tokenizer and statistics are used.
        device: Where the batches are made.
        seed: Of their order.
        own_share: Share of samples with the goal that was being pursued.
    """
    check_fits(checkpoint, data)
    cameras = [camera.name for camera in checkpoint.config.cameras]
    data = replace(data, images={name: data.images[name] for name in cameras})
    tokens = checkpoint.config.instruction_tokens
    phrases = [(text,) for text in data.instructions] or all_phrases()
    table = encode_table(Tokenizer.from_str(checkpoint.tokenizer), phrases, tokens)
    names = _names(data, checkpoint.config.names)
    return BatchSource(data, table, checkpoint.statistics, device, seed, own_share, names)


def _names(data: Demonstrations, known: int) -> NDArray[np.int64] | None:
    """What the named object is called, per goal; None where nothing says where it shows."""
    if not data.instructions:
        return target_names()
    # Of another world every goal has a name of its own.
    shown = len(data.instructions) <= known and bool((data.point >= 0).any())
    return np.arange(len(data.instructions)) if shown else None


def split(data: Demonstrations, share: float = 0.02) -> tuple[Demonstrations, Demonstrations]:
    """Cut the samples of the last frames off for validation; the pictures are not copied."""
    border = min(int(data.frames * (1.0 - share)), data.frames - 1)
    kept = data.frame < border
    if kept.all() or not kept.any():
        raise ConfigError('frames', data.frames, 'enough for training and for validation')
    return _part(data, kept), _part(data, ~kept, border)


def _part(data: Demonstrations, kept: NDArray[np.bool_], first: int = 0) -> Demonstrations:
    """A view of some samples; frames before ``first`` are left out."""
    return Demonstrations(
        images={name: images[first:] for name, images in data.images.items()},
        proprioception=data.proprioception[first:],
        frame=data.frame[kept] - first, goal=data.goal[kept], own=data.own[kept],
        chunk=data.chunk[kept], point=data.point[kept], offset=data.offset[kept],
        instructions=data.instructions,
    )  # fmt: skip
