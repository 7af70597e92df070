"""The smallest model that fits: a stack of layers between an encoder and a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIZE, WORDS, JOINTS, HORIZON, ACTIONS = 16, 8, 7, 4, 7
TOKENS = 4 + WORDS + 1 + HORIZON


class Vision(nn.Module):
    """(B, 3, 16, 16) -> four patches (B, 4, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)

    def forward(self, image: Tensor) -> Tensor:
        return self.patches(image).flatten(2).transpose(1, 2)


class Embed(nn.Module):
    """Patches, words and joints -> the state entering layer 0; the last tokens are actions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words, self.joints = nn.Embedding(64, width), nn.Linear(JOINTS, width)
        self.slots = nn.Parameter(torch.zeros(1, HORIZON, width))

    def forward(self, patches: Tensor, tokens: Tensor, proprioception: Tensor) -> Tensor:
        slots = self.slots.expand(len(patches), -1, -1)
        joints = self.joints(proprioception)[:, None]
        return torch.cat((patches, self.words(tokens), joints, slots), dim=1)


class Layer(nn.Module):
    """Mixes tokens, then numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.inner = nn.Linear(TOKENS, TOKENS), nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        mixed = hidden + self.mix(hidden.transpose(1, 2)).transpose(1, 2)
        return mixed + torch.tanh(self.inner(mixed))


class Head(nn.Module):
    """The last state -> normalised actions (B, 4, 7)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, ACTIONS)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(hidden[:, -HORIZON:])


class Network(nn.Module):
    """All of it."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.vision, self.embed, self.head = Vision(width), Embed(width), Head(width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
