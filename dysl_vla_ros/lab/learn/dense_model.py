"""What distillation, layer scores and recordings need to know of a dense model: very little.

Any frozen stack of layers with a head fits: the bundled policy, OpenVLA-OFT, a model of yours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.batches import Augmentation, Batch, BatchSource
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork


class DenseModel(Protocol):
    """A frozen model, in evaluation mode, on one device; batches are its own business."""

    @property
    def layers_total(self) -> int:
        """Depth of the backbone."""

    @property
    def slots(self) -> slice:
        """The tokens from which actions are read, in a hidden state (B, tokens, width)."""

    @property
    def device(self) -> torch.device:
        """Where it runs; adapters and controllers are trained there."""

    def encode(self, batch: Any) -> Tensor:
        """The state entering layer 0, (B, tokens, width)."""

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``."""

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (B, horizon, dim) from the last state."""


class Layers(Protocol):
    """The part of a dense model that a pass through its layers needs."""

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``."""


class PolicyDense:
    """The bundled policy as a dense model."""

    def __init__(self, network: PolicyNetwork, device: torch.device) -> None:
        """Move ``network`` to the device, in evaluation mode."""
        self._network = network.to(device).eval()
        self._device = device

    @property
    def layers_total(self) -> int:
        """Depth of the backbone."""
        return self._network.config.layers

    @property
    def slots(self) -> slice:
        """The action slots are the last tokens."""
        return slice(-self._network.config.action_horizon, None)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._device

    def encode(self, batch: Batch) -> Tensor:
        """The state entering layer 0."""
        return self._network.encode(batch.images, batch.tokens, batch.proprioception)

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``."""
        return self._network.layer(index, hidden)

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions."""
        return self._network.head(hidden)


Source = BatchSource | Iterable[Any]
"""Where batches come from: numbered draws from demonstrations, or any iterable of batches."""


def dense_model(model: PolicyNetwork | DenseModel, source: Source) -> DenseModel:
    """The model as the protocol; the bundled policy is wrapped and follows its batches."""
    if not isinstance(model, PolicyNetwork):
        return model
    if isinstance(source, BatchSource):
        return PolicyDense(model, source.device)
    return PolicyDense(model, next(model.parameters()).device)


def batches(source: Source, size: int, augmentation: Augmentation) -> Callable[[int], Any]:
    """A function from the number of a batch to the batch.

    Args:
        source: Demonstrations are drawn by number; an iterable gives its next batch, whatever
            the number, and has its own idea of size and augmentation.
        size: Samples per draw.
        augmentation: Of the draw.

    Raises:
        ConfigError: The iterable has ended; raised by the function.
    """
    if isinstance(source, BatchSource):
        drawn = source
        return lambda number: drawn.draw(number, size, augmentation)
    stream = iter(source)

    def following(number: int) -> Any:
        try:
            return next(stream)
        except StopIteration:
            raise ConfigError(
                'batches', f'ended before batch {number}', 'an iterable that does not end: '
                'itertools.cycle repeats one',
            ) from None  # fmt: skip

    return following


def states(model: DenseModel, hidden: Tensor) -> list[Tensor]:
    """The states entering layers 0..L-1 and, last, the one after the stack."""
    found = [hidden]
    for index in range(model.layers_total):
        found.append(model.layer(index, found[-1]))
    return found
