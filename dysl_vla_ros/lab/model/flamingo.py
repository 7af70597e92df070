"""RoboFlamingo's structure: gated cross-attention inside each layer, an LSTM head over time.

Two things differ from OpenVLA for whoever skips layers (Li et al., "Vision-language foundation
models as effective robot imitators", 2023; Awadalla et al., "OpenFlamingo", 2023):

- every layer first looks at the image through a gated cross-attention of its own. It belongs to
  its layer and is skipped with it; the image tokens go along in the hidden state, behind the
  text, and neither layers nor adapters change them;
- the head reads one feature per observation and remembers those before it. It has a state that a
  re-run must take back; the engine in ``flamingo_engine`` does.

Decoder layers are MPT's as transformers names them, cross-attention is OpenFlamingo's. There is no
reader of published checkpoints yet, and no perceiver: one vision tower makes the image tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.vision_tower import TowerShape, VisionTower

_SLOPE_RANGE = 8.0
"""MPT's ``alibi_bias_max``: the flattest head forgets by 2**-8 per token."""


@dataclass(frozen=True)
class FlamingoConfig:
    """Shape of the network.

    Attributes:
        layers: Decoder layers.
        width: Size of a text token.
        heads: Attention heads of the decoder; a power of two (ALiBi slopes).
        vocabulary: Rows of the token embedding.
        tower: The vision tower; its width is that of an image token.
        image_size: Side of the image [pixels].
        camera: Name of the image.
        cross_heads: Heads of the cross-attention.
        cross_head_dim: Size of one of them.
        history: Observations that the head remembers, the newest included.
        head_width: Of the LSTM.
        head_layers: Of the LSTM.
        pad_id: Token id that fills shorter texts up.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    tower: TowerShape
    image_size: int
    camera: str = 'image'
    cross_heads: int = 8
    cross_head_dim: int = 64
    history: int = 12
    head_width: int = 1024
    head_layers: int = 4
    pad_id: int = 0

    def __post_init__(self) -> None:
        """Check what the attention relies on, and that the image tokens fit into the state."""
        if self.heads < 1 or self.heads & (self.heads - 1) or self.width % self.heads:
            raise ConfigError(
                'heads', self.heads, f'a power of two that divides width = {self.width}'
            )
        if self.tower.width > self.width:
            raise ConfigError('tower.width', self.tower.width, f'at most width = {self.width}')
        if self.history < 1:
            raise ConfigError('history', self.history, 'at least 1')


class _CrossAttention(nn.Module):
    """Text asks, the image answers; every text token sees every image token."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        inner = config.cross_heads * config.cross_head_dim
        self.heads = config.cross_heads
        self.norm = nn.LayerNorm(config.width)
        self.to_q = nn.Linear(config.width, inner, bias=False)
        self.to_kv = nn.Linear(config.tower.width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, config.width, bias=False)

    def forward(self, text: Tensor, media: Tensor) -> Tensor:
        key, value = self.to_kv(media).chunk(2, dim=-1)
        query = self.to_q(self.norm(text))
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        answer: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return answer


class GatedCrossAttention(nn.Module):
    """Cross-attention and feed-forward, each behind a gate that starts closed."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        width = config.width
        self.attn = _CrossAttention(config)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width, bias=False), nn.GELU(),
            nn.Linear(4 * width, width, bias=False),
        )  # fmt: skip
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(self, text: Tensor, media: Tensor) -> Tensor:
        text = text + torch.tanh(self.attn_gate) * self.attn(text, media)
        after: Tensor = text + torch.tanh(self.ff_gate) * self.ff(text)
        return after


class _Decoder(nn.Module):
    """One MPT block: causal attention with ALiBi, no bias anywhere."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_1 = nn.LayerNorm(width, bias=False)
        self.attn = nn.ModuleDict({
            'Wqkv': nn.Linear(width, 3 * width, bias=False),
            'out_proj': nn.Linear(width, width, bias=False),
        })  # fmt: skip
        self.norm_2 = nn.LayerNorm(width, bias=False)
        self.ffn = nn.ModuleDict({
            'up_proj': nn.Linear(width, 4 * width, bias=False),
            'down_proj': nn.Linear(4 * width, width, bias=False),
        })  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.attn['Wqkv'](self.norm_1(x)).chunk(3, dim=-1)
        )
        bias = alibi(x.shape[1], self.heads).to(x)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.attn['out_proj'](mixed.transpose(1, 2).flatten(2))
        inner = functional.gelu(self.ffn['up_proj'](self.norm_2(x)))
        after: Tensor = x + self.ffn['down_proj'](inner)
        return after


class FlamingoLayer(nn.Module):
    """Cross-attention, then the decoder block: one layer, run or skipped as a whole."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        self.gated_cross_attn_layer = GatedCrossAttention(config)
        self.decoder_layer = _Decoder(config)

    def forward(self, text: Tensor, media: Tensor) -> Tensor:
        after: Tensor = self.decoder_layer(self.gated_cross_attn_layer(text, media))
        return after


class LstmHead(nn.Module):
    """The features of the last observations -> one action."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        self.rnn = nn.LSTM(config.width, config.head_width, config.head_layers, batch_first=True)
        self.actions = _mlp(config.head_width, 6)
        self.gripper = _mlp(config.head_width, 1)

    def forward(self, window: Tensor) -> Tensor:
        """(1, observations, width), oldest first -> (1, 7): pose in (-1, 1), opening in (0, 1).

        Upstream carries the LSTM's state on, and starts it again from zero over the remembered
        features once there are more than it may remember. Starting from zero every time gives
        the same, and makes the features the only state of the head.
        """
        states, _ = self.rnn(window)
        last = states[:, -1]
        return torch.cat((torch.tanh(self.actions(last)), torch.sigmoid(self.gripper(last))), -1)


class Flamingo(nn.Module):
    """The whole policy."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config.tower, config.image_size)
        self.wte = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(FlamingoLayer(config) for _ in range(config.layers))
        self.norm_f = nn.LayerNorm(config.width, bias=False)
        self.head = LstmHead(config)

    @property
    def media_tokens(self) -> int:
        """Image tokens, the last ones in a hidden state."""
        return self.vision.pos_embed.shape[1]

    def embed(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Text, then image tokens widened with zeros: (1, text + media, width).

        Args:
            image: Normalised, (1, 3, size, size).
            tokens: int64 (1, any); padding is left out.
        """
        media = self.vision(image)
        media = functional.pad(media, (0, self.config.width - media.shape[-1]))
        return torch.cat((self.wte(tokens[tokens != self.config.pad_id][None]), media), dim=1)

    def text(self, hidden: Tensor) -> Tensor:
        """The text part of a state."""
        return hidden[:, : hidden.shape[1] - self.media_tokens]

    def with_text(self, text: Tensor, hidden: Tensor) -> Tensor:
        """A state with another text part and the same image."""
        return torch.cat((text, hidden[:, hidden.shape[1] - self.media_tokens :]), dim=1)

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``, cross-attention included."""
        media = hidden[:, hidden.shape[1] - self.media_tokens :, : self.config.tower.width]
        return self.with_text(self.layers[index](self.text(hidden), media), hidden)

    def feature(self, hidden: Tensor) -> Tensor:
        """What the head remembers of an observation: the largest value per channel, (1, width)."""
        feature: Tensor = self.norm_f(self.text(hidden)).amax(dim=1)
        return feature


def alibi(tokens: int, heads: int) -> Tensor:
    """Causal attention bias (heads, tokens, tokens): less for what is farther back.

    Source: Press et al., "Train short, test long", 2021, with MPT's slopes.
    """
    slopes = 2.0 ** (-_SLOPE_RANGE / heads * torch.arange(1, heads + 1))
    place = torch.arange(tokens)
    distance = place[None, :] - place[:, None]
    bias = slopes[:, None, None] * distance
    return bias.masked_fill(distance > 0, float('-inf'))


def _mlp(width: int, out: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inner in (1024, 512, 256):
        parts += [nn.Linear(width, inner), nn.ReLU()]
        width = inner
    return nn.Sequential(*parts, nn.Linear(width, out))
