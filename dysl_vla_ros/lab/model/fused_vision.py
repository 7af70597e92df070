"""The eyes of OpenVLA and OpenVLA-OFT: DINOv2 and SigLIP side by side, and a projector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.lab.model.vision_tower import TowerShape, VisionTower

Rgb = tuple[float, float, float]
MEANS: tuple[Rgb, Rgb] = ((0.484375, 0.455078125, 0.40625), (0.5, 0.5, 0.5))
"""Of DINOv2, then SigLIP, as OpenVLA's published processor rounds ImageNet's."""
STDS: tuple[Rgb, Rgb] = ((0.228515625, 0.2236328125, 0.224609375), (0.5, 0.5, 0.5))
"""Likewise."""


class VisionConfig(Protocol):
    """What the towers and their projector need to know; OpenVLA has the same ones."""

    @property
    def towers(self) -> tuple[TowerShape, TowerShape]:
        """DINOv2, then SigLIP."""

    @property
    def means(self) -> tuple[Rgb, Rgb]:
        """Per tower, subtracted from an image in [0, 1]."""

    @property
    def stds(self) -> tuple[Rgb, Rgb]:
        """Per tower, divided by."""

    @property
    def image_size(self) -> int:
        """Side of an image [pixels]."""

    @property
    def width(self) -> int:
        """Size of a token of the language model."""


class FusedVision(nn.Module):
    """Images in [0, 1], (B, 3, size, size) per camera -> patch tokens (B, patches, width).

    Both normalisations happen in here: a camera sends one image, each tower gets its own.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: VisionConfig, language: int = 0) -> None:
        super().__init__()
        self.towers = nn.ModuleList(
            VisionTower(t, config.image_size, language) for t in config.towers
        )
        joined = sum(tower.width for tower in config.towers)
        self.projector = nn.ModuleDict({
            'fc1': nn.Linear(joined, 4 * joined),
            'fc2': nn.Linear(4 * joined, config.width),
            'fc3': nn.Linear(config.width, config.width),
        })  # fmt: skip
        for name, values in (('mean', config.means), ('std', config.stds)):
            table = torch.tensor(values, device='cpu').view(2, 1, 3, 1, 1)
            self.register_buffer(name, table, persistent=False)

    def forward(self, *images: Tensor) -> Tensor:
        return self.see(images)

    def see(self, images: Sequence[Tensor], language: Tensor | None = None) -> Tensor:
        """Patch tokens, modulated by the language (B, width) where the towers are made for it."""
        kind = next(self.projector.parameters()).dtype
        # All cameras in one batch: a tower's matrices are read once, its kernels launched once.
        several = torch.cat(tuple(images))
        pixels = (several.float() - self.mean.float()) / self.std.float()  # one per tower
        if language is not None:
            language = language.repeat(len(images), 1)
        features = [tower(pixels[i].to(kind), language) for i, tower in enumerate(self.towers)]
        seen = torch.cat(features, dim=-1).unflatten(0, (len(images), -1))
        x = functional.gelu(self.projector['fc1'](seen.transpose(0, 1).flatten(1, 2)))
        patches: Tensor = self.projector['fc3'](functional.gelu(self.projector['fc2'](x)))
        return patches
