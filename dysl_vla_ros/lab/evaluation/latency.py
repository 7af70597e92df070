"""How long the parts of a pass take, and what skipping gains against the same engine in full.

The backbone's share of a full pass bounds every gain: with a share ``s`` and a depth ``d`` (layers
run / all layers) the speed-up is at most ``1 / (1 - s * (1 - d))`` (Amdahl's law). It is always
reported beside the measured gain.

All configurations are timed in turns, one run of each in shuffled order, so that a machine that
warms up or is disturbed is as slow for one as for the other: their ratios stay meaningful.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import AsksAhead, Engine, forward, prepare_for

Clock = Callable[[], float]
Progress = Callable[[int, int], None]


class Joined(Protocol):
    """All layers as one graph, its first state set."""

    def run(self) -> Any:
        """Run them."""


@dataclass(frozen=True)
class Quantiles:
    """Milliseconds over many runs; with fewer than 100, p99 is about the slowest."""

    p50: float
    p95: float
    p99: float
    runs: int


@dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
        body: What is timed; gets what ``prepare`` returned.
        prepare: Runs before each repetition, untimed.
    """

    body: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None


def quantiles(seconds: Iterable[float]) -> Quantiles:
    """Of durations in seconds, as milliseconds."""
    samples = 1e3 * np.array(list(seconds), dtype=np.float64)
    p50, p95, p99 = np.percentile(samples, (50, 95, 99))
    return Quantiles(float(p50), float(p95), float(p99), len(samples))


def time_together(
    cases: Mapping[str, Case],
    wait: Callable[[], None],
    runs: int,
    warm_up: int,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
) -> dict[str, Quantiles]:
    """Time all cases in turns, the device idle before and after each.

    Args:
        cases: By name.
        wait: Returns when the device is idle.
        runs: Timed repetitions of each.
        warm_up: Untimed repetitions of each, first.
        clock: Seconds.
        progress: Called with (rounds done, rounds).
    """
    samples: dict[str, list[float]] = {name: [] for name in cases}
    order = np.random.default_rng(0)
    for index in range(warm_up + runs):
        for name in order.permutation(list(cases)):
            case = cases[name]
            given = case.prepare()
            wait()
            begun = clock()
            case.body(given)
            wait()
            if index >= warm_up:
                samples[name].append(clock() - begun)
        if progress is not None:
            progress(index + 1, warm_up + runs)
    return {name: quantiles(values) for name, values in samples.items()}


def ceiling(share: float, depth: float) -> float:
    """Largest possible speed-up of a whole pass.

    Args:
        share: The backbone's share of a full pass, within [0, 1].
        depth: Layers run / all layers, within [0, 1].
    """
    return 1.0 / (1.0 - share * (1.0 - depth))


def plan_for_layers(layout: LayerLayout, dynamic_run: int) -> SkipPlan:
    """A plan that runs exactly this many dynamic layers, spread evenly over the segments.

    Args:
        layout: Depth and segments.
        dynamic_run: Within [0, dynamic layers].
    """
    total = len(layout.dynamic_layers)
    allow, seen, given = [], 0, 0
    for first, end in layout.segments:
        seen += end - first
        wanted = round(dynamic_run * seen / total) if total else 0
        allow.append(first + wanted - given)
        given = wanted
    return SkipPlan(tuple(allow), controllers='open')


def layers_run(layout: LayerLayout, plan: SkipPlan) -> int:
    """Layers that a plan with open controllers runs."""
    skipped = sum(end - allow for (_, end), allow in zip(layout.segments, plan.allow, strict=True))
    return layout.layers_total - skipped


def bench_engine(
    engine: Engine,
    inputs: Mapping[str, NDArray[Any]],
    *,
    runs: int = 100,
    warm_up: int = 10,
    live_layers: int = 0,
    one_graph: Joined | None = None,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure stages, every fixed depth, controllers and re-runs of one engine.

    Args:
        engine: Any back end.
        inputs: One prepared observation.
        runs: Timed repetitions of each.
        warm_up: Untimed repetitions first.
        live_layers: Layers that a pass with live controllers runs, as calibrated, and the whole
            pass that skips; 0 takes half of the dynamic ones.
        one_graph: All layers at once, where they can be joined.
        clock: Seconds.
        progress: Called with (rounds done, rounds).

    Returns:
        A JSON document; times in milliseconds. ``gain_of_ideal`` is the time saved in the
        backbone over the share of layers not run, i.e. 1 when a skipped layer costs nothing.
    """
    layout = engine.layout
    prepare_for(engine, inputs)
    live = _live_count(layout, live_layers)
    cases = _cases(engine, inputs, live)
    if one_graph is not None:
        joined = one_graph
        cases['one graph'] = Case(lambda _: joined.run())
    found = time_together(cases, engine.synchronize, runs, warm_up, clock, progress)
    dynamic = len(layout.dynamic_layers)
    full = found[f'depth {dynamic}']
    stages = {'encode': found['encode'], 'backbone': full, 'decode': found['decode']}
    total = sum(stage.p50 for stage in stages.values())
    share = full.p50 / total
    return {
        'device': engine.device,
        'layers_total': layout.layers_total,
        'static_layers': list(layout.static_layers),
        'stages': {name: asdict(stage) for name, stage in stages.items()},
        'full_pass': asdict(found['pass']),
        'skipped_pass': {
            'layers_run': layers_run(layout, plan_for_layers(layout, live)),
            'pass': asdict(found['pass skipped']),
        },
        'backbone_share': share,
        'layer_ms': full.p50 / layout.layers_total,
        'depths': [
            _depth(layout, count, found[f'depth {count}'], full.p50, total)
            for count in range(dynamic, -1, -1)
        ],
        'controllers': _controllers(found, full.p50, layout, live),
        'one_graph': {
            'backbone': asdict(found['one graph']),
            'chain_of_one_graph': full.p50 / found['one graph'].p50,
        }
        if one_graph is not None
        else None,
        'same_bits': same_bits(engine, inputs),
        'reruns': [
            {
                'resume_layer': first,
                'layers_share': (layout.layers_total - first) / layout.layers_total,
                'resumed': asdict(found[f'rerun {first}']),
                'from_scratch': asdict(found['rerun 0']),
                'share_of_full': found[f'rerun {first}'].p50 / full.p50,
            }
            for first, end in layout.segments
            if first < end
        ],
    }


def _cases(engine: Engine, inputs: Mapping[str, NDArray[Any]], live: int) -> dict[str, Case]:
    """Everything that ``bench_engine`` times."""
    layout = engine.layout
    full = layout.full_plan()
    entering = engine.keep(engine.encode(inputs))
    leaving = engine.keep(forward(engine, engine.restore(entering), full)[0])

    def enter() -> Any:
        return engine.restore(entering)

    def backbone(plan: SkipPlan) -> Case:
        return Case(lambda hidden: forward(engine, hidden, plan), enter)

    def rerun(state: object, start: int) -> Case:
        return Case(lambda _: forward(engine, engine.restore(state), full, start))

    def whole(plan: SkipPlan) -> Case:
        return Case(lambda _: engine.decode(forward(engine, engine.encode(inputs), plan)[0]))

    cases = {
        'pass': whole(full),
        'pass skipped': whole(plan_for_layers(layout, live)),
        'encode': Case(lambda _: engine.encode(inputs)),
        'decode': Case(engine.decode, lambda: engine.restore(leaving)),
        'rerun 0': rerun(entering, 0),
    }
    for count in range(len(layout.dynamic_layers) + 1):
        cases[f'depth {count}'] = backbone(plan_for_layers(layout, count))
    # A dense plan asks no controller and may be launched at once; name it as what it is.
    cases[f'depth {len(layout.dynamic_layers)}'] = backbone(full)
    for index, (first, end) in enumerate(layout.segments):
        if first < end:
            allow = [stop if i != index else first for i, (_, stop) in enumerate(layout.segments)]
            _, trace = forward(engine, enter(), SkipPlan(tuple(allow), 'open'))
            cases[f'rerun {first}'] = rerun(trace.resume_state, first)
    if layout.dynamic_layers:
        cases['closed'] = backbone(layout.watched_plan())
        deciding = _decided(engine, live)
        cases['live'] = Case(lambda hidden: forward(deciding, hidden, _live_plan(layout)), enter)
        asked = layout.dynamic_layers[0]
        cases['gate'] = Case(
            lambda hidden: engine.skip_score(asked, hidden),
            lambda: _run_to(engine, enter(), asked),
        )
    return cases


def _run_to(engine: Engine, hidden: Any, layer: int) -> Any:
    for before in range(layer):
        hidden = engine.run_layer(before, hidden)
    return hidden


def _depth(
    layout: LayerLayout, count: int, found: Quantiles, full_ms: float, total_ms: float
) -> dict[str, Any]:
    run = layout.layers_total - len(layout.dynamic_layers) + count
    depth = run / layout.layers_total
    share = full_ms / total_ms
    return {
        'layers_run': run,
        'depth': depth,
        'backbone': asdict(found),
        'speed_up': full_ms / found.p50,
        'gain_of_ideal': (1.0 - found.p50 / full_ms) / (1.0 - depth) if depth < 1 else None,
        'end_to_end_speed_up': total_ms / (total_ms - full_ms + found.p50),
        'end_to_end_ceiling': ceiling(share, depth),
    }


def _controllers(
    found: Mapping[str, Quantiles], full_ms: float, layout: LayerLayout, live: int
) -> dict[str, Any] | None:
    """What asking costs: live at one depth, all forced closed, and one read on an idle device."""
    dynamic = len(layout.dynamic_layers)
    if not dynamic:
        return None
    plan = plan_for_layers(layout, live)
    asked = sum(
        min(allow, end - 1) - first + 1
        for (first, end), allow in zip(layout.segments, plan.allow, strict=True)
        if first < end
    )
    return {
        'count': dynamic,
        'live': {
            'layers_run': layers_run(layout, plan),
            'asked': asked,
            'backbone': asdict(found['live']),
            'unasked_ms': found[f'depth {live}'].p50,
            'one_ms': (found['live'].p50 - found[f'depth {live}'].p50) / asked,
        },
        'all_closed': asdict(found['closed']),
        'all_closed_of_dense': found['closed'].p50 / full_ms,
        'one_in_a_pass_ms': (found['closed'].p50 - full_ms) / dynamic,
        'one_read_ms': asdict(found['gate']),
    }


class _Decided:
    """An engine whose controllers are asked, waited for, and overruled."""

    def __init__(self, engine: Engine, jumps: frozenset[int]) -> None:
        self._engine, self._jumps = engine, jumps
        self.layout, self.device = engine.layout, engine.device
        self.run_layer, self.bridge, self.keep = engine.run_layer, engine.bridge, engine.keep
        self.encode, self.restore, self.decode = engine.encode, engine.restore, engine.decode
        self.synchronize, self.close = engine.synchronize, engine.close

    def skip_score(self, layer: int, hidden: Any) -> float:
        self._engine.skip_score(layer, hidden)
        return float(layer in self._jumps)


class _DecidedAhead(_Decided):
    """Likewise, of an engine that launches a controller with the layer before it."""

    def __init__(self, engine: Any, jumps: frozenset[int]) -> None:
        super().__init__(engine, jumps)
        self._ahead = engine

    def run_layer_and_ask(self, layer: int, hidden: Any) -> Any:
        return self._ahead.run_layer_and_ask(layer, hidden)


def _decided(engine: Engine, live: int) -> Engine:
    """Controllers that open where ``plan_for_layers`` jumps."""
    layout = engine.layout
    plan = plan_for_layers(layout, live)
    jumps = frozenset(
        allow for (_, end), allow in zip(layout.segments, plan.allow, strict=True) if allow < end
    )
    kind = _DecidedAhead if isinstance(engine, AsksAhead) else _Decided
    return kind(engine, jumps)


def _live_plan(layout: LayerLayout) -> SkipPlan:
    return SkipPlan(tuple(first for first, _ in layout.segments), 'live')


def _live_count(layout: LayerLayout, live_layers: int) -> int:
    """Dynamic layers of a pass that runs so many layers."""
    dynamic = len(layout.dynamic_layers)
    static = layout.layers_total - dynamic
    return min(max(live_layers - static, 0), dynamic) if live_layers else dynamic // 2


def same_bits(engine: Engine, inputs: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a re-run resumed at each first jump gives the actions of a full pass, bit for bit.

    Args:
        engine: Any back end.
        inputs: One prepared observation.
    """
    layout = engine.layout
    full = layout.full_plan()
    entering = engine.keep(engine.encode(inputs))
    wanted = engine.decode(forward(engine, engine.restore(entering), full)[0])
    if not np.isfinite(wanted).all():
        return False
    for index, (first, end) in enumerate(layout.segments):
        if first < end:
            allow = [stop if i != index else first for i, (_, stop) in enumerate(layout.segments)]
            plan = SkipPlan(tuple(allow), 'open')
            _, trace = forward(engine, engine.restore(entering), plan)
            hidden = engine.restore(trace.resume_state)
            again, _ = forward(engine, hidden, full, trace.resume_layer or 0)
            if not np.array_equal(engine.decode(again), wanted):
                return False
    return True
