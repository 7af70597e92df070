"""Of what a training is made, told so that a state of another one is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dysl_vla_ros.lab.begun_with import digest
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.lab.model.checkpoint import Checkpoint

if TYPE_CHECKING:
    from dysl_vla_ros.lab.learn.distill import DistillSettings
    from dysl_vla_ros.lab.learn.oft_data import OftSamples
    from dysl_vla_ros.lab.learn.train import TrainSettings

FREE = ('max_seconds', 'save_every_s', 'note_every', 'precision')
"""Settings that may change between two starts: how long, how often, on what."""
_PICTURES = 128
_NUMBERS = 65_536


def shaping(settings: TrainSettings | DistillSettings, *free: str) -> dict[str, Any]:
    """The settings that shape the result; ``free`` names more that do not count."""
    return {name: value for name, value in asdict(settings).items()
            if name not in (*FREE, *free)}  # fmt: skip


def weights_of(*modules: nn.Module) -> str:
    """Digest of the weights: of each tensor the first 65536 numbers."""

    def parts() -> Iterator[NDArray[Any] | str]:
        for module in modules:
            for name, tensor in module.state_dict().items():
                yield name
                yield tensor.detach().flatten()[:_NUMBERS].float().cpu().numpy()

    return f'weights {digest(parts())}'


def checkpoint_of(checkpoint: Checkpoint) -> str:
    """Digest of a checkpoint's weights, its words and its normalisation."""
    found = digest([weights_of(checkpoint.network), checkpoint.tokenizer,
                    repr(checkpoint.statistics)])  # fmt: skip
    return f'checkpoint {found}'


def data_of(data: Demonstrations) -> str:
    """How much it is, and a digest of all numbers and of pictures that are evenly spread."""
    shown = _spread(data.frames)

    def parts() -> Iterator[NDArray[Any] | str]:
        for name, images in data.images.items():
            yield name
            yield images[shown]
        yield from (data.proprioception, data.frame, data.goal, data.own, data.chunk, data.point,
                    data.offset)  # fmt: skip
        yield from data.instructions

    return f'{data.frames} frames, {data.samples} samples, {digest(parts())}'


def oft_data_of(samples: OftSamples) -> str:
    """The same of frames that are prepared for an OpenVLA-OFT."""
    frames = len(samples.tokens)
    shown = _spread(frames)
    numbers = (samples.tokens, samples.proprioception, samples.chunk,
               *(images[shown] for images in samples.images))  # fmt: skip
    found = digest([samples.episode, samples.number,
                    *(one.float().numpy() for one in numbers if one is not None)])  # fmt: skip
    return f'{frames} frames, {found}'


def _spread(frames: int) -> NDArray[np.int64]:
    """Numbers of some frames, from the first to the last."""
    return np.unique(np.linspace(0, max(frames - 1, 0), _PICTURES).astype(np.int64))
