"""OpenVLA-OFT: two vision towers, a projector, Llama-2, an L1 action head, in exportable parts.

Structure and traps from the published model (Kim et al., "Fine-tuning vision-language-action
models", 2025): both towers give their second-to-last block without the final norm, channels are
concatenated DINOv2 first, attention is fully bidirectional, the action slots enter as zeros, and
the head reads the positions that *start at the last prompt token*.

**Padding.** Exported graphs have one length, prompts have many. The sequence is padded on the
left, before BOS, with rows that are exactly zero, and every part keeps them exactly zero:

- rotary attention sees differences of positions only, so shifting the whole sequence is exact;
- a layer finds the padding in the state itself: only the first ``prompt_tokens - 1`` rows can be
  padding, and there a row of zeros is padding (the action slots, zero too, lie at the end);
- keys of padding get no attention, and adapters, which have no bias, map zero to zero;
- slots and read-out have fixed places, counted from the end.

So the hidden state stays the only thing that passes between layers, and a padded prompt gives
the actions of the unpadded upstream sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.film_vision import FilmVision
from dysl_vla_ros.lab.model.fused_vision import MEANS, STDS, FusedVision, Rgb
from dysl_vla_ros.lab.model.llama import LlamaLayer, LlamaNorm, LlamaShape, rotary_table
from dysl_vla_ros.lab.model.vision_tower import DINO_LARGE, PATCH, SIGLIP_SO400M, TowerShape

END_ID = 2
"""``</s>``, the last token of the sequence."""


@dataclass(frozen=True)
class OftConfig:
    """Shape of the network; the defaults are those of the published 7B model on LIBERO.

    Attributes:
        text: The language model.
        towers: DINOv2, then SigLIP.
        means: Per tower, subtracted from an image in [0, 1].
        stds: Per tower, divided by.
        image_size: Side of an image [pixels].
        cameras: Names of the images, in the order of their tokens.
        prompt_tokens: Longest prompt, BOS and the empty token at its end included.
        pad_id: Token id that fills shorter prompts up, at the end of ``tokens``.
        proprioception_dim: Numbers in the proprioception vector; 0 for none, and no token.
        action_horizon: Actions per chunk.
        action_dim: Numbers per action.
        film: The instruction modulates the towers (OFT+).
    """

    text: LlamaShape = LlamaShape()
    towers: tuple[TowerShape, TowerShape] = (DINO_LARGE, SIGLIP_SO400M)
    means: tuple[Rgb, Rgb] = MEANS
    stds: tuple[Rgb, Rgb] = STDS
    image_size: int = 224
    cameras: tuple[str, ...] = ('image', 'wrist_image')
    prompt_tokens: int = 35
    pad_id: int = 32000
    proprioception_dim: int = 8
    action_horizon: int = 8
    action_dim: int = 7
    film: bool = False

    def __post_init__(self) -> None:
        """Check sizes that the parts rely on."""
        if self.image_size < PATCH or self.image_size % PATCH:
            raise ConfigError('image_size', self.image_size, f'a multiple of {PATCH}')
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError('cameras', self.cameras, 'at least one camera, every name once')
        if self.prompt_tokens < 2:
            raise ConfigError('prompt_tokens', self.prompt_tokens, 'BOS and at least one more')

    @property
    def layers(self) -> int:
        """Depth of the backbone."""
        return self.text.layers

    @property
    def width(self) -> int:
        """Size of a token."""
        return self.text.width

    @property
    def patches(self) -> int:
        """Patch tokens of all cameras."""
        return len(self.cameras) * (self.image_size // PATCH) ** 2

    @property
    def slots(self) -> int:
        """Action slots: one per number of the chunk."""
        return self.action_horizon * self.action_dim

    @property
    def tokens(self) -> int:
        """Padding, BOS, patches, proprioception, rest of the prompt, slots, end of sequence."""
        state = int(self.proprioception_dim > 0)
        return self.patches + state + self.prompt_tokens + self.slots + 1

    @property
    def read_out(self) -> slice:
        """Where the actions are read: from one position before the first slot."""
        first = self.tokens - 1 - self.slots - 1
        return slice(first, first + self.slots)


def oft_vision(config: OftConfig) -> FusedVision:
    """The towers, untrained: those of OFT, or of OFT+."""
    if not config.film:
        return FusedVision(config)
    return FilmVision(config, config.text.vocabulary, config.pad_id, END_ID)


def visible(hidden: Tensor, config: OftConfig) -> Tensor:
    """1 for a real token and 0 for padding, (B, tokens), in the type of ``hidden``."""
    most = config.prompt_tokens - 1
    real = hidden[:, :most].abs().amax(dim=-1) > 0
    others = torch.ones_like(hidden[:, most:, 0])
    return torch.cat((real.to(hidden.dtype), others), dim=1)


class OftEmbed(nn.Module):
    """Patches, prompt and proprioception -> the state entering layer 0; see the padding above."""

    def __init__(self, config: OftConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.text.vocabulary, config.width)
        if config.proprioception_dim:
            self.proprio_projector = nn.ModuleDict({
                'fc1': nn.Linear(config.proprioception_dim, config.width),
                'fc2': nn.Linear(config.width, config.width),
            })  # fmt: skip

    def forward(
        self, patches: Tensor, tokens: Tensor, proprioception: Tensor | None = None
    ) -> Tensor:
        """The state entering layer 0, (B, tokens, width).

        Args:
            patches: (B, patches, width).
            tokens: int64 (B, prompt_tokens), BOS first, ``pad_id`` after the last word.
            proprioception: Normalised, (B, proprioception_dim); absent for a model without.
        """
        words = self.embed_tokens(tokens)
        parts = [words[:, :1], patches]
        if proprioception is not None:
            inner = functional.gelu(self.proprio_projector['fc1'](proprioception))
            parts.append(self.proprio_projector['fc2'](inner)[:, None])
        front = torch.cat((*parts, words[:, 1:]), dim=1)
        front = _pad_left(front, (tokens == self.config.pad_id).sum(dim=1))
        slots = front.new_zeros(len(front), self.config.slots, self.config.width)
        end = self.embed_tokens(torch.full_like(tokens[:, :1], END_ID))
        return torch.cat((front, slots, end), dim=1)


class OftLayer(LlamaLayer):
    """A decoder layer of one tensor: finds the padding in the state, sees all real tokens."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: OftConfig) -> None:
        super().__init__(config.text)
        self.config = config
        cos, sin = rotary_table(config.tokens, config.text)
        self.register_buffer('cos', cos, persistent=False)
        self.register_buffer('sin', sin, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        seen = visible(hidden, self.config)
        return self.bidirectional(hidden, self.cos, self.sin, seen)


class _ResidualBlock(nn.Module):
    """LayerNorm, Linear, ReLU, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        after: Tensor = x + self.ffn(x)
        return after


class OftHead(nn.Module):
    """L1 regression: the last state -> normalised actions (B, horizon, dim).

    The states of the numbers of one action are concatenated and become that action.
    """

    def __init__(self, config: OftConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = config.width, config.action_dim * config.width
        self.norm = LlamaNorm(width, config.text.norm_epsilon)
        self.layer_norm1 = nn.LayerNorm(inner)
        self.fc1 = nn.Linear(inner, width)
        self.mlp_resnet_blocks = nn.ModuleList(_ResidualBlock(width) for _ in range(2))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, config.action_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        states = self.norm(hidden[:, self.config.read_out])
        states = states.reshape(len(states), self.config.action_horizon, -1)
        x = functional.relu(self.fc1(self.layer_norm1(states)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        actions: Tensor = self.fc2(self.layer_norm2(x))
        return actions


class OpenVlaOft(nn.Module):
    """The whole policy, with the methods of the bundled one (``PolicyNetwork``)."""

    def __init__(self, config: OftConfig) -> None:
        """Build an untrained network; a 7B one is loaded part by part instead."""
        super().__init__()
        self.config = config
        self.vision_part = oft_vision(config)
        self.embed_part = OftEmbed(config)
        self.layers = nn.ModuleList(OftLayer(config) for _ in range(config.layers))
        self.head_part = OftHead(config)

    def vision(self, *images: Tensor) -> Tensor:
        """Images in [0, 1], one per camera -> patch tokens (B, patches, width).

        With FiLM the tokens follow the images.
        """
        patches: Tensor = self.vision_part(*images)
        return patches

    def embed(
        self, patches: Tensor, tokens: Tensor, proprioception: Tensor | None = None
    ) -> Tensor:
        """The state entering layer 0; see ``OftEmbed``."""
        hidden: Tensor = self.embed_part(patches, tokens, proprioception)
        return hidden

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``."""
        after: Tensor = self.layers[index](hidden)
        return after

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (B, horizon, dim) from the last state."""
        actions: Tensor = self.head_part(hidden)
        return actions

    def encode(
        self, images: tuple[Tensor, ...], tokens: Tensor, proprioception: Tensor | None = None
    ) -> Tensor:
        """Vision and embedding: the state entering layer 0."""
        seen = (*images, tokens) if self.config.film else images
        return self.embed(self.vision(*seen), tokens, proprioception)


def _pad_left(front: Tensor, count: Tensor) -> Tensor:
    """Move the last ``count`` rows of each sample, its padding, to the front as zeros.

    Args:
        front: (B, n, width).
        count: int64 (B,).
    """
    batch, size, width = front.shape
    index = torch.arange(size, device=front.device)[None] - count[:, None]
    rows = index.clamp(min=0) + torch.arange(batch, device=front.device)[:, None] * size
    moved = front.reshape(-1, width).index_select(0, rows.reshape(-1)).view(batch, size, width)
    return moved * (index >= 0).to(front.dtype)[..., None]
