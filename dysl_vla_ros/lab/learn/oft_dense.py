"""OpenVLA-OFT as a dense model: what distillation and layer scores need of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dysl_vla_ros.lab.model.openvla_oft import OpenVlaOft


@dataclass(frozen=True)
class OftBatch:
    """Observations, and what was done.

    Attributes:
        images: One per camera, (B, 3, size, size) in [0, 1].
        tokens: int64 (B, prompt_tokens), padded as the bundle's tokenizer and ``pad_id`` do.
        proprioception: Normalised, (B, dim); None for a model without.
        chunk: Normalised actions, (B, horizon, dim); None where ``task_share`` is 0.
    """

    images: tuple[Tensor, ...]
    tokens: Tensor
    proprioception: Tensor | None = None
    chunk: Tensor | None = None


class OftDense:
    """``DenseModel`` over the whole network, frozen."""

    def __init__(
        self, network: OpenVlaOft, device: torch.device | str = 'cpu', placed: bool = False
    ) -> None:
        """Move ``network`` to the device and freeze it; ``placed`` says that it is there."""
        self._network = network if placed else network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    @property
    def layers_total(self) -> int:
        """Depth of the backbone."""
        return self._network.config.layers

    @property
    def slots(self) -> slice:
        """The read-out positions of the head."""
        return self._network.config.read_out

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._device

    def encode(self, batch: OftBatch) -> Tensor:
        """The state entering layer 0."""
        state = batch.proprioception
        kind = self._network.embed_part.embed_tokens.weight.dtype
        return self._network.encode(
            tuple(image.to(self._device) for image in batch.images),
            batch.tokens.to(self._device),
            None if state is None else state.to(self._device, kind),
        )

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``.

        Where a gradient goes through, what is inside the layer is computed again on the way back:
        of a frozen layer only its input is kept, so that a batch fits beside 7 billion weights.
        """
        if torch.is_grad_enabled() and hidden.requires_grad:
            after: Tensor = checkpoint(self._network.layer, index, hidden, use_reentrant=False)
            return after
        return self._network.layer(index, hidden)

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions."""
        return self._network.head(hidden)
