"""Latency with live controllers, over a run of observations: what the robot would see.

The motion is replayed as if each chunk were played until the next observation, and begins at rest
where that is not of the next pass (``observed``): continuity moves
the allow points, controllers decide, and a drop inside a skipped chunk is run again in full, as
in ``control_loop``. The arm itself is not simulated; for success see ``dysl evaluate``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.skip_policy import SkipPolicy
from dysl_vla_ros.data_types import Observation, SkipMode
from dysl_vla_ros.lab.evaluation.latency import Clock, Progress, quantiles
from dysl_vla_ros.lab.evaluation.observed import chunk_lasts, next_pass
from dysl_vla_ros.lab.evaluation.tally import Tally, TimedPasses
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.verified_pass import displacements, verified

MODES: tuple[SkipMode, ...] = ('full', 'auto', 'max_skip')


def bench_modes(
    policy: Policy,
    observations: Sequence[Observation],
    *,
    follows: Sequence[bool] | None = None,
    without: Sequence[SkipMode] = (),
    rounds: int = 1,
    config: NodeConfig | None = None,
    clock: Clock = time.perf_counter,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """End-to-end latency and depth of each skip mode on the same observations, in turns.

    Args:
        policy: Opened and warmed up.
        observations: In the order in which they were taken.
        follows: ``Observed.follows``; None is told by their words and time stamps.
        without: Modes that are left out.
        rounds: How often the whole run is repeated.
        config: Parameters; the bundle's calibration is used where it says nothing else.
        clock: Seconds.
        progress: Called with (observations done, observations).

    Returns:
        Mode -> latency (re-runs included), layers run, controllers asked and re-runs; ``fixed``
        where the bundle or the parameters name an exit, ``by_instruction`` where the bundle
        does.
    """
    config = config or NodeConfig()
    known = config.skip.exit_layer or policy.manifest.calibration.exit_layer
    modes: tuple[SkipMode, ...] = (*MODES, 'fixed') if known else MODES
    if policy.manifest.calibration.exit_by_instruction:
        modes = (*modes, 'by_instruction')
    runs = {mode: ModeRun(policy, config, mode) for mode in modes if mode not in without}
    total = rounds * len(observations)
    for done in range(total):
        index = done % len(observations)
        for run in runs.values():
            if index == 0:
                run.restart()
            run.step(observations[index], clock, None if follows is None else follows[index])
        if progress is not None:
            progress(done + 1, total)
    reports: dict[str, Any] = {mode: run.report() for mode, run in runs.items()}
    full_ms = reports['full']['latency']['p50']
    for report in reports.values():
        report['speed_up'] = full_ms / report['latency']['p50']
    return reports


class ModeRun:
    """One mode's way through the observations."""

    def __init__(self, policy: Policy, config: NodeConfig, mode: SkipMode) -> None:
        """At rest.

        Args:
            policy: Opened and warmed up.
            config: Parameters; the bundle's calibration is used where it says nothing else.
            mode: Which.
        """
        manifest = policy.manifest
        self._policy = policy
        self._mode = mode
        self._skip = SkipPolicy(
            manifest.layout.segments, skip_settings(config, manifest.calibration)
        )
        self._played = max(1, round(manifest.action.horizon * config.timing.request_threshold))
        self._lasts = chunk_lasts(manifest.action)
        self._last: Observation | None = None
        self._tally = Tally()
        self._layers: list[int] = []

    def restart(self) -> None:
        """A new run of observations begins at rest."""
        self._skip.restart()
        self._last = None

    def step(
        self, observation: Observation, clock: Clock = time.perf_counter,
        follows: bool | None = None,
    ) -> Pass:  # fmt: skip
        """One chunk: predict, verify, run again where that is due; returns what is played.

        Args:
            observation: Of the pass.
            clock: Seconds.
            follows: Whether it is of the pass after the last one, in the same motion; otherwise
                the robot begins at rest. None is told by its words and its time stamp.
        """
        if follows is None:
            follows = next_pass(self._last, observation, self._lasts)
        if not follows:
            self._skip.restart()
        self._last = observation
        manifest, chunk = self._policy.manifest, TimedPasses(self._policy, clock)
        result, moves, _ = verified(
            self._skip,
            chunk.predict(observation, self._skip.plan(self._mode, observation.instruction)),
            lambda one: displacements(manifest, one.normalised, observation),
            manifest.action.horizon, chunk.rerun,
        )  # fmt: skip
        self._tally.add(chunk)
        self._layers.append(chunk.layers)
        for move in moves[: self._played]:
            self._skip.played(move)
        return result

    def report(self) -> dict[str, Any]:
        """The JSON document of this mode."""
        total, tally = self._policy.manifest.layers_total, self._tally
        return {
            'latency': asdict(quantiles(tally.pass_seconds)),
            'chunks': len(self._layers),
            'layers_run_mean': float(np.mean(self._layers)),
            'layers_run_histogram': {str(k): n for k, n in sorted(Counter(self._layers).items())},
            'depth': float(np.mean(self._layers)) / total,
            'controllers_asked_mean': tally.controllers / len(self._layers),
            'reruns': tally.reruns,
            'rerun_rate': tally.reruns / len(self._layers),
        }
