"""Torch on an NVIDIA GPU, one CUDA graph per segment: for workstations and for measuring.

Every graph reads and writes one static hidden buffer on one stream, so any skip pattern is a
sequence of graph launches without allocation. The gate of the next layer is computed inside the
layer's graph and copied to pinned host memory by it; reading a score waits for one event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.engines.engine import LayerLayout
from dysl_vla_ros.errors import EngineError

_WARMUP_RUNS = 3


class TorchParts(Protocol):
    """The parts of a policy as torch functions of static shape, batch 1."""

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Hidden state entering layer 0, shape (1, tokens, width)."""

    def layer(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """The state after a layer."""

    def score(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """Skip score of the controller at a dynamic layer, float32, shape (1,)."""

    def bridge(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """The adapter of a dynamic layer."""

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Normalised actions, shape (1, horizon, dim)."""


class CudaEngine:
    """The engine protocol over captured graphs; see ``engines.engine.Engine``."""

    def __init__(self, parts: TorchParts, example: Mapping[str, NDArray[Any]]) -> None:
        """Capture every segment.

        Args:
            parts: On a CUDA device, in evaluation mode.
            example: Inputs that fix every shape and type.

        Raises:
            EngineError: There is no CUDA device.
        """
        if not torch.cuda.is_available():
            raise EngineError(
                'no CUDA device: the cuda back end needs an NVIDIA GPU and a CUDA build of torch; '
                'use engine.backend = onnxruntime on this machine'
            )
        self._parts = parts
        self._stream = torch.cuda.Stream()
        self._inputs = {
            name: torch.from_numpy(np.ascontiguousarray(value)).cuda()
            for name, value in example.items()
        }
        with torch.no_grad(), torch.cuda.stream(self._stream):
            self._hidden = parts.embed(self._inputs).contiguous()
        total = self.layout.layers_total
        self._gates = torch.full((total,), float('nan'), device='cuda')
        self._gates_host = torch.full((total,), float('nan'), pin_memory=True)
        self._read = torch.cuda.Event()
        self._graphs = self._capture_all()

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._parts.layout

    @property
    def device(self) -> str:
        """GPU name and torch version."""
        return f'{torch.cuda.get_device_name()} (torch {torch.__version__}, CUDA graphs)'

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> torch.Tensor:
        """Copy the inputs to the device and run vision and embedding."""
        for name, buffer in self._inputs.items():
            if name not in inputs or tuple(inputs[name].shape) != tuple(buffer.shape):
                found = None if name not in inputs else inputs[name].shape
                raise EngineError(f'input {name!r}: shape {found}, expected {tuple(buffer.shape)}')
            with torch.cuda.stream(self._stream):
                buffer.copy_(torch.from_numpy(np.ascontiguousarray(inputs[name])))
        return self._launch('embed')

    def run_layer(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """Launch a layer, with the next layer's gate."""
        return self._launch(f'layer_{layer}')

    def skip_score(self, layer: int, hidden: torch.Tensor) -> float:
        """Wait for the device and read one pinned float."""
        self._read.record(self._stream)
        self._read.synchronize()
        return float(self._gates_host[layer])

    def bridge(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """Launch an adapter."""
        return self._launch(f'bridge_{layer}')

    def keep(self, hidden: torch.Tensor) -> object:
        """A device copy, ordered on the engine's stream."""
        with torch.cuda.stream(self._stream):
            return self._hidden.clone()

    def restore(self, kept: object) -> torch.Tensor:
        """Copy back into the static buffer."""
        assert isinstance(kept, torch.Tensor)
        with torch.cuda.stream(self._stream):
            self._hidden.copy_(kept)
        return self._hidden

    def decode(self, hidden: torch.Tensor) -> FloatArray:
        """Run the head and wait for the actions."""
        actions = self._launch('head')
        self._stream.synchronize()
        return actions[0].double().cpu().numpy()

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def close(self) -> None:
        """Free graphs and buffers."""
        self._graphs = {}

    def _capture_all(self) -> dict[str, tuple[torch.cuda.CUDAGraph, torch.Tensor]]:
        parts, layout = self._parts, self.layout
        dynamic = set(layout.dynamic_layers)
        pool = torch.cuda.graph_pool_handle()

        def layer_with_gate(layer: int) -> torch.Tensor:
            self._hidden.copy_(parts.layer(layer, self._hidden))
            if layer + 1 in dynamic:
                following = slice(layer + 1, layer + 2)
                self._gates[following] = parts.score(layer + 1, self._hidden)
                self._gates_host[following].copy_(self._gates[following], non_blocking=True)
            return self._hidden

        bodies: dict[str, Callable[[], torch.Tensor]] = {
            'embed': lambda: self._hidden.copy_(parts.embed(self._inputs)),
            'head': lambda: parts.head(self._hidden),
        }
        for layer in range(layout.layers_total):
            bodies[f'layer_{layer}'] = lambda layer=layer: layer_with_gate(layer)  # type: ignore[misc]
        for layer in layout.dynamic_layers:
            bodies[f'bridge_{layer}'] = lambda layer=layer: self._hidden.copy_(  # type: ignore[misc]
                parts.bridge(layer, self._hidden)
            )
        return {name: self._capture(body, pool) for name, body in bodies.items()}

    def _capture(
        self, body: Callable[[], torch.Tensor], pool: Any
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad():
            with torch.cuda.stream(self._stream):
                for _ in range(_WARMUP_RUNS):
                    body()
            self._stream.synchronize()
            with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                output = body()
        return graph, output

    def _launch(self, name: str) -> torch.Tensor:
        graph, output = self._graphs[name]
        with torch.cuda.stream(self._stream):
            graph.replay()
        return output
