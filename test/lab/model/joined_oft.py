"""An OpenVLA-OFT joined with controllers and adapters in torch, without the exporter between."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.model.openvla_oft import OpenVlaOft, visible
from dysl_vla_ros.lab.model.skipping import SkipModules


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
        """One image per camera, ``tokens``, ``proprioception`` -> hidden (1, tokens, width)."""
        kind = self.network.embed_part.embed_tokens.weight.dtype
        images = [inputs[name].to(kind) for name in self.network.config.cameras]
        state = inputs['proprioception'].to(kind) if 'proprioception' in inputs else None
        return self.network.embed(self.network.vision(*images), inputs['tokens'], state)

    def layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after a layer."""
        return self.network.layer(layer, hidden)

    def score(self, layer: int, hidden: Tensor) -> Tensor:
        """Skip score, float32, (1,); its mean leaves the padding out."""
        seen = visible(hidden, self.network.config)
        score: Tensor = self.skipping.controller(layer)(hidden, seen)
        return score

    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """The adapter of a dynamic layer."""
        state: Tensor = self.skipping.adapter(layer)(hidden)
        return state

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (1, horizon, dim)."""
        return self.network.head(hidden)
