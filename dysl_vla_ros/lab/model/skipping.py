"""What the skipping adds to a frozen stack: a controller and an adapter per dynamic layer.

Source: DySL-VLA, arXiv 2602.22896; the shapes inside are ours where the paper is silent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.policy_network import RMSNorm


class Controller(nn.Module):
    """Scores the state entering a dynamic layer: above tau, the rest of the segment is skipped.

    One score per sample, not per token, so that a skip saves time at batch 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(width // 16, 1)
        self.norm = RMSNorm(width)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, 1)
        nn.init.zeros_(self.inner.bias)
        # Starts undecided at 0.5: neither branch of the soft mix is dead.
        nn.init.zeros_(self.outer.bias)
        nn.init.normal_(self.outer.weight, std=0.01)

    def logit(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """The score before the sigmoid, (B,).

        Args:
            hidden: (B, tokens, width).
            mask: 1 where a token counts, (B, tokens); None counts all.
        """
        normed = self.norm(hidden.float())
        if mask is None:
            pooled = normed.mean(dim=1)
        else:
            weights = mask.to(normed.dtype)[..., None]
            pooled = (normed * weights).sum(dim=1) / weights.sum(dim=1)
        logit: Tensor = self.outer(functional.silu(self.inner(pooled)))
        return logit[:, 0]

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.logit(hidden, mask))


class Adapter(nn.Module):
    """Low-rank stand-in for the rest of a segment: ``h + W_up(act(W_down(RMSNorm(h))))``."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.up(functional.silu(self.down(self.norm(hidden))))


class SkipModules(nn.Module):
    """Controllers and adapters of all dynamic layers, keyed by layer."""

    def __init__(self, layout: LayerLayout, width: int, rank: int = 0) -> None:
        """Build untrained modules.

        Args:
            layout: Which layers are dynamic.
            width: Size of a token.
            rank: Of the adapters; 0 takes width / 16.
        """
        super().__init__()
        if rank < 0 or rank > width:
            raise ConfigError('rank', rank, f'within 0..{width}')
        self.layout = layout
        self.rank = rank or max(width // 16, 1)
        keys = [str(layer) for layer in layout.dynamic_layers]
        self.controllers = nn.ModuleDict({key: Controller(width) for key in keys})
        self.adapters = nn.ModuleDict({key: Adapter(width, self.rank) for key in keys})

    def controller(self, layer: int) -> Controller:
        """The controller that looks at the state entering ``layer``."""
        module = self.controllers[str(layer)]
        assert isinstance(module, Controller)
        return module

    def adapter(self, layer: int) -> Adapter:
        """The adapter from ``layer`` to the next static layer."""
        module = self.adapters[str(layer)]
        assert isinstance(module, Adapter)
        return module
