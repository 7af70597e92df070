"""Device memory of the TensorRT engine: allocated once, so that graphs can hold the addresses.

Two hidden buffers that the segments write in turn, one activation block for whichever segment
runs, one word for a gate, named tensors between vision, embedding and head; and page-locked host
memory for what the host writes (inputs) and reads (gates, actions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import Manifest, SegmentSpec, TensorSpec
from dysl_vla_ros.engines.tensorrt.device import Device
from dysl_vla_ros.errors import EngineError

STATES = ('hidden', 'hidden_out')
_ALIGNMENT = 256


@dataclass(frozen=True)
class Input:
    """One model input: where the host writes it, and where the device has it."""

    spec: TensorSpec
    staging: NDArray[Any]
    address: int


class Buffers:
    """Every address that the captured graphs read or write."""

    def __init__(self, manifest: Manifest, device: Device, activation_bytes: int) -> None:
        """Allocate everything.

        Args:
            manifest: Of the bundle.
            device: Owns the memory.
            activation_bytes: What the most demanding plan needs.

        Raises:
            EngineError: The segments do not fit together, or there is not enough memory.
        """
        self._device = device
        segments = manifest.segments
        self.state = state_of(segments['embed'].outputs, 'embed')
        wanted = (1, manifest.hidden_tokens, manifest.hidden_width)
        if self.state.shape != wanted:
            raise EngineError(
                f'segment embed: {self.state.name} {self.state.shape}: expected {wanted}'
            )
        self.state_bytes = nbytes(self.state)
        self.hidden = (device.allocate(self.state_bytes), device.allocate(self.state_bytes))
        self.activation_bytes = max(activation_bytes, _ALIGNMENT)
        self.activation = device.allocate(self.activation_bytes)
        self.gate = device.allocate(_ALIGNMENT)
        rows = manifest.layers_total + 1
        self.gates = device.allocate_pinned(4 * rows).view(np.float32)
        self.gates[:] = np.nan
        self.inputs: list[Input] = []
        self.tensors: dict[str, int] = {}
        self.mask_bytes = 0
        self._staging: NDArray[Any] | None = None
        for name in ('vision', 'embed'):
            if name in segments:
                self._allocate_around(segments[name])
        self.actions = self._allocate_actions(segments['head'], manifest)

    def addresses(self, name: str, side: int) -> dict[str, int]:
        """Addresses for a segment that reads the hidden buffer ``side`` and writes the other."""
        if name == 'embed':
            return {**self.tensors, 'hidden': self.hidden[0], 'hidden_out': self.hidden[0]}
        return {
            **self.tensors,
            'hidden': self.hidden[side],
            'hidden_out': self.hidden[1 - side],
            'gate': self.gate,
        }

    # ---- copies that later layers cannot overwrite --------------------------------------------

    @property
    def kept_bytes(self) -> int:
        """Size of a block for ``save``: state, mask and gate."""
        return aligned(self.state_bytes) + aligned(self.mask_bytes) + _ALIGNMENT

    def save(self, block: int, side: int) -> None:
        """Queue copies of the state and of the mask and gate that go with it."""
        for place, address, size in self._parts(block, side):
            self._device.copy(place, address, size)

    def load(self, block: int, gate_row: int) -> None:
        """Queue copies back, into the first buffer; the gate also to its row on the host."""
        for place, address, size in self._parts(block, 0):
            self._device.copy(address, place, size)
        self.fetch_gate(gate_row)

    def fetch_gate(self, row: int) -> None:
        """Queue a copy of the newest gate into its row in host memory."""
        self._device.copy_to_host(self.gates[row : row + 1], self.gate)

    # ---- for comparing segments ---------------------------------------------------------------

    def read(self, side: int) -> NDArray[Any]:
        """A hidden buffer; waits for the device."""
        staging = self._staged_state()
        self._device.copy_to_host(staging, self.hidden[side])
        self._device.synchronize()
        return staging

    def write(self, values: NDArray[Any]) -> None:
        """Set the first hidden buffer; waits for the device."""
        self._device.synchronize()
        staging = self._staged_state()
        np.copyto(staging, values, casting='same_kind')
        self._device.copy_to_device(self.hidden[0], staging)
        self._device.synchronize()

    def _staged_state(self) -> NDArray[Any]:
        """Host memory of a state; allocated on first use, for the arm never needs it."""
        if self._staging is None:
            self._staging = self._host(self.state)
        return self._staging

    def _parts(self, block: int, side: int) -> list[tuple[int, int, int]]:
        """(place in the block, address, bytes)."""
        parts = [(block, self.hidden[side], self.state_bytes)]
        block += aligned(self.state_bytes)
        if self.mask_bytes:
            parts.append((block, self.tensors['mask'], self.mask_bytes))
            block += aligned(self.mask_bytes)
        return [*parts, (block, self.gate, 4)]

    # ---- allocation ---------------------------------------------------------------------------

    def _allocate_around(self, segment: SegmentSpec) -> None:
        for tensor in segment.inputs:
            if tensor.name not in self.tensors:
                self.tensors[tensor.name] = self._device.allocate(nbytes(tensor))
                self.inputs.append(Input(tensor, self._host(tensor), self.tensors[tensor.name]))
        for tensor in segment.outputs:
            if tensor.name not in STATES:
                self.tensors[tensor.name] = self._device.allocate(nbytes(tensor))
            if tensor.name == 'mask':
                self.mask_bytes = nbytes(tensor)

    def _allocate_actions(self, head: SegmentSpec, manifest: Manifest) -> NDArray[Any]:
        wanted = (1, manifest.action.horizon, manifest.action.dim)
        found = {item.name: item.shape for item in head.outputs}
        if found != {'actions': wanted}:
            raise EngineError(f'segment head: outputs {found}: expected actions {wanted}')
        self.tensors['actions'] = self._device.allocate(nbytes(head.outputs[0]))
        return self._host(head.outputs[0])

    def _host(self, tensor: TensorSpec) -> NDArray[Any]:
        raw = self._device.allocate_pinned(nbytes(tensor))
        raw[:] = 0
        return raw.view(np.dtype(tensor.dtype)).reshape(tensor.shape)


def state_of(tensors: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    """The hidden state among a segment's inputs or outputs."""
    states = [item for item in tensors if item.name in STATES]
    if len(states) != 1:
        found = [item.name for item in tensors]
        raise EngineError(f'segment {name}: {found}: expected one tensor hidden or hidden_out')
    return states[0]


def nbytes(tensor: TensorSpec) -> int:
    """Size of a tensor."""
    return int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize


def aligned(size: int) -> int:
    """``size`` rounded up to TensorRT's alignment."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT
