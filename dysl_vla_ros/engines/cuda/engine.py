"""Torch on an NVIDIA GPU, one CUDA graph per part: for workstations, and for measuring.

Every graph reads and writes one hidden buffer on one stream, so any skip pattern is a sequence
of launches without allocation. A pass that asks no controller computes none; where one is asked,
the layer before it and its gate are one graph, so that asking costs no launch. All layers together
are one more graph, for passes that skip nothing.

Pictures travel to the device while the next input is still being staged. Where parts know how much
of the state is padding, layers are captured once per length of a prompt, without a mask, and only
by ``prepare_for``, which belongs to no pass: how long it takes was never measured. A pass captures
nothing. Inputs that nobody prepared for run with the mask, launched operation by operation: the
same actions, later.
"""

from __future__ import annotations

import contextlib
import gc
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
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


@runtime_checkable
class PaddedParts(Protocol):
    """Parts whose layers mask the padding of a shorter prompt, or leave it out."""

    def padding_of(self, inputs: Mapping[str, NDArray[Any]]) -> int | None:
        """How many rows of the state are padding; None where that is not known of the inputs.

        Inputs for which it is the same number hide the same rows.
        """

    def use_padding(self, padding: int | None) -> None:
        """Layers leave out the first so many keys from now on; None masks what is padding."""

    def hides_just(self, padding: int, hidden: torch.Tensor) -> torch.Tensor:
        """Whether the mask of a state hides the first so many keys and no other, one bool."""


@dataclass(frozen=True)
class CudaHidden:
    """The content of the hidden buffer after the call with this number."""

    serial: int


@dataclass(frozen=True)
class _Kept:
    buffers: tuple[torch.Tensor, ...]
    padding: int | None


_NOTHING = (-1, -1)
"""No controller was asked together with the layer before."""
_PICTURE = 64 << 10
"""Bytes; inputs from this size on are copied by themselves, as soon as they are staged."""
LENGTHS = 16
"""Lengths of prompts whose layers are kept: the memory that graphs take was never measured."""


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
        self._pictures = {
            name for name, one in self._staged.items()
            if one.numel() * one.element_size() >= _PICTURE
        }  # fmt: skip
        self._send(self._pictures)
        self._gate = self._stream.pinned((1,), torch.float32)
        self._asked = _NOTHING
        self._hidden, self._actions = self._shaped_buffers(parts)
        self._others = self._captured(self._bodies(parts))
        # Layers that mask what is padding; captured where no length would ever spare the mask.
        self._masked = self._layer_bodies(parts)
        self._captured_masked: dict[str, Callable[[], None]] = {}
        # By padding, the one that was used last at the end.
        self._lengths: OrderedDict[int, dict[str, Callable[[], None]]] = OrderedDict()
        self._padding: int | None = None
        if self._padding_of(dict(example)) is None:
            self._captured_masked = self._captured(self._masked)

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._layout

    @property
    def device(self) -> str:
        """GPU and versions."""
        return self._stream.name

    def prepare_for(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Capture the layers for prompts of this length, unless they are there.

        Raises:
            EngineError: The card has not enough memory left, or cannot run the layers.
        """
        try:
            self._prepare(inputs)
        except RuntimeError as error:
            raise EngineError(f'graphs on {self.device}: {first_line(error)}') from error
        finally:
            self._serial += 1  # the layers ran, so that no state is what it was

    def _prepare(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        padding = self._padding_of(inputs)
        if padding in self._lengths:
            assert padding is not None
            self._lengths.move_to_end(padding)
        elif padding is None or not self._hides_just(padding, inputs):
            if not self._captured_masked:
                self._captured_masked = self._captured(self._masked)
        else:
            while len(self._lengths) >= LENGTHS:
                _, dropped = self._lengths.popitem(last=False)
                self._stream.forget(dropped.values())
            self._lengths[padding] = self._capture_without(padding)

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> CudaHidden:
        """Stage the inputs; one launch copies them, runs vision and embedding."""
        self._stage(inputs)
        self._padding = self._padding_of(inputs)
        return self._launch('embed')

    def _stage(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        for name, staged in self._staged.items():
            value = inputs.get(name)
            wanted = (tuple(staged.shape), str(staged.dtype).removeprefix('torch.'))
            found = None if value is None else (value.shape, str(value.dtype))
            if found != wanted:
                raise EngineError(f'input {name!r}: {found}: expected {wanted}')
        if self._inputs_in_use:
            self.synchronize()  # the copy before may still be reading the staged inputs
        for name in sorted(self._staged, key=lambda one: one not in self._pictures):
            np.copyto(self._staged[name].numpy(), inputs[name])
            if name in self._pictures:
                self._send((name,))
        self._inputs_in_use = True

    def run_layer(self, layer: int, hidden: CudaHidden) -> CudaHidden:
        """Launch a layer."""
        self._check(hidden)
        return self._launch(f'layer_{layer}')

    def run_layer_and_ask(self, layer: int, hidden: CudaHidden) -> CudaHidden:
        """Launch a layer and the controller of the next one, as one graph."""
        self._check(hidden)
        after = self._launch(f'asked_{layer}')
        self._asked = (layer + 1, after.serial)
        return after

    def run_layers(self, first: int, end: int, hidden: CudaHidden) -> CudaHidden:
        """Launch layers ``first`` to ``end - 1``: all of them together are one graph."""
        self._check(hidden)
        if (first, end) == (0, self._layout.layers_total):
            return self._launch('chain')
        for layer in range(first, end):
            hidden = self.run_layer(layer, hidden)
        return hidden

    def skip_score(self, layer: int, hidden: CudaHidden) -> float:
        """Launch a controller unless it was with its layer; wait, and read one pinned float."""
        self._check(hidden)
        if self._asked != (layer, hidden.serial):
            self._run(f'gate_{layer}')
            self._asked = (layer, hidden.serial)
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
        return _Kept(kept, self._padding)

    def restore(self, kept: object) -> CudaHidden:
        """Copy back into the buffers."""
        assert isinstance(kept, _Kept)
        living = self._living()
        self._stream.order(lambda: _copy(kept.buffers, living))
        self._padding = kept.padding
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
        self._lengths.clear()
        self._captured_masked.clear()
        self._masked.clear()
        self._others.clear()
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
        """What each graph does that is no layer; results go into buffers of this engine."""
        hidden = self._hidden

        def embed() -> None:
            self._upload()
            hidden.copy_(parts.embed(self._inputs))

        bodies: dict[str, Callable[[], object]] = {'embed': embed}
        for layer in self._layout.dynamic_layers:
            bodies[f'gate_{layer}'] = _bound(self._score, layer)
            bodies[f'bridge_{layer}'] = _bound(
                lambda i: hidden.copy_(parts.bridge(i, hidden)), layer
            )
        bodies['head'] = lambda: self._actions.copy_(parts.head(hidden).float(), non_blocking=True)
        return bodies

    def _layer_bodies(self, parts: TorchParts) -> dict[str, Callable[[], object]]:
        """What the graphs of layers do: one, one with the gate behind it, all of them."""
        hidden = self._hidden
        every = range(self._layout.layers_total)

        def chain() -> None:
            state = hidden
            for layer in every:
                state = parts.layer(layer, state)
            hidden.copy_(state)

        def step(layer: int) -> None:
            hidden.copy_(parts.layer(layer, hidden))

        def asked(layer: int) -> None:
            step(layer)
            self._score(layer + 1)

        bodies: dict[str, Callable[[], object]] = {'chain': chain}
        for layer in every:
            bodies[f'layer_{layer}'] = _bound(step, layer)
        for layer in self._layout.dynamic_layers:
            bodies[f'asked_{layer - 1}'] = _bound(asked, layer - 1)
        return bodies

    def _score(self, layer: int) -> None:
        assert self._parts is not None
        score = self._parts.score(layer, self._hidden).float()
        self._gate.copy_(score.reshape(1), non_blocking=True)

    def _captured(
        self, bodies: Mapping[str, Callable[[], object]]
    ) -> dict[str, Callable[[], None]]:
        found: dict[str, Callable[[], None]] = {}
        try:
            with _little_garbage():
                for name, body in bodies.items():
                    found[name] = self._stream.capture(body)
        except BaseException:
            self._stream.forget(found.values())
            raise
        return found

    def _padding_of(self, inputs: Mapping[str, NDArray[Any]]) -> int | None:
        parts = self._parts
        if parts is None:
            raise EngineError('the engine is closed')
        return parts.padding_of(inputs) if isinstance(parts, PaddedParts) else None

    def _capture_without(self, padding: int) -> dict[str, Callable[[], None]]:
        parts = self._parts
        assert isinstance(parts, PaddedParts)
        return self._captured({
            name: _with_padding(parts, padding, body) for name, body in self._masked.items()
        })  # fmt: skip

    def _hides_just(self, padding: int, inputs: Mapping[str, NDArray[Any]]) -> bool:
        """Ask the layers' own mask, of the state that these inputs give."""
        parts = self._parts
        assert isinstance(parts, PaddedParts)
        found: list[torch.Tensor] = []
        self._stage(inputs)
        self._run('embed')
        self._stream.order(lambda: found.append(parts.hides_just(padding, self._hidden)))
        self.synchronize()
        return bool(found[0])

    def _send(self, names: Iterable[str]) -> None:
        """Copy staged inputs to the device; the host goes on."""
        for name in names:
            target, source = self._inputs[name], self._staged[name]
            self._stream.order(_bound_copy(target, source))

    def _upload(self) -> None:
        for name, buffer in self._inputs.items():
            if name not in self._pictures:
                buffer.copy_(self._staged[name], non_blocking=True)

    # ---- running -----------------------------------------------------------------------------

    def _living(self) -> tuple[torch.Tensor, ...]:
        if self._parts is None:
            raise EngineError('the engine is closed')
        state = self._parts.state if isinstance(self._parts, StatefulParts) else ()
        return (self._hidden, *state)

    def _run(self, name: str) -> None:
        launch = self._others.get(name) or self._layer(name)
        if launch is None:
            raise EngineError(f'{name}: the engine is closed, or the policy has no such part')
        try:
            launch()
        except RuntimeError as error:
            raise EngineError(f'{name} on {self.device}: {first_line(error)}') from error

    def _layer(self, name: str) -> Callable[[], None] | None:
        """What launches a layer for the state at hand: captured, or operation by operation."""
        captured = self._captured_masked
        if self._padding is not None:
            captured = self._lengths.get(self._padding, captured)
        body = self._masked.get(name)
        if name in captured or body is None:
            return captured.get(name)
        return lambda: self._stream.order(body)

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


@contextlib.contextmanager
def _little_garbage() -> Iterator[None]:
    """What is there already is no garbage: older versions of torch collect at every capture.

    Some sixty full collections of a process with torch in it would take seconds.
    """
    if gc.get_freeze_count():  # somebody else's doing, to be left as it is
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def first_line(error: Exception) -> str:
    """What went wrong, without the advice that torch appends."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _bound(body: Callable[[int], object], layer: int) -> Callable[[], object]:
    return lambda: body(layer)


def _with_padding(
    parts: PaddedParts, padding: int, body: Callable[[], object]
) -> Callable[[], object]:
    def padded() -> None:
        parts.use_padding(padding)
        body()
        parts.use_padding(None)

    return padded


def _bound_copy(target: torch.Tensor, source: torch.Tensor) -> Callable[[], object]:
    return lambda: target.copy_(source, non_blocking=True)


def _copy(sources: tuple[torch.Tensor, ...], targets: tuple[torch.Tensor, ...]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
