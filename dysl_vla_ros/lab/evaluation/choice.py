"""Which skip mode a bundle should run in: dense, a fixed exit, or one of the dynamic ones.

In the simulator by success, on recorded observations by how far the actions are from dense ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.evaluate import Played
from dysl_vla_ros.lab.evaluation.exits import rms
from dysl_vla_ros.lab.evaluation.latency_auto import ModeRun
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.summary import summary
from dysl_vla_ros.policy import Policy

POINT = 0.01
"""Success within this share of the best counts as the best."""
DYNAMIC = (Row('auto', deployed=True), Row('max_skip', deployed=True))
DENSE = Row('full', deployed=True)


@dataclass(frozen=True)
class Candidate:
    """One row that may be chosen.

    Attributes:
        row: Which.
        score: The larger the better: success, or minus the error.
        layers: Mean layers run per chunk, re-runs included.
    """

    row: Row
    score: float
    layers: float


def default_exits(layers_total: int) -> range:
    """From a quarter to half of the depth: where an exit saves something and may still act."""
    return range(max(1, layers_total // 4), max(2, layers_total // 2 + 1))


def rows_within(layers_total: int, depth: float) -> tuple[Row, ...]:
    """What to compare: dense, the dynamic modes, and the fixed exits that a budget allows.

    Each is played as a node plays it, since what is chosen is what a node will run.

    Args:
        layers_total: Depth of the backbone.
        depth: Layers run / all layers; 0 is no budget.
    """
    exits: Sequence[int] = default_exits(layers_total)
    if depth:
        most = int(depth * layers_total + 1e-9) - 1
        exits = [layer for layer in exits if layer <= most] or [max(1, most)]
    if layers_total < 3:
        exits = ()
    return (DENSE, *DYNAMIC, *(Row('fixed', exit_layer=layer, deployed=True) for layer in exits))


def choose(
    candidates: Sequence[Candidate], layers_total: int, depth: float, slack: float
) -> Candidate:
    """The shallowest of those that are as good as the best within the budget.

    Where none keeps the budget it is as if there were none: what is missed by a hundredth of a
    layer is no reason to take what never wins. ``out_of_reach`` says so.

    Args:
        candidates: At least one; of equal ones the first is taken.
        layers_total: Depth of the backbone.
        depth: Layers run / all layers; 0 is no budget.
        slack: How much less than the best score is as good.

    Raises:
        ConfigError: There is none, or one of them was not measured; names it.
    """
    if not candidates:
        raise ConfigError('modes', [], 'at least one row to choose')
    for one in candidates:
        if not (math.isfinite(one.score) and math.isfinite(one.layers)):
            raise ConfigError(one.row.name, (one.score, one.layers), 'a finite score and depth: '
                              'what was not measured cannot be compared')  # fmt: skip
    within = _within(candidates, layers_total, depth) or candidates
    best = max(one.score for one in within)
    return min((one for one in within if one.score >= best - slack - 1e-9),
               key=lambda one: one.layers)  # fmt: skip


def out_of_reach(candidates: Sequence[Candidate], layers_total: int, depth: float) -> str:
    """That no row keeps the budget, for people; '' where one does."""
    if _within(candidates, layers_total, depth):
        return ''
    least = min(one.layers for one in candidates)
    return (f'none keeps {depth * layers_total:.2f} of {layers_total} layers ({least:.2f} at '
            'least): chosen as without a budget')  # fmt: skip


def _within(
    candidates: Sequence[Candidate], layers_total: int, depth: float
) -> Sequence[Candidate]:
    most = depth * layers_total + 1e-9 if depth else math.inf
    return [one for one in candidates if one.layers <= most]


def by_success(played: Played) -> list[Candidate]:
    """Candidates of episodes; fixed exits first."""
    return by_rate({row: summary(results) for row, results in played.items()})


def by_rate(found: Mapping[Row, Mapping[str, Any]]) -> list[Candidate]:
    """Candidates of summaries of episodes; fixed exits first, for they have the fewest parts.

    Of a row without one chunk that was accepted nobody knows how deep it runs.
    """
    return _fixed_first(
        Candidate(row, told['success_rate'],
                  told['layers_run_mean'] if told.get('chunks', 1) else math.nan)
        for row, told in found.items()
    )  # fmt: skip


def _fixed_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: one.row.mode != 'fixed')


def on_recorded(
    policy: Policy,
    observations: Sequence[Observation],
    rows: Sequence[Row],
    progress: Callable[[int, int], None] = lambda done, total: None,
    follows: Sequence[bool] | None = None,
) -> dict[Row, dict[str, Any]]:
    """How far each row's actions are from dense ones, observation by observation, and its depth.

    Args:
        policy: Opened and warmed up.
        observations: In the order in which they were taken.
        rows: Modes of the node.
        progress: Called with (observations done, observations).
        follows: ``Observed.follows``; None is told by their words and time stamps.

    Returns:
        Row -> ``error_mean`` and ``error_p95`` (root mean squares), ``layers_run_mean``,
        ``rerun_rate``.
    """
    deployed = {row: mode_config(NodeConfig(), replace(row, deployed=True)) for row in rows}
    runs = {row: ModeRun(policy, deployed[row], row.mode) for row in rows}  # type: ignore[arg-type]
    errors: dict[Row, list[float]] = {row: [] for row in rows}
    full = policy.manifest.layout.full_plan()
    for number, observation in enumerate(observations, start=1):
        next_one = None if follows is None else follows[number - 1]
        dense = policy.predict(observation, full).normalised
        for row, run in runs.items():
            played = run.step(observation, follows=next_one)
            errors[row].append(rms(played.normalised - dense))
        progress(number, len(observations))
    return {
        row: {
            'error_mean': float(np.mean(errors[row])),
            'error_p95': float(np.quantile(errors[row], 0.95)),
            **{key: told[key] for key in ('layers_run_mean', 'rerun_rate')},
        }
        for row, told in ((row, run.report()) for row, run in runs.items())
    }


def by_error(found: Mapping[Row, Mapping[str, Any]]) -> list[Candidate]:
    """Candidates of recorded observations; fixed exits first."""
    return _fixed_first(Candidate(row, -one['error_mean'], one['layers_run_mean'])
                        for row, one in found.items())  # fmt: skip


def with_mode(spec: CalibrationSpec, row: Row) -> dict[str, Any]:
    """What a calibration changes to when a row is chosen: its mode and exit."""
    return {'mode': row.mode, 'exit_layer': row.exit_layer or spec.exit_layer}
