"""How long the parts of a pass take, and what skipping gains against the same engine in full.

The backbone's share of a full pass bounds every gain: with a share ``s`` and a depth ``d`` (layers
run / all layers) the speed-up is at most ``1 / (1 - s * (1 - d))`` (Amdahl's law). It is always
reported beside the measured gain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.engine import Engine, LayerLayout, forward


@dataclass(frozen=True)
class Quantiles:
    """Milliseconds over many runs."""

    p50: float
    p95: float
    p99: float
    runs: int


def ceiling(share: float, depth: float) -> float:
    """Largest possible speed-up of a whole pass.

    Args:
        share: The backbone's share of a full pass, within [0, 1].
        depth: Layers run / all layers, within [0, 1].
    """
    return 1.0 / (1.0 - share * (1.0 - depth))


def timed(body: Callable[[], Any], wait: Callable[[], None], runs: int, warm_up: int) -> Quantiles:
    """Milliseconds of ``body``, the device waited for before and after.

    Args:
        body: What is timed.
        wait: Returns when the device is idle.
        runs: Timed repetitions.
        warm_up: Untimed repetitions first.
    """
    samples = []
    for index in range(warm_up + runs):
        wait()
        begin = time.perf_counter()
        body()
        wait()
        if index >= warm_up:
            samples.append(1e3 * (time.perf_counter() - begin))
    p50, p95, p99 = np.percentile(samples, (50, 95, 99))
    return Quantiles(float(p50), float(p95), float(p99), runs)


def plan_for_depth(layout: LayerLayout, share_run: float) -> SkipPlan:
    """A plan that jumps so that about this share of each segment's layers runs.

    Args:
        layout: Depth and segments.
        share_run: 1.0 runs every dynamic layer, 0.0 none.
    """
    allow = tuple(first + round(share_run * (end - first)) for first, end in layout.segments)
    return SkipPlan(allow, controllers='open')


def layers_run(layout: LayerLayout, plan: SkipPlan) -> int:
    """Layers that a plan with open controllers runs."""
    skipped = sum(
        end - allow for (_, end), allow in zip(layout.segments, plan.allow, strict=True)
    )
    return layout.layers_total - skipped


def bench_engine(
    engine: Engine,
    inputs: Mapping[str, NDArray[Any]],
    *,
    runs: int = 100,
    warm_up: int = 10,
    shares: Iterable[float] = (1.0, 0.75, 0.5, 0.25, 0.0),
) -> dict[str, Any]:
    """Measure stages, fixed depths, controller overhead and re-runs of one engine.

    Args:
        engine: Any back end.
        inputs: One prepared observation.
        runs: Timed repetitions of each.
        warm_up: Untimed repetitions first.
        shares: Shares of the dynamic layers to run.

    Returns:
        A JSON document; times in milliseconds. ``gain_of_ideal`` is the time saved in the
        backbone over the share of layers not run, i.e. 1 when skipped layers cost nothing.
    """
    layout = engine.layout

    def measure(body: Callable[[], Any]) -> dict[str, float]:
        return vars(timed(body, engine.synchronize, runs, warm_up))

    hidden = engine.keep(engine.encode(inputs))

    def backbone(plan: SkipPlan) -> Any:
        return forward(engine, engine.restore(hidden), plan)

    full_plan = layout.full_plan()
    stages = {
        'encode': measure(lambda: engine.encode(inputs)),
        'backbone': measure(lambda: backbone(full_plan)),
        'decode': measure(lambda: engine.decode(engine.restore(hidden))),
    }
    full_ms = stages['backbone']['p50']
    total_ms = sum(stage['p50'] for stage in stages.values())
    share = full_ms / total_ms
    depths = []
    for value in shares:
        plan = plan_for_depth(layout, value)
        run = layers_run(layout, plan)
        figures = measure(lambda plan=plan: backbone(plan))  # type: ignore[misc]
        depth = run / layout.layers_total
        saved = 1.0 - figures['p50'] / full_ms
        depths.append({
            'layers_run': run,
            'depth': depth,
            'backbone': figures,
            'speed_up': full_ms / figures['p50'],
            'gain_of_ideal': saved / (1.0 - depth) if depth < 1 else None,
            'end_to_end_speed_up': total_ms / (total_ms - full_ms + figures['p50']),
            'end_to_end_ceiling': ceiling(share, depth),
        })  # fmt: skip
    closed = measure(lambda: backbone(SkipPlan(layout.open_plan().allow, 'closed')))
    controllers = len(layout.dynamic_layers)
    return {
        'device': engine.device,
        'layers_total': layout.layers_total,
        'static_layers': list(layout.static_layers),
        'stages': stages,
        'backbone_share': share,
        'depths': depths,
        'all_controllers_closed': closed,
        'gate_read_ms': (closed['p50'] - full_ms) / controllers if controllers else None,
        'reruns': _bench_reruns(engine, backbone, measure, full_ms),
    }


def _bench_reruns(
    engine: Engine,
    backbone: Callable[[SkipPlan], Any],
    measure: Callable[[Callable[[], Any]], dict[str, float]],
    full_ms: float,
) -> list[dict[str, Any]]:
    """Resumed re-runs after a first jump in each segment."""
    layout, rows = engine.layout, []
    for index, (first, end) in enumerate(layout.segments):
        if first == end:
            continue
        allow = [stop if i != index else first for i, (_, stop) in enumerate(layout.segments)]
        _, trace = backbone(SkipPlan(tuple(allow), 'open'))

        def resume(kept: object = trace.resume_state, start: int = first) -> Any:
            return forward(engine, engine.restore(kept), layout.full_plan(), start_layer=start)

        figures = measure(resume)
        rows.append({
            'resume_layer': first,
            'layers_share': (layout.layers_total - first) / layout.layers_total,
            'resumed': figures,
            'share_of_full': figures['p50'] / full_ms,
        })  # fmt: skip
    return rows
