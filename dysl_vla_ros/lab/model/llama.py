"""Llama-2 decoder layers with the parameter names of published checkpoints.

One set of weights, two kinds of attention: bidirectional over a sequence of fixed length, which
is what OpenVLA-OFT was fine-tuned with, and causal with kept keys and values, which is OpenVLA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.errors import ConfigError

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (B, heads, tokens so far, head_dim)."""
HIDDEN_BIAS = -3.0e4
"""Added to the attention score of a token that must not be seen: finite in float16, and its
exponential is exactly zero in every precision."""


@dataclass(frozen=True)
class LlamaShape:
    """Shape of a Llama stack; the defaults are those of Llama-2-7B in OpenVLA.

    Attributes:
        layers: Decoder layers.
        width: Size of a token.
        mlp_width: SwiGLU hidden size.
        heads: Attention heads; as many for keys and values.
        vocabulary: Rows of the token embedding.
        norm_epsilon: Of every RMSNorm.
        rotary_base: Of the rotary positions.
    """

    layers: int = 32
    width: int = 4096
    mlp_width: int = 11008
    heads: int = 32
    vocabulary: int = 32064
    norm_epsilon: float = 1e-6
    rotary_base: float = 10000.0

    def __post_init__(self) -> None:
        """Check what must divide."""
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError('heads', self.heads, f'a divisor of width = {self.width}, even rest')

    @property
    def head_dim(self) -> int:
        """Size of an attention head."""
        return self.width // self.heads


class LlamaNorm(nn.Module):
    """Root-mean-square norm, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * wide.to(x.dtype)


class LlamaLayer(nn.Module):
    """One decoder layer; subclasses and engines choose how it attends."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        width, inner = shape.width, shape.mlp_width
        self.heads = shape.heads
        self.input_layernorm = LlamaNorm(width, shape.norm_epsilon)
        self.self_attn = nn.ModuleDict(
            {f'{part}_proj': nn.Linear(width, width, bias=False) for part in 'qkvo'}
        )
        self.post_attention_layernorm = LlamaNorm(width, shape.norm_epsilon)
        self.mlp = nn.ModuleDict({
            'gate_proj': nn.Linear(width, inner, bias=False),
            'up_proj': nn.Linear(width, inner, bias=False),
            'down_proj': nn.Linear(inner, width, bias=False),
        })  # fmt: skip

    def bidirectional(self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor) -> Tensor:
        """The state after this layer when every token sees every real token.

        Args:
            x: (B, tokens, width); rows of padding are exactly zero.
            cos: Rotary cosines (tokens, head_dim).
            sin: Rotary sines (tokens, head_dim).
            visible: (B, tokens) in the type of ``x``, 1 for a real token and 0 for padding.

        Returns:
            As ``x``: the padding's rows are exactly zero again, since what attention adds to
            them is multiplied by zero and the rest of the layer maps zero to zero.
        """
        query, key, value = self._project(x, cos, sin)
        bias = ((1.0 - visible) * HIDDEN_BIAS)[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).reshape(x.shape) * visible[..., None]
        return self._rest(x, mixed)

    def causal(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """The state after this layer when a token sees itself and what came before.

        Args:
            x: (B, tokens, width).
            cos: Rotary cosines at the positions of these tokens, (tokens, head_dim).
            sin: Rotary sines, likewise.
            past: What this layer returned for the tokens before; then ``x`` is one token.

        Returns:
            The state, and the keys and values up to and including these tokens.
        """
        query, key, value = self._project(x, cos, sin)
        if past is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(past, (key, value), strict=True))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        return self._rest(x, mixed.transpose(1, 2).reshape(x.shape)), (key, value)

    def fuse(self) -> None:
        """Join products of one input: query, key and value; gate and up.

        The same numbers by two larger products instead of five. TensorRT has computed separate
        products behind one norm wrongly at batch 1, and takes longer to build them.
        """
        attention, mlp = self.self_attn, self.mlp
        self.self_attn = nn.ModuleDict({
            'qkv_proj': _joined([attention[f'{part}_proj'] for part in 'qkv']),
            'o_proj': attention['o_proj'],
        })  # fmt: skip
        self.mlp = nn.ModuleDict({
            'gate_up_proj': _joined([mlp['gate_proj'], mlp['up_proj']]),
            'down_proj': mlp['down_proj'],
        })  # fmt: skip

    def _project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, _ = x.shape
        normed, attention = self.input_layernorm(x), self.self_attn
        parts = attention['qkv_proj'](normed).chunk(3, dim=-1) if 'qkv_proj' in attention else (
            [attention[f'{part}_proj'](normed) for part in 'qkv'])  # fmt: skip
        query, key, value = (
            part.reshape(batch, tokens, self.heads, -1).transpose(1, 2) for part in parts
        )
        return rotate(query, cos, sin), rotate(key, cos, sin), value

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.self_attn['o_proj'](mixed)
        normed, mlp = self.post_attention_layernorm(x), self.mlp
        gate, up = mlp['gate_up_proj'](normed).chunk(2, dim=-1) if 'gate_up_proj' in mlp else (
            mlp['gate_proj'](normed), mlp['up_proj'](normed))  # fmt: skip
        after: Tensor = x + mlp['down_proj'](functional.silu(gate) * up)
        return after


def _joined(products: Sequence[nn.Module]) -> nn.Linear:
    """One product that gives the numbers of several, one after another."""
    weight = torch.cat([product.get_parameter('weight') for product in products])
    with torch.device('meta'):
        joined = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    joined.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return joined


def rotary_table(tokens: int, shape: LlamaShape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of positions 0..tokens-1, each (tokens, head_dim) float32."""
    half = torch.arange(0, shape.head_dim, 2, dtype=torch.float64, device='cpu')
    rates = shape.rotary_base ** (-half / shape.head_dim)
    angles = torch.arange(tokens, dtype=torch.float64, device='cpu')[:, None] * rates
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of ``x`` (..., tokens, head_dim) by their position."""
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat((-right, left), dim=-1)
    return x * cos.to(x.dtype) + turned * sin.to(x.dtype)
