"""The dense policy in one file: images, words and joints in, a chunk of actions out.

Structured as its big relatives (OpenVLA-OFT), only narrow: a vision stem makes patch tokens; text,
one proprioception token and one learned slot per action follow; a stack of pre-norm layers with
bidirectional attention reads them all; a head turns the slots into actions. Each part can be
called on its own, because the exporter writes one graph per part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig

Answers = tuple[Tensor, Tensor, Tensor]
"""Of the auxiliary heads; see ``AuxiliaryHeads.forward``."""

_LOUD = 3.0
"""Length, on the straight way, of a proprioception of 1."""


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        return (wide * self.weight).to(x.dtype)


def rotary_table(tokens: int, head_dim: int, base: float = 100.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of rotary positions (Su et al., 2021), each (tokens, head_dim).

    The base is small because the sequence is: its slowest wave spans a few hundred tokens.
    """
    rates = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.arange(tokens, dtype=torch.float64)[:, None] * rates
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of ``x`` (..., tokens, head_dim) by their position."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention, each (B, heads, tokens, head_dim); the result is of the kind of ``value``.

    In bf16 on a CPU it is computed in float32: torch's own gradient of the other takes four times
    as long, which was 45 % of an update (torch 2.13).
    """
    kind = value.dtype
    if kind == torch.bfloat16 and value.device.type == 'cpu':
        with torch.autocast('cpu', enabled=False):
            wide = functional.scaled_dot_product_attention(
                query.float(), key.float(), value.float()
            )
        return wide.to(kind)
    return functional.scaled_dot_product_attention(query.to(kind), key.to(kind), value)


class Layer(nn.Module):
    """One backbone layer: attention and SwiGLU, each pre-normed, each added to the stream."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.mlp_ratio
        self.head_dim = config.head_dim
        self.attention_norm = RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_norm = RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        cos, sin = rotary_table(config.tokens, config.head_dim)
        self.register_buffer('cos', cos, persistent=False)
        self.register_buffer('sin', sin, persistent=False)
        # Many layers each add a little: with larger steps at the start a deep narrow stack
        # does not find the named object within the first thousands of updates.
        scale = (1.0 / config.layers) ** 0.5
        for linear in (self.attention_out, self.down):
            nn.init.normal_(linear.weight, std=scale * linear.in_features**-0.5)
        for linear in (self.qkv, self.gate_up):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape
        qkv = self.qkv(self.attention_norm(hidden))
        qkv = qkv.view(batch, tokens, 3, width // self.head_dim, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query = rotate(query, self.cos, self.sin)  # type: ignore[arg-type]
        key = rotate(key, self.cos, self.sin)  # type: ignore[arg-type]
        mixed = attend(query, key, value)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)
        hidden = hidden + self.attention_out(mixed)
        gate, up = self.gate_up(self.mlp_norm(hidden)).chunk(2, dim=-1)
        return hidden + self.down(functional.silu(gate) * up)


class Stem(nn.Module):
    """One camera: image (B, 3, H, W) in [-1, 1] -> patch tokens (B, patches, width)."""

    def __init__(self, camera: CameraShape, config: PolicyConfig) -> None:
        super().__init__()
        first, second, third = config.stem_channels
        self.halvings = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2), nn.GroupNorm(4, first), nn.SiLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1), nn.GroupNorm(4, second), nn.SiLU(),
            nn.Conv2d(second, third, 3, stride=2, padding=1), nn.GroupNorm(8, third), nn.SiLU(),
            nn.Conv2d(third, third, 3, padding=1), nn.GroupNorm(8, third), nn.SiLU(),
            nn.Conv2d(third, config.width, 3, stride=2, padding=1),
        )  # fmt: skip
        self.dropped_rows = camera.dropped_rows
        self.position = nn.Parameter(torch.randn(camera.patches, config.width) * 0.5)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.halvings(image)[:, :, self.dropped_rows :]
        return patches.flatten(2).transpose(1, 2) + self.position


class ActionHead(nn.Module):
    """The states of the action slots -> normalised actions (B, horizon, dim)."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.horizon = config.action_horizon
        self.norm = RMSNorm(config.width)
        self.inner = nn.Linear(config.width, 2 * config.width)
        self.outer = nn.Linear(2 * config.width, config.action_dim)
        self.direct = nn.Linear(config.width, config.action_dim) if config.direct else None

    def forward(self, hidden: Tensor) -> Tensor:
        state = hidden[:, -self.horizon :]
        actions: Tensor = self.outer(functional.silu(self.inner(self.norm(state))))
        return actions if self.direct is None else actions + self.direct(state)


class AuxiliaryHeads(nn.Module):
    """Training-time questions about a state in mid-stack; the actions never read the answers.

    They teach the lower layers to find what the words name, which the action loss alone needs
    far more samples for.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.patches, self.horizon = config.cameras[0].patches, config.action_horizon
        self.norm = RMSNorm(config.width)
        self.point = nn.Linear(config.width, 2)
        self.offset = nn.Linear(config.width, 6)
        self.name = nn.Linear(config.width, config.names)

    def forward(self, hidden: Tensor, patches: Tensor) -> Answers:
        """Answers from a state in mid-stack and from the stem.

        Args:
            hidden: State entering the auxiliary layer, (B, tokens, width).
            patches: As they leave the stems, (B, patches, width): colour and shape must be in
                a token before any layer can compare it with a word.

        Returns:
            Logits (B, 2, patches of the first camera): where the named object and the
            destination are; offsets (B, 2, 3) of both from the gripper [decimetres]; logits
            (B, patches of the first camera, names) of what each patch shows.
        """
        normed = self.norm(hidden)
        logits = self.point(normed[:, : self.patches]).transpose(1, 2)
        offsets = self.offset(normed[:, -self.horizon :].mean(dim=1))
        names = self.name(patches[:, : self.patches])
        return logits, offsets.view(-1, 2, 3), names


class PolicyNetwork(nn.Module):
    """The dense model; see the module's docstring."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stems = nn.ModuleList(Stem(camera, config) for camera in config.cameras)
        self.words = nn.Embedding(config.vocabulary, width)
        nn.init.normal_(self.words.weight, std=0.7)
        self.joints_in = nn.Linear(config.proprioception_dim, width)
        self.joints_out = nn.Linear(width, width)
        self.slots = nn.Parameter(torch.randn(config.action_horizon, width) * 0.7)
        self.joints_to_slots = (
            nn.Linear(config.proprioception_dim, width, bias=False) if config.direct else None
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.action_head = ActionHead(config)
        self.auxiliary = AuxiliaryHeads(config)
        if config.direct:
            self._lay_direct_way()

    @torch.no_grad()
    def _lay_direct_way(self) -> None:
        """Begin with the first numbers of the proprioception as the actions: stand still.

        They travel in directions of their own, into which no untrained layer writes.
        """
        config, direct = self.config, self.action_head.direct
        assert direct is not None
        assert self.joints_to_slots is not None
        size = min(config.proprioception_dim, config.width)
        axes = torch.linalg.qr(torch.randn(config.width, size))[0]
        self.slots.sub_(self.slots @ axes @ axes.T)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            for linear in (layer.attention_out, layer.down):
                linear.weight.sub_(axes @ (axes.T @ linear.weight))
        nn.init.zeros_(self.action_head.outer.weight)
        nn.init.zeros_(self.action_head.outer.bias)
        nn.init.zeros_(direct.weight)
        nn.init.zeros_(direct.bias)
        nn.init.zeros_(self.joints_to_slots.weight)
        self.joints_to_slots.weight[:, :size] = _LOUD * axes
        same = min(size, config.action_dim)
        direct.weight[:same] = axes[:, :same].T / _LOUD

    def vision(self, *images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1], one per camera -> patch tokens (B, patches, width)."""
        stems = zip(self.stems, images, strict=True)
        return torch.cat([stem(image) for stem, image in stems], dim=1)

    def embed(self, patches: Tensor, tokens: Tensor, proprioception: Tensor) -> Tensor:
        """The state entering layer 0, (B, tokens, width).

        Args:
            patches: (B, patches, width).
            tokens: int64 (B, instruction_tokens).
            proprioception: Normalised, (B, proprioception_dim).
        """
        joints = self.joints_out(functional.silu(self.joints_in(proprioception)))
        slots = self.slots.expand(patches.shape[0], -1, -1)
        if self.joints_to_slots is not None:
            slots = slots + self.joints_to_slots(proprioception)[:, None]
        return torch.cat((patches, self.words(tokens), joints[:, None], slots), dim=1)

    def layer(self, index: int, hidden: Tensor) -> Tensor:
        """The state after layer ``index``."""
        after: Tensor = self.layers[index](hidden)
        return after

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (B, action_horizon, action_dim) from the last state."""
        actions: Tensor = self.action_head(hidden)
        return actions

    def encode(self, images: tuple[Tensor, ...], tokens: Tensor, joints: Tensor) -> Tensor:
        """Vision and embedding: the state entering layer 0."""
        return self.embed(self.vision(*images), tokens, joints)

    def states(self, hidden: Tensor) -> list[Tensor]:
        """The states entering layers 0..L-1 and, last, the one after the stack."""
        states = [hidden]
        for index in range(self.config.layers):
            states.append(self.layer(index, states[-1]))
        return states

    def forward(
        self, images: tuple[Tensor, ...], tokens: Tensor, joints: Tensor,
        exits: tuple[int, ...] = (),
    ) -> tuple[Tensor, Answers, list[Tensor]]:  # fmt: skip
        """A pass for training: actions, the auxiliary heads' answers, and early actions.

        Args:
            images: One per camera, (B, 3, H, W) in [-1, 1].
            tokens: int64 (B, instruction_tokens).
            joints: Normalised proprioception, (B, proprioception_dim).
            exits: Layers whose entering state also goes straight to the last layer and the head,
                as a jump without an adapter would (early-exit loss, LayerSkip, arXiv 2404.16710).

        Returns:
            Normalised actions (B, horizon, dim); answers; the early actions, one per exit.
        """
        last = self.config.layers - 1
        patches = self.vision(*images)
        hidden = self.embed(patches, tokens, joints)
        answers: Answers | None = None
        early = []
        for index in range(self.config.layers):
            if index == self.config.auxiliary_layer:
                answers = self.auxiliary(hidden, patches)
            if index in exits:
                early.append(self.head(self.layer(last, hidden)))
            hidden = self.layer(index, hidden)
        assert answers is not None  # auxiliary_layer lies inside the stack: PolicyConfig checks
        return self.head(hidden), answers, early
