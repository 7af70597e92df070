"""An exported bundle as the parts that the CUDA engine captures.

The robot's side never imports the torch model: a workstation runs what the robot runs, the ONNX
files of the bundle, only captured from torch instead of compiled by TensorRT.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.cuda.compiled import command, load_compiled, target_of
from dysl_vla_ros.engines.cuda.engine import CudaEngine, first_line
from dysl_vla_ros.engines.cuda.onnx_torch import OnnxFunction
from dysl_vla_ros.engines.cuda.pieces import Compiled, Run, Together, runs_of
from dysl_vla_ros.engines.cuda.stream import CudaStream, Stream
from dysl_vla_ros.engines.tensorrt.plans import plans_root
from dysl_vla_ros.errors import EngineError

_log = logging.getLogger(__name__)
_HIDDEN = -1e4
"""A key that gets this much or less added to its score gets no attention at all."""


class BundleParts:
    """``TorchParts`` over the graphs of a bundle."""

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device,
        compiled: Mapping[str, Compiled] | None = None,
        together: Together | None = None,
    ) -> None:
        """Load every graph, one after the other.

        Args:
            bundle: Verified bundle.
            device: Where its weights go.
            compiled: Runs of the graphs, by key; those that are not there go step by step.
            together: Runs what does not need each other; default: in turn.

        Raises:
            EngineError: A graph cannot be read, or has an operator that is not known.
        """
        self._manifest = bundle.manifest
        self._graphs = {
            name: OnnxFunction(bundle.graph(name), device) for name in self._manifest.segments
        }
        self._compiled = {} if compiled is None else compiled
        self._together = together
        self._padding: int | None = None
        self._spares_mask = self._finds_padding()
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

    def runs(self) -> dict[str, tuple[Run, Mapping[str, Tensor], list[str]]]:
        """All that can be compiled.

        Returns:
            By key: one of the runs that have it, the constants of its graph, and the names of all
            segments that have it.
        """
        found: dict[str, tuple[Run, Mapping[str, Tensor], list[str]]] = {}
        for name, given, wanted in self._calls():
            graph = self._graphs[name]
            for run in runs_of(graph.pieces(given, wanted)):
                found.setdefault(run.key, (run, graph.constants, []))[2].append(name)
        return found

    def padding_of(self, inputs: Mapping[str, NDArray[Any]]) -> int | None:
        """How many rows of the state are padding; None where no mask depends on it.

        None too where padding stands between words: another number of rows might be hidden, or
        others. An instruction is always padded at its end.
        """
        if not self._spares_mask or 'tokens' not in inputs:
            return None
        pads = inputs['tokens'].reshape(-1) == self._manifest.instruction.pad_id
        count = int(pads.sum())
        return count if pads[len(pads) - count :].all() else None

    def use_padding(self, padding: int | None) -> None:
        """Layers leave out the first so many keys from now on; None masks what is padding."""
        self._padding = padding

    def hides_just(self, padding: int, hidden: Tensor) -> Tensor:
        """Whether the mask of this state hides the first so many keys and no other, bool."""
        given, _, mask = self._first_layer()
        (bias,) = self._graphs['layer_00'](self._given('layer_00', {given: hidden}), (mask,))
        return (bias[..., :padding] <= _HIDDEN).all() & (bias[..., padding:] == 0).all()

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Vision and embedding."""
        given = dict(inputs)
        if 'vision' in self._graphs:
            (given['patches'],) = self._run('vision', given, ('patches',))
        names = tuple(tensor.name for tensor in self._manifest.segments['embed'].outputs)
        found = dict(zip(names, self._run('embed', given, names), strict=True))
        hidden = found.pop(self._hidden_name('embed', 'outputs'))
        masks = list(found.values())
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
        return self._graphs[name](
            self._given(name, given), wanted, self._compiled, self._together, self._padding
        )

    def _given(self, name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs, with the mask that the embedding left."""
        found = {key: value for key, value in given.items() if key in self._reads(name)}
        if name not in ('vision', 'embed') and self._mask:
            found['mask'] = self._mask[0]
        return found

    def _reads(self, name: str) -> set[str]:
        spec = self._manifest.segments[name]
        return {tensor.name for tensor in (*spec.inputs, *spec.outputs)}

    def _calls(self) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Every way in which ``_run`` is called: segment, inputs, results."""
        found = []
        for name, spec in self._manifest.segments.items():
            given = tuple(tensor.name for tensor in spec.inputs)
            results = tuple(t.name for t in spec.outputs if t.name != 'gate')
            found.append((name, given, results))
            if any(t.name == 'gate' for t in spec.outputs):
                rest = tuple(n for n in given if n not in ('hidden', 'hidden_out'))
                found.append((name, (self._hidden_name(name, 'outputs'), *rest), ('gate',)))
        return found

    def _first_layer(self) -> tuple[str, str, str]:
        """Names of its state, of its result, and of the mask inside."""
        given, result = (self._hidden_name('layer_00', side) for side in ('inputs', 'outputs'))
        return given, result, self._graphs['layer_00'].mask_of((given,), (result,))

    def _finds_padding(self) -> bool:
        """Whether every layer masks its state, and all in the same way, from the state alone."""
        found = set()
        for layer in range(self._manifest.layout.layers_total):
            name = f'layer_{layer:02d}'
            given = tuple(tensor.name for tensor in self._manifest.segments[name].inputs)
            result = (self._hidden_name(name, 'outputs'),)
            masked = len(given) == 1 and self._graphs[name].mask_of(given, result)
            pieces = runs_of(self._graphs[name].pieces(given, result)) if masked else []
            found.add(pieces[0].key if pieces else '')
        return len(found) == 1 and '' not in found

    def _hidden_name(self, name: str, side: str) -> str:
        tensors = getattr(self._manifest.segments[name], side)
        (found,) = [t.name for t in tensors if t.name in ('hidden', 'hidden_out')]
        return str(found)


def open_cuda_engine(bundle: Bundle, stream: Stream | None = None, plans: str = '') -> CudaEngine:
    """Open a bundle on the CUDA device, with the pieces that ``dysl build`` compiled for it.

    Args:
        bundle: Verified bundle.
        stream: Default: a new one on the current CUDA device.
        plans: Folder given to ``dysl build --plans``; '' = ``plans/`` in the bundle.

    Raises:
        EngineError: There is no device, a graph cannot be run, or pieces were compiled that do
            not fit this machine or are not whole.
    """
    stream = stream or CudaStream()
    compiled: dict[str, Compiled] = {}
    try:
        parts = BundleParts(bundle, stream.device, compiled, stream.together)
        root = plans_root(bundle, plans)
        target = target_of(stream.device, bundle.manifest)
        compiled.update(load_compiled(bundle, root, target, parts.runs()))
        if not compiled:
            _log.info('%s runs as it was exported; faster after: %s', bundle.manifest.name,
                      command(bundle, root))  # fmt: skip
        return CudaEngine(parts, example_of(bundle), stream)
    except RuntimeError as error:  # out of memory, or a kernel that the card cannot run
        size = sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e9
        raise EngineError(
            f'{bundle.manifest.name} ({size:.1f} GB) on {stream.name}: {first_line(error)}'
        ) from error


def example_of(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Zeros for every input that the bundle takes from outside."""
    segments = bundle.manifest.segments
    tensors = [t for name in ('vision', 'embed') if name in segments
               for t in segments[name].inputs]  # fmt: skip
    return {t.name: np.zeros(t.shape, t.dtype) for t in tensors if t.name != 'patches'}
