"""The reference engine: the same protocol over the torch model, for parity and offline use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules


class TorchEngine:
    """Batch 1, float32, any torch device."""

    def __init__(self, network: PolicyNetwork, skipping: SkipModules, device: str = 'cpu') -> None:
        """Take a trained network and its skipping parts; both are set to evaluation mode."""
        self._network = network.to(device).eval()
        self._skipping = skipping.to(device).eval()
        self._device = torch.device(device)

    @property
    def layout(self) -> LayerLayout:
        """Depth, static layers, segments."""
        return self._skipping.layout

    @property
    def device(self) -> str:
        """In words, for diagnostics."""
        return f'{self._device.type.upper()} (torch {torch.__version__})'

    @torch.inference_mode()
    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> Tensor:
        """The state entering layer 0; inputs are named and shaped as the exported graphs'."""
        names = [camera.name for camera in self._network.config.cameras]
        missing = [n for n in (*names, 'tokens', 'proprioception') if n not in inputs]
        if missing:
            raise EngineError(f'inputs = {sorted(inputs)}: expected {missing} too')
        images = tuple(self._tensor(inputs[name], torch.float32) for name in names)
        tokens = self._tensor(inputs['tokens'], torch.int64)
        joints = self._tensor(inputs['proprioception'], torch.float32)
        return self._network.encode(images, tokens, joints)

    @torch.inference_mode()
    def run_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after ``layer``."""
        return self._network.layer(layer, hidden)

    @torch.inference_mode()
    def skip_score(self, layer: int, hidden: Tensor) -> float:
        """Score in [0, 1] of the controller at a dynamic layer."""
        return float(self._skipping.controller(layer)(hidden)[0])

    @torch.inference_mode()
    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """Adapter: from the state entering ``layer`` to that entering the next static one."""
        bridged: Tensor = self._skipping.adapter(layer)(hidden)
        return bridged

    def keep(self, hidden: Tensor) -> object:
        """A copy; torch states are never overwritten, but the protocol promises one."""
        return hidden.clone()

    def restore(self, kept: object) -> Tensor:
        """The hidden state that ``keep`` copied."""
        assert isinstance(kept, Tensor)
        return kept

    @torch.inference_mode()
    def decode(self, hidden: Tensor) -> FloatArray:
        """Normalised actions, shape (action_horizon, action_dim)."""
        return np.asarray(self._network.head(hidden)[0].double().cpu().numpy())

    def close(self) -> None:
        """Nothing to release."""

    def _tensor(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=self._device)
