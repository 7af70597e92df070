"""The engine protocol, and the one loop above all back ends that *is* the method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, Jump, LayerLayout, LayerTrace, SkipPlan
from dysl_vla_ros.errors import EngineError

Hidden = Any
"""Opaque to the loop: a device buffer, a tensor, an OrtValue; owned by its engine."""


class Engine(Protocol):
    """The parts of one layer-skipping policy, run by one back end.

    One engine serves one thread. A ``Hidden`` is valid until the next call that returns one;
    what must survive longer is copied with ``keep``.
    """

    @property
    def layout(self) -> LayerLayout:
        """Depth, static layers, segments."""

    @property
    def device(self) -> str:
        """In words, for diagnostics: ``'CPU (ONNX Runtime 1.30)'``."""

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> Hidden:
        """Images, tokens, proprioception -> hidden state entering layer 0.

        Called once per observation, also when a re-run follows.
        """

    def run_layer(self, layer: int, hidden: Hidden) -> Hidden:
        """The state after ``layer``."""

    def skip_score(self, layer: int, hidden: Hidden) -> float:
        """Score in [0, 1] of the controller at a dynamic layer; may wait for the device."""

    def bridge(self, layer: int, hidden: Hidden) -> Hidden:
        """Adapter: from the state entering ``layer`` to that entering the next static one."""

    def keep(self, hidden: Hidden) -> object:
        """A copy that later layers cannot overwrite, recurrent head state included."""

    def restore(self, kept: object) -> Hidden:
        """The hidden state that ``keep`` copied."""

    def decode(self, hidden: Hidden) -> FloatArray:
        """Normalised actions, shape (action_horizon, action_dim)."""

    def synchronize(self) -> None:
        """Wait until all that was launched is done; back ends that run at once do nothing."""

    def close(self) -> None:
        """Release the device; a second call does nothing."""


@runtime_checkable
class RunsLayers(Protocol):
    """An engine that launches a run of layers at once, where no controller is asked between."""

    def run_layers(self, first: int, end: int, hidden: Hidden) -> Hidden:
        """From the state entering layer ``first`` to the state entering layer ``end``."""


@runtime_checkable
class AsksAhead(Protocol):
    """An engine that launches a layer and the controller behind it at once."""

    def run_layer_and_ask(self, layer: int, hidden: Hidden) -> Hidden:
        """The state after ``layer``; ``skip_score`` of the next layer is asked for next."""


@runtime_checkable
class Prepares(Protocol):
    """An engine that makes passes of one kind fast by work that none of them should wait for."""

    def prepare_for(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Do it for inputs like these: with as many words. May take seconds; later almost none.

        Called between passes, when an instruction is new, and again where an engine was opened
        anew; whatever ``keep`` did not copy is overwritten. No pass may depend on it: without it
        actions are the same, up to rounding, and come later.
        """


def prepare_for(engine: Engine, inputs: Mapping[str, NDArray[Any]]) -> None:
    """As ``Prepares.prepare_for``, where an engine has it."""
    if isinstance(engine, Prepares):
        engine.prepare_for(inputs)


def forward(
    engine: Engine,
    hidden: Hidden,
    plan: SkipPlan,
    start_layer: int = 0,
) -> tuple[Hidden, LayerTrace]:
    """Run the backbone under a skip plan.

    For each static layer: run it, then walk its segment; from the allow point on ask the
    controller of each dynamic layer, and on the first that opens apply its adapter and jump
    to the next static layer. At most one jump per segment. With a fixed exit: run the layers
    before it, then the last one.

    Args:
        engine: Any back end.
        hidden: State entering ``start_layer``.
        plan: Allow points; must have one per segment.
        start_layer: 0, or the layer of the first jump when a re-run resumes.

    Returns:
        The state after the last layer, and what was run.

    Raises:
        EngineError: The plan does not fit the layout.
    """
    layout = engine.layout
    segments = layout.segments
    if len(plan.allow) != len(segments):
        raise EngineError(
            f'plan.allow has {len(plan.allow)} points: expected {len(segments)}, one per segment'
        )
    for (first, end), allow in zip(segments, plan.allow, strict=True):
        if not first <= allow <= end:
            raise EngineError(f'allow point {allow}: expected within [{first}, {end}]')
    if plan.exit_layer is not None:
        return _exit(engine, hidden, plan.exit_layer, start_layer)
    dense = all(allow == end for (_, end), allow in zip(segments, plan.allow, strict=True))
    if dense and isinstance(engine, RunsLayers):
        layers = tuple(range(start_layer, layout.layers_total))
        hidden = engine.run_layers(start_layer, layout.layers_total, hidden)
        return hidden, LayerTrace(layers, layout.layers_total)
    allow_of = {
        layer: (allow, end)
        for (first, end), allow in zip(segments, plan.allow, strict=True)
        for layer in range(first, end)
    }
    asks = plan.controllers != 'open'
    ahead = engine if asks and isinstance(engine, AsksAhead) else None
    run: list[int] = []
    jumps: list[Jump] = []
    scores: dict[int, float] = {}
    kept: object | None = None
    layer = start_layer
    while layer < layout.layers_total:
        allow, end = allow_of.get(layer, (layout.layers_total, layout.layers_total))
        if layer >= allow:
            opens = plan.controllers == 'open'
            if not opens:
                scores[layer] = engine.skip_score(layer, hidden)
                opens = plan.controllers == 'live' and scores[layer] > plan.threshold
            if opens:
                if not jumps:
                    kept = engine.keep(hidden)
                hidden = engine.bridge(layer, hidden)
                jumps.append(Jump(layer=layer, target=end))
                layer = end
                continue
        asked_from, _ = allow_of.get(layer + 1, (layer + 2, 0))
        if ahead is not None and layer + 1 >= asked_from:
            hidden = ahead.run_layer_and_ask(layer, hidden)
        else:
            hidden = engine.run_layer(layer, hidden)
        run.append(layer)
        layer += 1
    return hidden, LayerTrace(
        layers_run=tuple(run),
        layers_total=layout.layers_total,
        scores=scores,
        jumps=tuple(jumps),
        resume_layer=jumps[0].layer if jumps else None,
        resume_state=kept,
    )


def _exit(
    engine: Engine, hidden: Hidden, exit_layer: int, start_layer: int
) -> tuple[Hidden, LayerTrace]:
    """The layers before the exit, then the last; nothing is kept, for nothing is run again."""
    layout = engine.layout
    last = layout.layers_total - 1
    if exit_layer not in layout.exit_layers:
        raise EngineError(
            f'exit layer {exit_layer}: expected within [1, {last - 1}] of {last + 1} layers '
            '(skip.exit_layer, --exit-layer), or another mode than fixed'
        )
    if start_layer > exit_layer:
        raise EngineError(f'start layer {start_layer}: expected at most exit layer {exit_layer}')
    before = range(start_layer, exit_layer)
    if isinstance(engine, RunsLayers) and before:
        hidden = engine.run_layers(start_layer, exit_layer, hidden)
    else:
        for layer in before:
            hidden = engine.run_layer(layer, hidden)
    hidden = engine.run_layer(last, hidden)
    return hidden, LayerTrace(
        (*before, last), layout.layers_total, jumps=(Jump(exit_layer, last),)
    )
