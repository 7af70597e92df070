"""An exported bundle as the parts that the CUDA engine captures.

The robot's side never imports the torch model: a workstation runs what the robot runs, the ONNX
files of the bundle, only captured from torch instead of compiled by TensorRT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.cuda.engine import CudaEngine, first_line
from dysl_vla_ros.engines.cuda.onnx_torch import OnnxFunction
from dysl_vla_ros.engines.cuda.stream import CudaStream, Stream
from dysl_vla_ros.errors import EngineError


class BundleParts:
    """``TorchParts`` over the graphs of a bundle."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        """Load every graph, one after the other.

        Args:
            bundle: Verified bundle.
            device: Where its weights go.

        Raises:
            EngineError: A graph cannot be read, or has an operator that is not known.
        """
        self._manifest = bundle.manifest
        self._graphs = {
            name: OnnxFunction(bundle.graph(name), device) for name in self._manifest.segments
        }
        masks = [t for t in self._manifest.segments['embed'].outputs if t.name == 'mask']
        self._mask = [
            torch.zeros(t.shape, dtype=getattr(torch, t.dtype), device=device) for t in masks
        ]

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._manifest.layout

    @property
    def state(self) -> tuple[Tensor, ...]:
        """The mask, where the bundle has one."""
        return tuple(self._mask)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Vision and embedding."""
        given = dict(inputs)
        if 'vision' in self._graphs:
            (given['patches'],) = self._run('vision', given, ('patches',))
        state = self._hidden_name('embed', 'outputs')
        hidden, *masks = self._run('embed', given, (state, *('mask' for _ in self._mask)))
        for buffer, mask in zip(self._mask, masks, strict=True):
            buffer.copy_(mask)
        return hidden

    def layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after a layer; its gate is not computed."""
        return self._step(f'layer_{layer:02d}', hidden)

    def score(self, layer: int, hidden: Tensor) -> Tensor:
        """The gate that the graph of the layer before exports, from the state alone."""
        name = f'layer_{layer - 1:02d}'
        given = {self._hidden_name(name, 'outputs'): hidden}
        return self._run(name, given, ('gate',))[0]

    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """The adapter of a dynamic layer."""
        return self._step(f'bridge_{layer:02d}', hidden)

    def head(self, hidden: Tensor) -> Tensor:
        """Normalised actions (1, horizon, dim)."""
        given = {self._hidden_name('head', 'inputs'): hidden}
        return self._run('head', given, ('actions',))[0]

    def _step(self, name: str, hidden: Tensor) -> Tensor:
        given = {self._hidden_name(name, 'inputs'): hidden}
        return self._run(name, given, (self._hidden_name(name, 'outputs'),))[0]

    def _run(
        self, name: str, given: Mapping[str, Tensor], wanted: tuple[str, ...]
    ) -> tuple[Tensor, ...]:
        given = dict(given)
        if name != 'embed' and self._mask:
            given['mask'] = self._mask[0]
        return self._graphs[name](given, wanted)

    def _hidden_name(self, name: str, side: str) -> str:
        tensors = getattr(self._manifest.segments[name], side)
        (found,) = [t.name for t in tensors if t.name in ('hidden', 'hidden_out')]
        return str(found)


def open_cuda_engine(bundle: Bundle, stream: Stream | None = None) -> CudaEngine:
    """Open a bundle on the CUDA device.

    Args:
        bundle: Verified bundle.
        stream: Default: a new one on the current CUDA device.

    Raises:
        EngineError: There is no device, or a graph cannot be run.
    """
    stream = stream or CudaStream()
    try:
        parts = BundleParts(bundle, stream.device)
        return CudaEngine(parts, _example(bundle), stream)
    except RuntimeError as error:  # out of memory, or a kernel that the card cannot run
        size = sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e9
        raise EngineError(
            f'{bundle.manifest.name} ({size:.1f} GB) on {stream.name}: {first_line(error)}'
        ) from error


def _example(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Zeros for every input that the bundle takes from outside."""
    segments = bundle.manifest.segments
    tensors = [t for name in ('vision', 'embed') if name in segments
               for t in segments[name].inputs]  # fmt: skip
    return {t.name: np.zeros(t.shape, t.dtype) for t in tensors if t.name != 'patches'}
