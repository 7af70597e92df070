"""The parts of a checkpoint as an engine on torch, FP32: what an exported bundle is held against.

It runs the very modules that the exporter was given, without ONNX in between. All of them are in
memory at once, so a 7B model needs 27 GB here, of the GPU where it runs there; hold its FP16
bundle against its FP32 bundle where that is too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.export.parts import Exportable, Part, part_names


class PartsEngine:
    """The engine protocol over an ``Exportable``; see ``engines.engine.Engine``."""

    def __init__(self, source: Exportable, device: torch.device | str = 'cpu') -> None:
        """Build every part, one after the other, and put it on a device."""
        self._layout = source.layout
        self._device = torch.device(device)
        self._parts: dict[str, Part] = {}
        for name in part_names(source.layout):
            part = source.part(name)
            part.module.to(self._device)
            self._parts[name] = part
        self._gates: dict[int, float] = {}

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._layout

    @property
    def device(self) -> str:
        """In words."""
        kind = self._device.type.upper()
        return f'{kind} (torch {torch.__version__}, the checkpoint itself)'

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> Tensor:
        """Vision and embedding."""
        known = {name: torch.from_numpy(np.ascontiguousarray(v)).to(self._device)
                 for name, v in inputs.items()}  # fmt: skip
        for name in ('vision', 'embed'):
            part = self._parts[name]
            missing = [key for key in part.inputs if key not in known]
            if missing:
                raise EngineError(f'inputs = {sorted(known)}: expected {missing} too')
            known |= self._run(name, *(known[key] for key in part.inputs))
        return known['hidden']

    def run_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after ``layer``; the next gate comes with it."""
        found = self._run(f'layer_{layer:02d}', hidden)
        self._gates = {layer + 1: float(found['gate'][0])} if 'gate' in found else {}
        return found['hidden_out']

    def skip_score(self, layer: int, hidden: Tensor) -> float:
        """The gate that the layer before left."""
        if layer not in self._gates:
            raise EngineError(f'score of layer {layer}: layer {layer - 1} did not run just before')
        return self._gates[layer]

    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """Run an adapter."""
        self._gates = {}
        return self._run(f'bridge_{layer:02d}', hidden)['hidden_out']

    def keep(self, hidden: Tensor) -> object:
        """The state and its gate; torch never overwrites a state."""
        return hidden, dict(self._gates)

    def restore(self, kept: object) -> Tensor:
        """The hidden state that ``keep`` kept."""
        assert isinstance(kept, tuple)
        hidden, self._gates = kept
        assert isinstance(hidden, Tensor)
        return hidden

    def decode(self, hidden: Tensor) -> FloatArray:
        """Normalised actions, shape (action_horizon, action_dim)."""
        actions = self._run('head', hidden)['actions'][0]
        return np.asarray(actions.double().cpu().numpy())

    def read(self, hidden: Tensor) -> NDArray[np.float32]:
        """A copy of the state."""
        return np.array(hidden.cpu().numpy(), dtype=np.float32)

    def write(self, values: NDArray[Any]) -> Tensor:
        """A state with these values."""
        self._gates = {}
        return torch.from_numpy(np.array(values, dtype=np.float32)).to(self._device)

    def synchronize(self) -> None:
        """Wait for a GPU; on a CPU everything ran at once."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Drop the weights."""
        self._parts = {}

    @torch.inference_mode()
    def _run(self, name: str, *arguments: Tensor) -> dict[str, Tensor]:
        part = self._parts[name]
        found = part.module(*arguments)
        several = found if isinstance(found, tuple) else (found,)
        return dict(zip(part.outputs, several, strict=True))
