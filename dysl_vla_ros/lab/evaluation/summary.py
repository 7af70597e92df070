"""What a set of episodes says: success with intervals, depth, time per accepted chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult
from dysl_vla_ros.lab.evaluation.latency import ceiling
from dysl_vla_ros.lab.evaluation.modes import CRITICAL, FREE
from dysl_vla_ros.lab.evaluation.statistics import paired_difference, wilson_interval
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.observer import PHASES

STILL = 0.01
"""An arm whose joints went no further than this in an episode did not move in it [rad]."""


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Success, depth, re-runs and latency of one mode.

    Depth counts layers executed, re-runs included, over accepted chunks; times are per accepted
    chunk too, in milliseconds, re-runs included, and None where nobody measured them. How the
    arm moved are medians over the episodes in which it did, whose share is ``moved``: where that
    is 0 they say nothing, and are 0 too.
    """
    wins = sum(result.success for result in results)
    chunks = max(sum(result.chunks for result in results), 1)
    layers = sum(result.layers_run for result in results)
    total = results[0].layers_total
    passes = 1e3 * np.array([s for result in results for s in result.pass_seconds])
    backbone = 1e3 * np.array([s for result in results for s in result.backbone_seconds])
    commands = sum(result.commands for result in results)
    moved = [result for result in results if result.way > STILL]
    return {
        'episodes': len(results),
        'successes': wins,
        'success_rate': wins / len(results),
        'success_interval': wilson_interval(wins, len(results)),
        'families': {
            family: _family([r for r in results if r.spec.family == family])
            for family in FAMILIES
            if any(r.spec.family == family for r in results)
        },
        'layers_run_mean': layers / chunks,
        'layers_per_s': layers / max(sum(result.seconds for result in results), 1e-9),
        'layers_total': total,
        'depth': layers / (total * chunks),
        'layers_by_phase': {phase: _phase_layers(results, (phase,)) for phase in PHASES},
        'layers_histogram': {phase: _histogram(results, phase) for phase in PHASES},
        'critical_over_free': _ratio(
            _phase_layers(results, CRITICAL), _phase_layers(results, FREE)
        ),
        'controllers_mean': sum(result.controllers for result in results) / chunks,
        'chunks': chunks,
        'rerun_rate': sum(result.reruns for result in results) / chunks,
        'actions_median': float(np.median([result.actions for result in results])),
        'seconds_median': float(np.median([result.seconds for result in results])),
        'pass_ms': _quantiles(passes),
        'backbone_ms': _quantiles(backbone),
        'backbone_share': _ratio(_sum(backbone), _sum(passes)),
        'hold_ratio': _ratio(sum(r.holds for r in results), commands),
        'limited_commands': sum(result.limited for result in results),
        'requests_lost': sum(result.lost for result in results),
        'unsafe_commands': sum(result.unsafe for result in results),
        'ended_at_rest': sum(result.resting for result in results) / len(results),
        'moved': len(moved) / len(results),
        'longest_still_s': _median([result.longest_still_s for result in moved]),
        'jerk_rms': _median([result.jerk_rms for result in moved]),
        'jerk_peak': _median([result.jerk_peak for result in moved]),
        'way': _median([result.way for result in moved]),
    }


def compared(
    reference: Sequence[EpisodeResult], other: Sequence[EpisodeResult]
) -> dict[str, float | None]:
    """The other mode against the reference on the same episodes, in the same order.

    Returns:
        ``loss`` of success with its interval, the ratios of backbone and whole-pass time per
        accepted chunk (other / reference), and the speed-up of a whole pass beside the most
        that the reference's backbone share allows at this depth. None where times of one of
        them are not known.
    """
    loss, low, high = paired_difference([r.success for r in reference], [r.success for r in other])
    first, second = summary(reference), summary(other)
    backbone = _ratio(second['backbone_ms']['mean'], first['backbone_ms']['mean'])
    passes = _ratio(second['pass_ms']['mean'], first['pass_ms']['mean'])
    share, depth = first['backbone_share'], min(second['depth'], 1.0)
    return {
        'loss': loss,
        'low': low,
        'high': high,
        'backbone_time_ratio': backbone,
        'pass_time_ratio': passes,
        'speed_up': 1.0 / passes if passes else None,
        'reference_backbone_share': share,
        'speed_up_ceiling': None if share is None else ceiling(share, depth),
    }


def outcomes(results: Sequence[EpisodeResult]) -> list[dict[str, Any]]:
    """One small entry per episode, so that other runs can be paired with this one."""
    return [
        {
            'seed': result.spec.seed,
            'family': result.spec.family,
            'instruction': result.instruction,
            'success': result.success,
            'seconds': round(result.seconds, 2),
            'layers_run': result.layers_run,
            'chunks': result.chunks,
            'reruns': result.reruns,
            **({'refused': result.refused} if result.refused else {}),
        }
        for result in results
    ]


def trace_of(result: EpisodeResult) -> dict[str, Any]:
    """Depth, continuity and phase of every accepted chunk of one episode, for the plot."""
    times, layers, continuity, phases = (
        list(column) for column in zip(*result.depth_trace, strict=True)
    )
    return {
        'seed': result.spec.seed, 'instruction': result.instruction, 'success': result.success,
        'time_s': times, 'layers_run': layers, 'continuity': continuity, 'phase': phases,
        'layers_total': result.layers_total,
    }  # fmt: skip


def random_share(auto: Mapping[str, Any], static: int) -> float:
    """Mean share of dynamic layers at which ``random`` runs as many layers as ``auto`` did."""
    dynamic = auto['layers_total'] - static
    if not dynamic:
        return 1.0
    return float(min(max((auto['layers_run_mean'] - static) / dynamic, 0.0), 1.0))


def _family(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    wins = sum(result.success for result in results)
    return {
        'episodes': len(results),
        'success_rate': wins / len(results),
        'success_interval': wilson_interval(wins, len(results)),
    }


def _phase_layers(results: Sequence[EpisodeResult], phases: Sequence[str]) -> float | None:
    pairs = [result.phase_layers.get(phase, (0, 0)) for result in results for phase in phases]
    return _ratio(float(sum(pair[0] for pair in pairs)), float(sum(pair[1] for pair in pairs)))


def _histogram(results: Sequence[EpisodeResult], phase: str) -> dict[str, int]:
    """Layers executed for a chunk -> chunks; more than the depth where a re-run came on top."""
    counts: dict[int, int] = {}
    for result in results:
        for _, layers, _, where in result.depth_trace:
            if where == phase:
                counts[layers] = counts.get(layers, 0) + 1
    return {str(layers): counts[layers] for layers in sorted(counts)}


def _quantiles(milliseconds: Any) -> dict[str, float | None]:
    if not len(milliseconds):
        return dict.fromkeys(('mean', 'p50', 'p95', 'p99'))
    p50, p95, p99 = np.percentile(milliseconds, (50, 95, 99)).tolist()
    return {'mean': float(np.mean(milliseconds)), 'p50': p50, 'p95': p95, 'p99': p99}


def _sum(milliseconds: Any) -> float | None:
    return float(milliseconds.sum()) if len(milliseconds) else None


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
