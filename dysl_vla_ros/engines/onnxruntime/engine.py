"""ONNX Runtime on the CPU: one session per exported part, chained over two fixed buffers.

Every session is bound once to memory that this engine owns, so a pass allocates no tensors of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.bundle.manifest import SegmentSpec, TensorSpec
from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.engines.onnxruntime.session import (
    bind,
    first_line,
    open_session,
    session_options,
)
from dysl_vla_ros.errors import EngineError


@dataclass(frozen=True)
class OnnxHidden:
    """Names one of the two buffers; ``serial`` tells whether it was overwritten since."""

    side: int
    serial: int


@dataclass(frozen=True)
class _Kept:
    hidden: NDArray[Any]
    mask: NDArray[Any] | None
    gate_layer: int
    gate: float


class OnnxEngine:
    """The engine protocol over ONNX Runtime; see ``engines.engine.Engine``."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load every segment and check it against the manifest.

        Args:
            bundle: Verified bundle.
            threads: CPU threads of each session.

        Raises:
            EngineError: A graph cannot be loaded, or is not what the manifest says.
        """
        manifest = bundle.manifest
        self._layout = manifest.layout
        self._options = session_options(threads)
        spec = manifest.segments['embed']
        state = _state_of(spec.outputs, 'embed')
        wanted = (1, manifest.hidden_tokens, manifest.hidden_width)
        if state.shape != wanted:
            raise EngineError(f'segment embed: {state.name} {state.shape}: expected {wanted}')
        self._hidden = [np.zeros(wanted, np.dtype(state.dtype)) for _ in range(2)]
        self._serial = 0
        self._gates = np.zeros((self._layout.layers_total + 1, 1), np.float32)
        self._gate_layer = -1
        self._tensors: dict[str, NDArray[Any]] = {}
        self._inputs: tuple[TensorSpec, ...] = ()
        self._runs: dict[tuple[str, int], tuple[Any, Any]] = {}
        for name in ('vision', 'embed'):
            if name in manifest.segments:
                self._open_input_segment(bundle, name)
        for name in manifest.segments:
            if name not in ('vision', 'embed'):
                self._open_hidden_segment(bundle, name)

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._layout

    @property
    def device(self) -> str:
        """In words, for diagnostics."""
        threads = self._options.intra_op_num_threads
        count = f'{threads} thread' + 's' * (threads != 1)
        return f'CPU (ONNX Runtime {ort.__version__}, {count})'

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> OnnxHidden:
        """Copy the inputs in, run vision and embedding."""
        for spec in self._inputs:
            value = inputs.get(spec.name)
            found = None if value is None else (value.shape, str(value.dtype))
            if value is None or found != (spec.shape, spec.dtype):
                raise EngineError(
                    f'input {spec.name!r}: {found}: expected {(spec.shape, spec.dtype)}'
                )
            np.copyto(self._tensors[spec.name], value)
        if ('vision', 0) in self._runs:
            self._run('vision', 0)
        self._run('embed', 0)
        self._gate_layer = -1
        return self._state(0)

    def run_layer(self, layer: int, hidden: OnnxHidden) -> OnnxHidden:
        """Run a layer from its buffer into the other one; the next gate comes with it."""
        side = self._check(hidden)
        self._run(f'layer_{layer:02d}', side)
        self._gate_layer = layer + 1
        return self._state(1 - side)

    def skip_score(self, layer: int, hidden: OnnxHidden) -> float:
        """The gate that the layer before left."""
        self._check(hidden)
        if layer != self._gate_layer:
            raise EngineError(
                f'score of layer {layer}: layer {layer - 1} did not run just before; '
                f'a gate is known for layer {self._gate_layer}'
            )
        return float(self._gates[layer, 0])

    def bridge(self, layer: int, hidden: OnnxHidden) -> OnnxHidden:
        """Run an adapter."""
        side = self._check(hidden)
        self._run(f'bridge_{layer:02d}', side)
        self._gate_layer = -1
        return self._state(1 - side)

    def keep(self, hidden: OnnxHidden) -> object:
        """A copy of the state, and of the mask and gate that go with it."""
        side = self._check(hidden)
        mask = self._tensors.get('mask')
        return _Kept(
            hidden=self._hidden[side].copy(),
            mask=None if mask is None else mask.copy(),
            gate_layer=self._gate_layer,
            gate=float(self._gates[self._gate_layer, 0]),
        )

    def restore(self, kept: object) -> OnnxHidden:
        """Copy back into the first buffer."""
        assert isinstance(kept, _Kept)
        np.copyto(self._hidden[0], kept.hidden)
        if kept.mask is not None:
            np.copyto(self._tensors['mask'], kept.mask)
        self._gate_layer = kept.gate_layer
        self._gates[kept.gate_layer, 0] = kept.gate
        return self._state(0)

    def decode(self, hidden: OnnxHidden) -> FloatArray:
        """Run the head."""
        self._run('head', self._check(hidden))
        actions: FloatArray = self._tensors['actions'][0].astype(np.float64)
        return actions

    def read(self, hidden: OnnxHidden) -> NDArray[np.float32]:
        """A copy of the state as float32."""
        return self._hidden[self._check(hidden)].astype(np.float32)

    def write(self, values: NDArray[Any]) -> OnnxHidden:
        """Set the first buffer; no gate goes with it."""
        np.copyto(self._hidden[0], values, casting='same_kind')
        self._gate_layer = -1
        return self._state(0)

    def synchronize(self) -> None:
        """Everything ran at once."""

    def close(self) -> None:
        """Free the sessions."""
        self._runs.clear()

    # ---- opening -----------------------------------------------------------------------------

    def _open_input_segment(self, bundle: Bundle, name: str) -> None:
        """Vision and embedding: from named inputs to patches and to the first buffer."""
        spec = bundle.manifest.segments[name]
        session = open_session(bundle, name, self._options)
        for tensor in spec.inputs:
            if tensor.name not in self._tensors:
                self._tensors[tensor.name] = np.zeros(tensor.shape, np.dtype(tensor.dtype))
                self._inputs += (tensor,)
        for tensor in spec.outputs:
            if name == 'vision' or tensor.name == 'mask':
                self._tensors[tensor.name] = np.zeros(tensor.shape, np.dtype(tensor.dtype))
        state = '' if name == 'vision' else _state_of(spec.outputs, name).name
        arrays = {**self._tensors, state: self._hidden[0]}
        self._runs[name, 0] = session, bind(session, name, spec, arrays, arrays)

    def _open_hidden_segment(self, bundle: Bundle, name: str) -> None:
        """Layers, adapters and the head: bound twice, once from each buffer."""
        spec = bundle.manifest.segments[name]
        session = open_session(bundle, name, self._options)
        writes = {'gate': self._gates[_gate_row(name, self._layout)]}
        if name == 'head':
            for tensor in spec.outputs:
                self._tensors[tensor.name] = np.zeros(tensor.shape, np.dtype(tensor.dtype))
                writes[tensor.name] = self._tensors[tensor.name]
            _check_head(spec, bundle)
        for side in range(2):
            reads = {**self._tensors, _state_of(spec.inputs, name).name: self._hidden[side]}
            if name != 'head':
                writes[_state_of(spec.outputs, name).name] = self._hidden[1 - side]
            self._runs[name, side] = session, bind(session, name, spec, reads, writes)

    # ---- running -----------------------------------------------------------------------------

    def _run(self, name: str, side: int) -> None:
        pair = self._runs.get((name, side))
        if pair is None:
            raise EngineError(f'segment {name}: the engine is closed, or the bundle has none')
        session, binding = pair
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise EngineError(f'segment {name}: {first_line(error)}') from error

    def _state(self, side: int) -> OnnxHidden:
        self._serial += 1
        return OnnxHidden(side, self._serial)

    def _check(self, hidden: OnnxHidden) -> int:
        if hidden.serial != self._serial:
            raise EngineError(
                'this hidden state was overwritten by a later call: expected the newest one, '
                'or one copied with keep() before'
            )
        return hidden.side


def _state_of(tensors: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    """The hidden state among a segment's inputs or outputs."""
    states = [item for item in tensors if item.name in ('hidden', 'hidden_out')]
    if len(states) != 1:
        found = [item.name for item in tensors]
        raise EngineError(f'segment {name}: {found}: expected one tensor hidden or hidden_out')
    return states[0]


def _gate_row(name: str, layout: LayerLayout) -> int:
    """Where a layer writes the gate of the next one; the last row takes what nobody reads."""
    kind, _, number = name.partition('_')
    return int(number) + 1 if kind == 'layer' else layout.layers_total


def _check_head(spec: SegmentSpec, bundle: Bundle) -> None:
    action = bundle.manifest.action
    wanted = (1, action.horizon, action.dim)
    found = {item.name: item.shape for item in spec.outputs}
    if found != {'actions': wanted}:
        raise EngineError(f'segment head: outputs {found}: expected actions {wanted}')
