"""Does an engine compute what the reference computes? Segment by segment, and in whole passes.

Segments are compared on the reference's own states, so that one wrong segment shows as one wrong
row. Whole passes follow many ways through the stack, each engine on its own states, so that what
adds up is seen, too. Last, a resumed re-run must be the full pass bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import Engine, forward, prepare_for
from dysl_vla_ros.engines.inspection import Inspectable
from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.lab.export.parity import Budget, PassRow, Report, Worst

Inputs = Mapping[str, NDArray[Any]]
Progress = Callable[[int, int], None]
"""Called with (passes done, passes)."""


class ReferenceEngine(Engine, Inspectable, Protocol):
    """An engine whose states can be read and set."""


def skip_plans(layout: LayerLayout, most: int, seed: int = 0) -> tuple[SkipPlan, ...]:
    """Ways through the stack: all of them where they are few, else a sample.

    The full pass, and the two that jump every segment as early and as late as can be, are always
    among them.

    Args:
        layout: Depth and segments.
        most: At most so many.
        seed: Of the sample.
    """
    if most < 3:
        raise ConfigError('patterns', most, 'at least 3')
    choices = [end - first + 1 for first, end in layout.segments]
    total = math.prod(choices)
    late = tuple(max(first, end - 1) for first, end in layout.segments)
    chosen = dict.fromkeys([layout.full_plan().allow, layout.open_plan().allow, late])
    numbers = range(total) if total <= most else _sample(total, most, seed)
    for number in numbers:
        allow = []
        for (first, _), count in zip(layout.segments, choices, strict=True):
            number, step = divmod(number, count)
            allow.append(first + step)
        chosen[tuple(allow)] = None
        if len(chosen) >= most:
            break
    return tuple(SkipPlan(allow, 'open') for allow in chosen)


def _sample(total: int, most: int, seed: int) -> list[int]:
    """Numbers below ``total``, which may be larger than any machine integer."""
    random = np.random.default_rng(seed)
    return [int(random.random() * total) for _ in range(4 * most)]


def verify(
    engine: Engine,
    reference: ReferenceEngine,
    observations: Sequence[Inputs],
    plans: Sequence[SkipPlan],
    budget: Budget,
    progress: Progress | None = None,
) -> Report:
    """Compare an engine with the reference.

    Args:
        engine: Under test, any back end.
        reference: FP32.
        observations: Model inputs, named and shaped as the graphs'.
        plans: Ways through the stack.
        budget: What is allowed.
        progress: Called after every pass.

    Raises:
        EngineError: The engines are of different models.
        ConfigError: There is nothing to compare.
    """
    if not observations:
        raise ConfigError('observations', 0, 'at least one')
    if engine.layout != reference.layout:
        raise EngineError(
            f'static layers {engine.layout.static_layers} of {engine.layout.layers_total}: '
            f'expected {reference.layout.static_layers} of {reference.layout.layers_total}, as '
            'the reference has: both must come from one checkpoint'
        )
    for inputs in observations:
        prepare_for(engine, inputs)  # what is verified is what runs on the robot
    found: dict[str, Worst] = {}
    if isinstance(engine, Inspectable):
        for inputs in observations:
            _compare_segments(engine, reference, inputs, found)
    segments = tuple(worst.row(name, budget) for name, worst in found.items())
    passes = []
    for count, plan in enumerate(plans, start=1):
        passes.append(_compare_passes(engine, reference, observations, plan, budget))
        if progress is not None:
            progress(count, len(plans))
    asked, differing = _compare_decisions(engine, reference, observations)
    resumed = _resumed_equal(engine, observations[0], plans)
    return Report(segments, tuple(passes), resumed, asked, differing)


def _compare_segments(
    engine: Any, reference: ReferenceEngine, inputs: Inputs, found: dict[str, Worst]
) -> None:
    """Every segment on the states of the reference's full pass; keeps the worst per segment."""
    layout = reference.layout
    dynamic = set(layout.dynamic_layers)
    state = reference.read(reference.encode(inputs))
    _worst(found, 'encode').add(engine.read(engine.encode(inputs)), state)
    for layer in range(layout.layers_total):
        if layer in dynamic:
            wanted = reference.read(reference.bridge(layer, reference.write(state)))
            value = engine.read(engine.bridge(layer, engine.write(state)))
            _worst(found, f'bridge_{layer:02d}').add(value, wanted)
        worst = _worst(found, f'layer_{layer:02d}')
        ours = engine.run_layer(layer, engine.write(state))
        theirs = reference.run_layer(layer, reference.write(state))
        if layer + 1 in dynamic:
            score = engine.skip_score(layer + 1, ours)
            worst.add_gate(score, reference.skip_score(layer + 1, theirs))
        value, state = engine.read(ours), reference.read(theirs)
        worst.add(value, state)
    actions = engine.decode(engine.write(state))
    _worst(found, 'head').add(actions, reference.decode(reference.write(state)))


def _worst(found: dict[str, Worst], name: str) -> Worst:
    return found.setdefault(name, Worst())


def _compare_passes(
    engine: Engine, reference: Engine, observations: Sequence[Inputs], plan: SkipPlan,
    budget: Budget,
) -> PassRow:  # fmt: skip
    worst, run = Worst(), 0
    for inputs in observations:
        hidden, trace = forward(engine, engine.encode(inputs), plan)
        wanted, _ = forward(reference, reference.encode(inputs), plan)
        worst.add(engine.decode(hidden), reference.decode(wanted))
        run = len(trace.layers_run)
    within = worst.cosine >= budget.cosine and worst.largest <= budget.actions
    return PassRow(plan.allow, run, worst.cosine, worst.largest, within, plan.exit_layer)


def _compare_decisions(
    engine: Engine, reference: Engine, observations: Sequence[Inputs]
) -> tuple[int, int]:
    """With live controllers: how many decisions, and how many differ before the paths part."""
    asked = differing = 0
    plan = engine.layout.open_plan()
    for inputs in observations:
        _, ours = forward(engine, engine.encode(inputs), plan)
        _, theirs = forward(reference, reference.encode(inputs), plan)
        jumps = {jump.layer for jump in ours.jumps}, {jump.layer for jump in theirs.jumps}
        for layer in sorted(set(ours.scores) & set(theirs.scores)):
            asked += 1
            differing += (layer in jumps[0]) != (layer in jumps[1])
    return asked, differing


def _resumed_equal(engine: Engine, inputs: Inputs, plans: Sequence[SkipPlan]) -> bool | None:
    """Resume after every plan that jumps; compare the bits with the full pass."""
    full_plan, resumed = engine.layout.full_plan(), None
    hidden, _ = forward(engine, engine.encode(inputs), full_plan)
    full = engine.decode(hidden)
    for plan in plans:
        _, trace = forward(engine, engine.encode(inputs), plan)
        if trace.resume_layer is not None:
            state = engine.restore(trace.resume_state)
            hidden, _ = forward(engine, state, full_plan, trace.resume_layer)
            resumed = resumed is not False and bool(np.array_equal(engine.decode(hidden), full))
    return resumed
