"""Torch on an NVIDIA GPU, one CUDA graph per part: for workstations, and for measuring.

Every graph reads and writes one hidden buffer on one stream, so any skip pattern is a sequence
of launches without allocation. A gate has a graph of its own, launched only when its controller
is asked: the launch hides behind the layer that is still running, and a pass that asks no
controller computes none. All layers together are one more graph, for passes that skip nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.engines.cuda.stream import CudaStream, Stream
from dysl_vla_ros.errors import EngineError


class TorchParts(Protocol):
    """The parts of a policy as torch functions of static shape, batch 1, on one device."""

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Hidden state entering layer 0, shape (1, tokens, width)."""

    def layer(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """The state after a layer."""

    def score(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """Skip score of the controller at a dynamic layer, one float32."""

    def bridge(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """The adapter of a dynamic layer."""

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Normalised actions, shape (1, horizon, dim)."""


@runtime_checkable
class StatefulParts(Protocol):
    """Parts that remember more than the hidden state: a mask, the state of a recurrent head."""

    @property
    def state(self) -> tuple[torch.Tensor, ...]:
        """The buffers they write; kept and restored together with the hidden state."""


@dataclass(frozen=True)
class CudaHidden:
    """The content of the hidden buffer after the call with this number."""

    serial: int


@dataclass(frozen=True)
class _Kept:
    buffers: tuple[torch.Tensor, ...]


class CudaEngine:
    """The engine protocol over captured graphs; see ``engines.engine.Engine``."""

    def __init__(
        self,
        parts: TorchParts,
        example: Mapping[str, NDArray[Any]],
        stream: Stream | None = None,
    ) -> None:
        """Capture every part.

        Args:
            parts: On the stream's device, in evaluation mode.
            example: Inputs that fix every name, shape and type.
            stream: Default: a new one on the current CUDA device.

        Raises:
            EngineError: There is no CUDA device.
        """
        self._stream = stream or CudaStream()
        self._parts: TorchParts | None = parts
        self._layout = parts.layout
        self._serial = 0
        self._inputs_in_use = False
        samples = {
            name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in example.items()
        }
        self._staged = {
            name: self._stream.pinned(tuple(sample.shape), sample.dtype)
            for name, sample in samples.items()
        }
        self._inputs = {
            name: self._stream.buffer(tuple(sample.shape), sample.dtype)
            for name, sample in samples.items()
        }
        for name, sample in samples.items():
            self._staged[name].copy_(sample)
        self._gate = self._stream.pinned((1,), torch.float32)
        self._hidden, self._actions = self._shaped_buffers(parts)
        self._launches = {
            name: self._stream.capture(body) for name, body in self._bodies(parts).items()
        }

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._layout

    @property
    def device(self) -> str:
        """GPU and versions."""
        return self._stream.name

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> CudaHidden:
        """Stage the inputs; one launch copies them, runs vision and embedding."""
        for name, staged in self._staged.items():
            value = inputs.get(name)
            wanted = (tuple(staged.shape), str(staged.dtype).removeprefix('torch.'))
            found = None if value is None else (value.shape, str(value.dtype))
            if found != wanted:
                raise EngineError(f'input {name!r}: {found}: expected {wanted}')
        if self._inputs_in_use:
            self.synchronize()  # the copy before may still be reading the staged inputs
        for name, staged in self._staged.items():
            np.copyto(staged.numpy(), inputs[name])
        self._inputs_in_use = True
        return self._launch('embed')

    def run_layer(self, layer: int, hidden: CudaHidden) -> CudaHidden:
        """Launch a layer."""
        self._check(hidden)
        return self._launch(f'layer_{layer}')

    def run_layers(self, first: int, end: int, hidden: CudaHidden) -> CudaHidden:
        """Launch layers ``first`` to ``end - 1``: all of them together are one graph."""
        self._check(hidden)
        if (first, end) == (0, self._layout.layers_total):
            return self._launch('chain')
        for layer in range(first, end):
            hidden = self.run_layer(layer, hidden)
        return hidden

    def skip_score(self, layer: int, hidden: CudaHidden) -> float:
        """Launch a controller, wait for it, read one pinned float."""
        self._check(hidden)
        self._run(f'gate_{layer}')
        self.synchronize()
        return float(self._gate[0])

    def bridge(self, layer: int, hidden: CudaHidden) -> CudaHidden:
        """Launch an adapter."""
        self._check(hidden)
        return self._launch(f'bridge_{layer}')

    def keep(self, hidden: CudaHidden) -> object:
        """Copies on the device, made in the stream's order."""
        self._check(hidden)
        living = self._living()
        kept = tuple(self._stream.buffer(tuple(one.shape), one.dtype) for one in living)
        self._stream.order(lambda: _copy(living, kept))
        return _Kept(kept)

    def restore(self, kept: object) -> CudaHidden:
        """Copy back into the buffers."""
        assert isinstance(kept, _Kept)
        living = self._living()
        self._stream.order(lambda: _copy(kept.buffers, living))
        self._serial += 1
        return CudaHidden(self._serial)

    def decode(self, hidden: CudaHidden) -> FloatArray:
        """Launch the head, wait, and read the actions from pinned memory."""
        self._check(hidden)
        self._run('head')
        self.synchronize()
        actions: FloatArray = self._actions[0].numpy().astype(np.float64)
        return actions

    def read(self, hidden: CudaHidden) -> NDArray[np.float32]:
        """A copy of the state as float32."""
        self._check(hidden)
        self.synchronize()
        values: NDArray[np.float32] = self._hidden.float().cpu().numpy().copy()
        return values

    def write(self, values: NDArray[Any]) -> CudaHidden:
        """Set the hidden buffer."""
        source = torch.from_numpy(np.ascontiguousarray(values))
        self._stream.order(lambda: self._hidden.copy_(source))
        self.synchronize()
        self._serial += 1
        return CudaHidden(self._serial)

    def synchronize(self) -> None:
        """Wait for the stream."""
        try:
            self._stream.wait()
        except RuntimeError as error:  # CUDA reports late what a kernel did wrong
            raise EngineError(f'{self.device}: {first_line(error)}') from error
        self._inputs_in_use = False

    def close(self) -> None:
        """Destroy the graphs and let go of weights and buffers; a second call does nothing."""
        if self._parts is None:
            return
        self._launches.clear()
        self._stream.close()
        self._parts = None

    # ---- capturing ---------------------------------------------------------------------------

    def _shaped_buffers(self, parts: TorchParts) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden buffer and the pinned actions, shaped by running both ends once."""
        made: list[torch.Tensor] = []

        def probe() -> None:
            self._upload()
            hidden = parts.embed(self._inputs)
            made.extend((hidden, parts.head(hidden)))

        self._stream.order(probe)
        self._stream.wait()
        hidden, actions = made
        return (
            self._stream.buffer(tuple(hidden.shape), hidden.dtype),
            self._stream.pinned(tuple(actions.shape), torch.float32),
        )

    def _bodies(self, parts: TorchParts) -> dict[str, Callable[[], object]]:
        """What each graph does; every result goes into a buffer of this engine."""
        hidden, layout = self._hidden, self._layout
        every = range(layout.layers_total)

        def embed() -> None:
            self._upload()
            hidden.copy_(parts.embed(self._inputs))

        def chain() -> None:
            state = hidden
            for layer in every:
                state = parts.layer(layer, state)
            hidden.copy_(state)

        def gate(layer: int) -> None:
            score = parts.score(layer, hidden).float()
            self._gate.copy_(score.reshape(1), non_blocking=True)

        bodies: dict[str, Callable[[], object]] = {'embed': embed, 'chain': chain}
        for layer in every:
            bodies[f'layer_{layer}'] = _bound(
                lambda i: hidden.copy_(parts.layer(i, hidden)), layer
            )
        for layer in layout.dynamic_layers:
            bodies[f'gate_{layer}'] = _bound(gate, layer)
            bodies[f'bridge_{layer}'] = _bound(
                lambda i: hidden.copy_(parts.bridge(i, hidden)), layer
            )
        bodies['head'] = lambda: self._actions.copy_(
            parts.head(hidden).float(), non_blocking=True
        )
        return bodies

    def _upload(self) -> None:
        for name, buffer in self._inputs.items():
            buffer.copy_(self._staged[name], non_blocking=True)

    # ---- running -----------------------------------------------------------------------------

    def _living(self) -> tuple[torch.Tensor, ...]:
        if self._parts is None:
            raise EngineError('the engine is closed')
        state = self._parts.state if isinstance(self._parts, StatefulParts) else ()
        return (self._hidden, *state)

    def _run(self, name: str) -> None:
        launch = self._launches.get(name)
        if launch is None:
            raise EngineError(f'{name}: the engine is closed, or the policy has no such part')
        try:
            launch()
        except RuntimeError as error:
            raise EngineError(f'{name} on {self.device}: {first_line(error)}') from error

    def _launch(self, name: str) -> CudaHidden:
        self._run(name)
        self._serial += 1
        return CudaHidden(self._serial)

    def _check(self, hidden: CudaHidden) -> None:
        if hidden.serial != self._serial:
            raise EngineError(
                'this hidden state was overwritten by a later call: expected the newest one, '
                'or one copied with keep() before'
            )


def first_line(error: Exception) -> str:
    """What went wrong, without the advice that torch appends."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _bound(body: Callable[[int], object], layer: int) -> Callable[[], object]:
    return lambda: body(layer)


def _copy(sources: tuple[torch.Tensor, ...], targets: tuple[torch.Tensor, ...]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
