"""Controllers and adapters of an OpenVLA-OFT: its padding stays out of the mean."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, visible
from dysl_vla_ros.lab.model.skipping import Controller, SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping, load_skipping, save_skipping

FAMILY = 'openvla_oft'


class OftController(Controller):
    """A controller that leaves the padding out of its mean, in training as on the robot."""

    def __init__(self, config: OftConfig) -> None:
        super().__init__(config.width)
        self.config = config

    def logit(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().logit(hidden, visible(hidden, self.config) if mask is None else mask)


def oft_skip_modules(layout: LayerLayout, config: OftConfig, rank: int = 0) -> SkipModules:
    """Untrained controllers and adapters; ``rank`` of the adapters, 0 takes width / 16."""
    modules = SkipModules(layout, config.width, rank)
    for layer in layout.dynamic_layers:
        fresh = OftController(config)
        fresh.load_state_dict(modules.controller(layer).state_dict())
        modules.controllers[str(layer)] = fresh
    return modules


def save_oft_skipping(path: Path, skipping: Skipping) -> None:
    """Write atomically."""
    save_skipping(path, skipping, FAMILY)


def load_oft_skipping(path: Path, config: OftConfig) -> Skipping:
    """Read what ``save_oft_skipping`` wrote; errors as of ``load_skipping``."""
    return load_skipping(path, FAMILY, config.layers,
                         lambda layout, rank: oft_skip_modules(layout, config, rank))  # fmt: skip
