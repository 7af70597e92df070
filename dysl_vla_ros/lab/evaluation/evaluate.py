"""Success over many seeded episodes, in several workers, several modes on the same seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.modes import Mode
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.summary import compared, outcomes, random_share, summary, trace_of
from dysl_vla_ros.lab.evaluation.workers import Job, run_all


def evaluate(
    options: EvaluateOptions, on_result: Callable[[Mode, EpisodeResult], None] | None = None
) -> dict[str, Any]:
    """Run every mode on the same episodes.

    Args:
        options: What to run.
        on_result: Called after each episode, for a progress bar.

    Returns:
        A JSON document: one entry per mode, and paired differences to the first mode.
    """
    specs = options.specs()
    results: dict[Mode, dict[EpisodeSpec, EpisodeResult]] = {mode: {} for mode in options.modes}

    def play(modes: list[Mode], depth: float) -> None:
        # Modes alternate on one episode: what slows the machine for a while slows them all.
        jobs = [Job(mode, spec, depth) for spec in specs for mode in modes]
        for job, result in run_all(options, jobs):
            results[job.mode][job.spec] = result
            if on_result is not None:
                on_result(job.mode, result)

    later: list[Mode] = [
        mode for mode in options.modes if mode == 'random' and options.random_depth is None
    ]
    depth = 0.5 if options.random_depth is None else options.random_depth
    play([mode for mode in options.modes if mode not in later], depth)
    if later:
        auto = [results['auto'][spec] for spec in specs]
        depth = random_share(summary(auto), auto[0].static_layers)
        play(later, depth)
    ordered = {mode: [results[mode][spec] for spec in specs] for mode in options.modes}
    reference = ordered[options.modes[0]]
    return {
        'modes': {mode: summary(found) for mode, found in ordered.items()},
        'paired': {
            mode: compared(reference, found)
            for mode, found in ordered.items()
            if mode != options.modes[0]
        },
        'random_depth': depth if 'random' in options.modes else None,
        'episodes': {mode: outcomes(found) for mode, found in ordered.items()},
        'traces': {mode: _trace(found) for mode, found in ordered.items()},
    }


def _trace(results: list[EpisodeResult]) -> dict[str, Any] | None:
    """A won episode with a grasp and a release in it, for the plot; else any with chunks."""
    told = [result for result in results if result.depth_trace]
    best = [r for r in told if r.success and r.spec.family in ('bin', 'place')]
    return trace_of((best or told)[0]) if told else None


def bundle_name(path: str) -> str:
    """What a report calls the bundle."""
    return Path(path).name if path else 'bundled model'
