"""TensorRT on an NVIDIA GPU: one plan per exported part, every launch a CUDA graph.

Each layer and adapter is captured twice, once from each of the two hidden buffers, so any skip
pattern is a sequence of graph launches on one stream, without allocation and without waiting. The
host waits in two places: for a gate, and for the actions.

What ``skip_score`` costs: one event record, one wait, one read of host memory. The wait ends when
the layer before is done, so it is not time lost on the device except for the launch that follows:
the stream runs dry once per controller that is asked. Before the allow point a gate is computed
and copied with its layer, 4 bytes that nobody waits for; a full pass does not even copy them.
``dysl bench`` measures it (``one_in_a_pass_ms``, ``one_read_ms``).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.bundle.manifest import Manifest, TensorSpec
from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.engines.tensorrt.api import BoundPlan, Plan, Runtime, load_tensorrt
from dysl_vla_ros.engines.tensorrt.buffers import Buffers
from dysl_vla_ros.engines.tensorrt.cuda_driver import CudaDevice, open_driver
from dysl_vla_ros.engines.tensorrt.device import Device, Graph
from dysl_vla_ros.engines.tensorrt.plans import PlanFolder, find_plans, plans_root, target_of
from dysl_vla_ros.errors import EngineError

_NO_GATE = -1
_FIRST = 0
"""The buffer that encode, restore and write fill."""


@dataclass(frozen=True)
class TensorRtHidden:
    """Names one of the two buffers; ``serial`` tells whether it was overwritten since."""

    side: int
    serial: int


@dataclass(frozen=True, eq=False)
class _Kept:
    """A block of device memory; goes back to the engine when nobody holds it any more."""

    block: int
    gate_layer: int


def open_tensorrt_engine(bundle: Bundle, plans: str = '') -> TensorRtEngine:
    """Open the plans that were built for this machine.

    Args:
        bundle: Verified bundle.
        plans: Folder given to ``dysl build --plans``; '' = inside the bundle.

    Raises:
        EngineError: No driver, no device, no TensorRT, no plans, or plans that do not fit or are
            damaged: all before TensorRT is asked to load anything.
    """
    driver = open_driver()
    trt = load_tensorrt()
    target = target_of(driver.gpu, str(trt.__version__), bundle.manifest)
    folder = find_plans(bundle, plans_root(bundle, plans), target)
    folder.verify()
    name = f'{driver.gpu.name} (TensorRT {trt.__version__}, CUDA {driver.gpu.cuda})'
    device = CudaDevice(driver)
    try:
        return TensorRtEngine(bundle.manifest, folder, device, Runtime(trt), name)
    except BaseException:
        device.close()
        raise


class TensorRtEngine:
    """The engine protocol over TensorRT plans; see ``engines.engine.Engine``."""

    def __init__(
        self,
        manifest: Manifest,
        folder: PlanFolder,
        device: Device,
        runtime: Runtime,
        name: str = 'TensorRT',
    ) -> None:
        """Load, bind and capture every segment.

        Args:
            manifest: Of the bundle.
            folder: Plans that fit bundle and machine, verified.
            device: Closed with the engine.
            runtime: TensorRT.
            name: Of the device, for diagnostics.

        Raises:
            EngineError: A plan cannot be loaded or is not what the manifest says.
        """
        self._layout, self._name, self._device = manifest.layout, name, device
        # A plan stays alive through its contexts; the runtime must outlive both.
        self._runtime: Runtime | None = runtime
        self._plans = {
            segment: _check(runtime.load(segment, folder.read(segment)), manifest, folder.command)
            for segment in manifest.segments
        }
        activation = max(plan.activation_bytes for plan in self._plans.values())
        self._buffers = Buffers(manifest, device, activation)
        self._bound: dict[tuple[str, int], BoundPlan] = {}
        self._graphs: dict[tuple[str, int], Graph] = {}
        self._free = [device.allocate(self._buffers.kept_bytes) for _ in range(2)]
        self._serial, self._gate_layer = 0, _NO_GATE
        self._bind_all()
        self._capture_all()

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._layout

    @property
    def device(self) -> str:
        """In words, for diagnostics."""
        return self._name

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> TensorRtHidden:
        """Copy the inputs in, run vision and embedding: one launch."""
        self._device.synchronize()  # an earlier launch may still be reading the inputs
        for item in self._buffers.inputs:
            value, spec = inputs.get(item.spec.name), item.spec
            found = None if value is None else (value.shape, str(value.dtype))
            if value is None or found != (spec.shape, spec.dtype):
                raise EngineError(
                    f'input {spec.name!r}: {found}: expected {(spec.shape, spec.dtype)}'
                )
            np.copyto(item.staging, value)
        self._launch('encode', _FIRST)
        self._gate_layer = _NO_GATE
        return self._state(_FIRST)

    def run_layer(self, layer: int, hidden: TensorRtHidden) -> TensorRtHidden:
        """Launch a layer from its buffer into the other one; the next gate comes with it."""
        side = self._check(hidden)
        self._launch(f'layer_{layer:02d}', side)
        self._gate_layer = layer + 1
        return self._state(1 - side)

    def run_layers(self, first: int, end: int, hidden: TensorRtHidden) -> TensorRtHidden:
        """Launch layers ``first`` to ``end - 1``: all of them together are one graph."""
        if (first, end) != (0, self._layout.layers_total):
            for layer in range(first, end):
                hidden = self.run_layer(layer, hidden)
            return hidden
        if self._check(hidden) != _FIRST:
            raise EngineError('run_layers: expected the state that encode or restore returned')
        self._launch('chain', _FIRST)
        self._gate_layer = _NO_GATE
        return self._state(end % 2)

    def skip_score(self, layer: int, hidden: TensorRtHidden) -> float:
        """Wait for the layer before; its gate lies in host memory then."""
        self._check(hidden)
        if layer != self._gate_layer:
            raise EngineError(
                f'score of layer {layer}: layer {layer - 1} did not run just before; '
                f'a gate is known for layer {self._gate_layer}'
            )
        self._device.wait()
        return float(self._buffers.gates[layer])

    def bridge(self, layer: int, hidden: TensorRtHidden) -> TensorRtHidden:
        """Launch an adapter."""
        side = self._check(hidden)
        self._launch(f'bridge_{layer:02d}', side)
        self._gate_layer = _NO_GATE
        return self._state(1 - side)

    def keep(self, hidden: TensorRtHidden) -> object:
        """Queue a copy of the state, and of the mask and gate that go with it."""
        side = self._check(hidden)
        if not self._free:
            self._free.append(self._device.allocate(self._buffers.kept_bytes))
        block = self._free.pop()
        self._buffers.save(block, side)
        kept = _Kept(block, self._gate_layer)
        # One stream: whoever takes the block next writes it after all reads queued so far.
        weakref.finalize(kept, self._free.append, block)
        return kept

    def restore(self, kept: object) -> TensorRtHidden:
        """Queue a copy back into the first buffer."""
        assert isinstance(kept, _Kept)
        # Without a gate the word goes to the last row, which nobody reads.
        known = kept.gate_layer != _NO_GATE
        self._buffers.load(kept.block, kept.gate_layer if known else self._layout.layers_total)
        self._gate_layer = kept.gate_layer
        return self._state(_FIRST)

    def decode(self, hidden: TensorRtHidden) -> FloatArray:
        """Launch the head and wait for the actions."""
        self._launch('head', self._check(hidden))
        self._device.wait()
        actions: FloatArray = self._buffers.actions[0].astype(np.float64)
        return actions

    def read(self, hidden: TensorRtHidden) -> NDArray[np.float32]:
        """A copy of the state as float32, for ``dysl verify``."""
        return self._buffers.read(self._check(hidden)).astype(np.float32)

    def write(self, values: NDArray[Any]) -> TensorRtHidden:
        """Set the first buffer; no gate goes with it. For ``dysl verify``."""
        self._buffers.write(values)
        self._gate_layer = _NO_GATE
        return self._state(_FIRST)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._device.synchronize()

    def close(self) -> None:
        """Free graphs, contexts, plans, then the memory they used."""
        self._serial += 1
        self._graphs.clear()
        self._bound.clear()
        self._plans.clear()
        self._runtime = None
        self._device.close()

    # ---- opening ------------------------------------------------------------------------------

    def _bind_all(self) -> None:
        """One context per segment and side: a context must not change once it is captured."""
        buffers = self._buffers
        first = [name for name in ('vision', 'embed') if name in self._plans]
        for name in [*first, *(name for name in self._plans if name not in first)]:
            plan = self._plans[name]
            for side in (0,) if name in ('vision', 'embed') else (0, 1):
                self._bound[name, side] = plan.bind(
                    buffers.addresses(name, side), buffers.activation, buffers.activation_bytes
                )

    def _capture_all(self) -> None:
        device = self._device
        # TensorRT sets itself up in the first execution, which may not be captured. In the order
        # of a pass, from zeros: an index read from fresh memory could point anywhere.
        self._upload()
        for bound in self._bound.values():
            bound.enqueue(device.stream)
        device.synchronize()
        self._graphs['encode', 0] = device.capture(self._queue_encode)
        for name, side in self._bound:
            if name not in ('vision', 'embed'):
                self._graphs[name, side] = device.capture(partial(self._queue, name, side))
        self._graphs['chain', 0] = device.capture(self._queue_chain)
        device.synchronize()

    def _queue_encode(self) -> None:
        self._upload()
        for name in ('vision', 'embed'):
            if (name, 0) in self._bound:
                self._bound[name, 0].enqueue(self._device.stream)

    def _upload(self) -> None:
        for item in self._buffers.inputs:
            self._device.copy_to_device(item.address, item.staging)

    def _queue(self, name: str, side: int) -> None:
        self._bound[name, side].enqueue(self._device.stream)
        if 'gate' in self._plans[name].tensors:
            self._buffers.fetch_gate(int(name.partition('_')[2]) + 1)
        if name == 'head':
            self._device.copy_to_host(self._buffers.actions, self._buffers.tensors['actions'])

    def _queue_chain(self) -> None:
        """Every layer, without the copies of gates that nobody asks for."""
        for layer in range(self._layout.layers_total):
            self._bound[f'layer_{layer:02d}', layer % 2].enqueue(self._device.stream)

    # ---- running ------------------------------------------------------------------------------

    def _launch(self, name: str, side: int) -> None:
        graph = self._graphs.get((name, side))
        if graph is None:
            raise EngineError(f'segment {name}: the engine is closed, or the bundle has none')
        self._device.launch(graph)

    def _state(self, side: int) -> TensorRtHidden:
        self._serial += 1
        return TensorRtHidden(side, self._serial)

    def _check(self, hidden: TensorRtHidden) -> int:
        if hidden.serial != self._serial:
            raise EngineError(
                'this hidden state was overwritten by a later call: expected the newest one, '
                'or one copied with keep() before'
            )
        return hidden.side


def _check(plan: Plan, manifest: Manifest, command: str) -> Plan:
    """A plan has the inputs and outputs that the manifest lists."""
    segment = manifest.segments[plan.name]
    for mode, listed in (('input', segment.inputs), ('output', segment.outputs)):
        found = {
            name: _words(tensor.spec)
            for name, tensor in plan.tensors.items() if tensor.mode == mode
        }  # fmt: skip
        wanted = {tensor.name: _words(tensor) for tensor in listed}
        if found != wanted:
            raise EngineError(
                f'plan of segment {plan.name}: {mode}s {found}: expected {wanted}, as the '
                f'manifest says; run: {command}'
            )
    return plan


def _words(tensor: TensorSpec) -> str:
    return f'{tensor.dtype} {list(tensor.shape)}'
