"""Continuity weights, thresholds and ``eta`` from a recording, with what they will lead to."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.guidance.calibrate import Recording, calibrate
from dysl_vla_ros.lab.guidance.depth_budget import fit_depth
from dysl_vla_ros.lab.guidance.prediction import predict, sweep
from dysl_vla_ros.lab.plots import plot_guidance
from dysl_vla_ros.lab.workspace import Workspace

_BINS = 40
_SMALLEST_WEIGHT = 0.25


def equal_weights(dim: int) -> tuple[float, ...]:
    """Every dimension counts alike."""
    return (1.0,) * dim


def balanced_weights(recording: Recording) -> tuple[float, ...]:
    """Weights under which no dimension, the gripper least of all, drowns the others.

    A dimension whose executed steps change more than is usual among all dimensions (root mean
    square against the median over the dimensions) is scaled down to that, at most to a quarter;
    none is scaled up, for that would raise the noise of one that hardly moves.
    """
    changes = [
        np.diff(np.concatenate([entry.chunk[: entry.played] for entry in episode]), axis=0)
        for episode in recording
        if sum(entry.played for entry in episode) > 1
    ]
    if not changes:
        raise ConfigError('recording', 'no two actions played in a row', 'a longer recording')
    spread = np.sqrt(np.mean(np.square(np.concatenate(changes)), axis=0))
    usual = float(np.median(spread))
    weights = np.clip(usual / np.maximum(spread, 1e-9), _SMALLEST_WEIGHT, 1.0)
    return tuple(round(float(weight), 4) for weight in weights)


def guidance(
    recording: Recording,
    layout: LayerLayout,
    space: Workspace,
    weights: tuple[float, ...],
    window: int = 5,
    drop_rate: float = 0.15,
    rule: Literal['ceil', 'level'] = 'level',
    source: str = '',
    depth: float = 0.0,
) -> CalibrationSpec:
    """Choose the numbers, and write ``calibration.json`` and ``continuity.png``.

    Args:
        recording: Episodes of the deployed policy.
        layout: Of the model that will run.
        space: Gets plot and report.
        weights: Per action dimension.
        window: k of the continuity.
        drop_rate: Share of chunks that may count as holding a drop.
        rule: Guidance rule.
        source: Where the recording came from, for the report.
        depth: Layers run / all layers that the numbers of both rules are fitted to; 0 leaves
            them at quantiles of the recording.
    """
    spec, found = calibrate(recording, weights, window, drop_rate)
    if depth:
        spec = fit_depth(recording, layout, spec, depth)
    spec = replace(spec, rule=rule)
    predicted = predict(recording, layout, spec)
    around = sweep(recording, layout, spec)
    document: dict[str, Any] = {
        'source': source,
        'calibration': spec.told(),
        'episodes': len(recording),
        'chunks': found.chunks,
        'actions': sum(entry.played for episode in recording for entry in episode),
        'continuity_histogram': histogram(found.continuity),
        'chunks_with_a_drop': found.drop_rate,
        'drops_at_seam_share': found.seam_drops,
        'predicted': dataclasses.asdict(predicted),
        'sweep': [{'threshold': t, **dataclasses.asdict(p)} for t, p in around],
    }
    space.write('calibration.json', document)
    if space.main:
        plot_guidance(space.results / 'continuity.png', found.continuity, spec, around)
    kept = ('episodes', 'chunks', 'actions', 'chunks_with_a_drop', 'drops_at_seam_share')
    space.note('calibrate', source=source, **spec.told(),
               **{name: document[name] for name in kept},
               **{f'predicted_{k}': v for k, v in document['predicted'].items()
                  if k != 'chunks'})  # fmt: skip
    return spec


def histogram(values: FloatArray) -> dict[str, list[float]]:
    """Counts of C_t and the edges between them, and some quantiles."""
    counts, edges = np.histogram(values, bins=_BINS)
    shares = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    return {
        'counts': counts.tolist(),
        'edges': edges.tolist(),
        'quantile_shares': list(shares),
        'quantiles': np.quantile(values, shares).tolist(),
    }
