"""DINOv2 and SigLIP up to their second-to-last block, as OpenVLA uses them; no timm needed.

Parameter names are timm's, with the one change that OpenVLA made when it published its weights:
a LayerScale is called ``scale_factor`` (``gamma`` is a name that transformers rewrites).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.errors import ConfigError

PATCH = 14
"""Side of an image patch [pixels]."""


@dataclass(frozen=True)
class TowerShape:
    """Shape of one vision transformer.

    Attributes:
        width: Size of a token.
        depth: Blocks in the checkpoint; the last one is neither loaded nor run.
        heads: Attention heads.
        mlp_width: Hidden size of the feed-forward part.
        registers: Register tokens; a class token stands before them.
        class_token: Whether there is one.
        layer_scale: Whether each branch is multiplied by a learned scale.
        norm_epsilon: Of every LayerNorm.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    registers: int = 0
    class_token: bool = False
    layer_scale: bool = False
    norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Check what must divide, and that there is a second-to-last block."""
        if self.width % self.heads:
            raise ConfigError('heads', self.heads, f'a divisor of width = {self.width}')
        if self.depth < 2:
            raise ConfigError('depth', self.depth, 'at least 2: the second-to-last block is used')


DINO_LARGE = TowerShape(1024, 24, 16, 4096, registers=4, class_token=True, layer_scale=True)
"""``vit_large_patch14_reg4_dinov2.lvd142m`` of timm."""
SIGLIP_SO400M = TowerShape(1152, 27, 16, 4304)
"""``vit_so400m_patch14_siglip_224`` of timm."""


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class _Block(nn.Module):
    """Attention and feed-forward, each pre-normed, scaled and added."""

    def __init__(self, shape: TowerShape, language: int = 0) -> None:
        super().__init__()
        width = shape.width
        if language:  # FiLM
            self.scale = nn.Linear(language, width)
            self.shift = nn.Linear(language, width)
        self.heads = shape.heads
        self.norm1 = nn.LayerNorm(width, eps=shape.norm_epsilon)
        self.attn = nn.ModuleDict(
            {'qkv': nn.Linear(width, 3 * width), 'proj': nn.Linear(width, width)}
        )
        self.ls1 = _Scale(width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=shape.norm_epsilon)
        self.mlp = nn.ModuleDict(
            {'fc1': nn.Linear(width, shape.mlp_width), 'fc2': nn.Linear(shape.mlp_width, width)}
        )
        self.ls2 = _Scale(width) if shape.layer_scale else nn.Identity()

    def forward(self, x: Tensor, language: Tensor | None = None) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.attn['qkv'](self.norm1(x)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.ls1(self.attn['proj'](mixed))
        if language is not None:
            x = x * (1.0 + self.scale(language)[:, None]) + self.shift(language)[:, None]
        inner = functional.gelu(self.mlp['fc1'](self.norm2(x)))
        after: Tensor = x + self.ls2(self.mlp['fc2'](inner))
        return after


class VisionTower(nn.Module):
    """Image (B, 3, size, size), normalised -> patch states (B, patches, width).

    The states of the second-to-last block, without the final norm and without the class and
    register tokens. Those tokens have no position of their own (timm's ``no_embed_class``). With a
    ``language`` width, every block is modulated by an embedding of that width (FiLM).
    """

    def __init__(self, shape: TowerShape, image_size: int, language: int = 0) -> None:
        super().__init__()
        self.prefix = int(shape.class_token) + shape.registers
        patches = (image_size // PATCH) ** 2
        self.patch_embed = nn.ModuleDict({'proj': nn.Conv2d(3, shape.width, PATCH, stride=PATCH)})
        self.pos_embed = nn.Parameter(torch.randn(1, patches, shape.width) * 0.02)
        if shape.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        if shape.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, shape.registers, shape.width))
        self.blocks = nn.ModuleList(_Block(shape, language) for _ in range(shape.depth - 1))

    def forward(self, image: Tensor, language: Tensor | None = None) -> Tensor:
        x = self.patch_embed['proj'](image).flatten(2).transpose(1, 2) + self.pos_embed
        prefix = [
            getattr(self, name).expand(len(x), -1, -1)
            for name in ('cls_token', 'reg_token')
            if hasattr(self, name)
        ]
        x = torch.cat((*prefix, x), dim=1)
        for block in self.blocks:
            x = block(x, language)
        patches: Tensor = x[:, self.prefix :]
        return patches
