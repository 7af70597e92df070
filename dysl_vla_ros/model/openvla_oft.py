"""OpenVLA-OFT in one file: two vision towers, a projector, Llama-2, an L1 action head.

Structure and traps from the published model (Kim et al., "Fine-tuning vision-language-action
models", 2025): both towers give their second-to-last block without the final norm, channels are
concatenated DINOv2 first, attention is fully bidirectional, the action slots enter as zeros, and
the head reads the positions that *start at the last prompt token*. The backbone is cut into the
parts of the engine protocol; with the dynamic layers' controllers and adapters it is a
``TorchParts`` for the CUDA engine and for the exporter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.engines.engine import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.model.skipping import SkipModules


@dataclass(frozen=True)
class OftConfig:
    """Shape of the network; the defaults are those of the published 7B model.

    Attributes:
        layers: Decoder layers.
        width: Size of a token.
        mlp_width: SwiGLU hidden size.
        heads: Attention heads.
        vocabulary: Rows of the token embedding.
        norm_epsilon: Of every RMSNorm.
        rotary_base: Of the rotary positions.
        image_size: Side of an image [pixels].
        dino: timm name of the first tower.
        siglip: timm name of the second tower.
        vision_widths: Channels of the two towers.
        cameras: Images per observation.
        prompt_tokens: Longest prompt, BOS included; shorter ones are padded at the end.
        proprioception_dim: Numbers in the proprioception vector.
        action_horizon: Actions per chunk.
        action_dim: Numbers per action.
    """

    layers: int = 32
    width: int = 4096
    mlp_width: int = 11008
    heads: int = 32
    vocabulary: int = 32064
    norm_epsilon: float = 1e-6
    rotary_base: float = 10000.0
    image_size: int = 224
    dino: str = 'vit_large_patch14_reg4_dinov2.lvd142m'
    siglip: str = 'vit_so400m_patch14_siglip_224'
    vision_widths: tuple[int, int] = (1024, 1152)
    cameras: int = 2
    prompt_tokens: int = 35
    proprioception_dim: int = 8
    action_horizon: int = 8
    action_dim: int = 7

    def __post_init__(self) -> None:
        """Check what must divide."""
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError('heads', self.heads, f'a divisor of width = {self.width}, even rest')

    @property
    def patches(self) -> int:
        """Patch tokens of all cameras."""
        return self.cameras * (self.image_size // 14) ** 2

    @property
    def slots(self) -> int:
        """Action slots: one per number of the chunk."""
        return self.action_horizon * self.action_dim

    @property
    def tokens(self) -> int:
        """BOS, patches, proprioception, rest of the prompt, slots, end of sequence."""
        return self.patches + 1 + self.prompt_tokens + self.slots + 1


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
    """One decoder layer with bidirectional attention; parameter names as in the checkpoint."""

    def __init__(self, config: OftConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_width
        self.heads = config.heads
        self.input_layernorm = LlamaNorm(width, config.norm_epsilon)
        self.self_attn = nn.ModuleDict(
            {f'{part}_proj': nn.Linear(width, width, bias=False) for part in 'qkvo'}
        )
        self.post_attention_layernorm = LlamaNorm(width, config.norm_epsilon)
        self.mlp = nn.ModuleDict({
            'gate_proj': nn.Linear(width, hidden, bias=False),
            'up_proj': nn.Linear(width, hidden, bias=False),
            'down_proj': nn.Linear(hidden, width, bias=False),
        })  # fmt: skip

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """The state after this layer.

        Args:
            x: (B, tokens, width).
            cos: Rotary cosines (tokens, head_dim).
            sin: Rotary sines (tokens, head_dim).
            mask: (B, 1, 1, tokens), True where a token may be attended to; None for all.
        """
        batch, tokens, width = x.shape
        normed = self.input_layernorm(x)
        query, key, value = (
            self.self_attn[f'{part}_proj'](normed)
            .view(batch, tokens, self.heads, -1)
            .transpose(1, 2)
            for part in 'qkv'
        )
        mixed = functional.scaled_dot_product_attention(
            _rotate(query, cos, sin), _rotate(key, cos, sin), value, attn_mask=mask
        )
        x = x + self.self_attn['o_proj'](mixed.transpose(1, 2).reshape(batch, tokens, width))
        normed = self.post_attention_layernorm(x)
        gated = functional.silu(self.mlp['gate_proj'](normed)) * self.mlp['up_proj'](normed)
        return x + self.mlp['down_proj'](gated)


class ResidualBlock(nn.Module):
    """LayerNorm, Linear, ReLU, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ffn(x)


class ActionHead(nn.Module):
    """L1 regression head: one action from the states of its slots, concatenated."""

    def __init__(self, config: OftConfig) -> None:
        super().__init__()
        inner = config.action_dim * config.width
        self.layer_norm1 = nn.LayerNorm(inner)
        self.fc1 = nn.Linear(inner, config.width)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(2))
        self.layer_norm2 = nn.LayerNorm(config.width)
        self.fc2 = nn.Linear(config.width, config.action_dim)

    def forward(self, states: Tensor) -> Tensor:
        """(B, horizon, action_dim * width) -> (B, horizon, action_dim)."""
        x = functional.relu(self.fc1(self.layer_norm1(states)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        actions: Tensor = self.fc2(self.layer_norm2(x))
        return actions


def _mlp(*widths: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for left, right in zip(widths, widths[1:], strict=False):
        parts += [nn.Linear(left, right), nn.GELU()]
    return nn.Sequential(*parts[:-1])


class OpenVlaOft(nn.Module):
    """The whole policy; ``vision`` may be None where patch features are given."""

    def __init__(self, config: OftConfig, vision: tuple[nn.Module, nn.Module] | None) -> None:
        """Build an untrained network.

        Args:
            config: Its shape.
            vision: The DINOv2 and the SigLIP tower (timm vision transformers), in this order.
        """
        super().__init__()
        self.config = config
        self.vision = nn.ModuleList(vision) if vision is not None else None
        joined = sum(config.vision_widths)
        self.projector = _mlp(joined, 4 * joined, config.width, config.width)
        self.proprio_projector = _mlp(config.proprioception_dim, config.width, config.width)
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(LlamaLayer(config) for _ in range(config.layers))
        self.norm = LlamaNorm(config.width, config.norm_epsilon)
        self.action_head = ActionHead(config)
        cos, sin = _rotary_table(config)
        self.register_buffer('cos', cos, persistent=False)
        self.register_buffer('sin', sin, persistent=False)

    def patches(self, pixel_values: Tensor) -> Tensor:
        """Patch tokens of all cameras.

        Args:
            pixel_values: (B, cameras * 6, size, size): per camera three channels normalised
                for DINOv2, then three for SigLIP.

        Returns:
            (B, patches, width), camera after camera.
        """
        assert self.vision is not None, 'this network was built without vision towers'
        dino, siglip = self.vision
        tokens = []
        for image in pixel_values.split(6, dim=1):
            features = [_second_to_last(dino, image[:, :3]), _second_to_last(siglip, image[:, 3:])]
            tokens.append(torch.cat(features, dim=-1))
        projected: Tensor = self.projector(torch.cat(tokens, dim=1))
        return projected

    def sequence(self, patches: Tensor, prompt: Tensor, proprioception: Tensor) -> Tensor:
        """Embeddings entering layer 0: BOS, patches, proprioception, prompt, zero slots, end.

        Args:
            patches: (B, patches, width).
            prompt: Token ids (B, prompt_tokens), BOS first, unpadded.
            proprioception: Normalised, (B, proprioception_dim).
        """
        words = self.embed_tokens(prompt)
        state = self.proprio_projector(proprioception)[:, None]
        slots = words.new_zeros(len(words), self.config.slots, self.config.width)
        end = self.embed_tokens(torch.full_like(prompt[:, :1], 2))
        return torch.cat((words[:, :1], patches, state, words[:, 1:], slots, end), dim=1)

    def layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after one layer; every token sees every token."""
        state: Tensor = self.layers[layer](hidden, self.cos, self.sin, None)
        return state

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (B, horizon, dim), read from one position before the first slot."""
        config = self.config
        first = config.patches + 1 + config.prompt_tokens - 1
        states = self.norm(hidden[:, first : first + config.slots])
        actions: Tensor = self.action_head(states.reshape(len(states), config.action_horizon, -1))
        return actions


class OftParts:
    """The parts of an OpenVLA-OFT with controllers and adapters, as engines want them."""

    def __init__(self, network: OpenVlaOft, skipping: SkipModules) -> None:
        """Join a frozen network and its skipping modules, on one device."""
        self.network = network
        self.skipping = skipping

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self.skipping.layout

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """``pixel_values``, ``tokens``, ``proprioception`` -> hidden (1, tokens, width)."""
        kind = self.network.embed_tokens.weight.dtype
        patches = self.network.patches(inputs['pixel_values'].to(kind))
        return self.network.sequence(
            patches, inputs['tokens'], inputs['proprioception'].to(kind)
        )

    def layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after a layer."""
        return self.network.layer(layer, hidden)

    def score(self, layer: int, hidden: Tensor) -> Tensor:
        """Skip score, float32, (1,)."""
        score: Tensor = self.skipping.controller(layer)(hidden)
        return score

    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """The adapter of a dynamic layer."""
        state: Tensor = self.skipping.adapter(layer)(hidden)
        return state

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (1, horizon, dim)."""
        return self.network.head(hidden)


def _second_to_last(tower: nn.Module, image: Tensor) -> Tensor:
    """Patch states of the second-to-last block, no final norm, prefix tokens dropped."""
    depth = len(tower.blocks)  # type: ignore[arg-type]
    states = tower.get_intermediate_layers(image, n={depth - 2})  # type: ignore[operator]
    patches: Tensor = states[0]
    return patches


def _rotary_table(config: OftConfig) -> tuple[Tensor, Tensor]:
    half = torch.arange(0, config.width // config.heads, 2, dtype=torch.float64)
    rates = config.rotary_base ** (-half / (config.width // config.heads))
    angles = torch.arange(config.tokens, dtype=torch.float64)[:, None] * rates
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat((-right, left), dim=-1)
    return (x * cos.to(x.dtype) + turned * sin.to(x.dtype)).to(x.dtype)
