"""Pictures of a training: drawn without a display, written as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.lab.guidance.prediction import Prediction
from dysl_vla_ros.targets import write_whole

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def plot_curve(path: Path, curve: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    """Figures over steps, on a logarithmic axis."""
    figure, axes = plt.subplots(figsize=(7, 4))
    steps = [note['step'] for note in curve]
    for name in names:
        axes.plot(steps, [note.get(name, np.nan) for note in curve], label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel='update', yscale='log', title='training')
    axes.grid(alpha=0.3)
    axes.legend()
    _save(path, figure)


def plot_layers(path: Path, scores: Mapping[str, Sequence[float]], static: Sequence[int]) -> None:
    """Scores per layer; the static layers are marked."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, values in scores.items():
        axes.plot(values, marker='o', markersize=3, label=name)
    for layer in static:
        axes.axvline(layer, color='grey', linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel='layer', ylabel='score', yscale='symlog')
    axes.legend()
    _save(path, figure)


def plot_distillation(path: Path, curve: Sequence[Mapping[str, Any]], layers: int) -> None:
    """Two pictures: what each adapter adds to the action error, and depth as it trains.

    Args:
        path: Of the PNG.
        curve: Notes of a distillation, each with its ``validation``.
        layers: Depth of the backbone.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
    last = max(note['step'] for note in curve if note['stage'] == 1) if any(
        note['stage'] == 1 for note in curve) else 0  # fmt: skip
    steps = [note['step'] + (last if note['stage'] == 2 else 0) for note in curve]
    for note, step in ((curve[0], steps[0]), (curve[-1], steps[-1])):
        found = note['validation']['layers']
        left.plot([int(layer) for layer in found],
                  [entry['error_added'] for entry in found.values()], 'o-', markersize=3,
                  label=f'update {step}')  # fmt: skip
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.axhline(0.0, color='grey', linewidth=0.6)
    left.set(xlabel='dynamic layer', ylabel='action error added',
             title='its adapter in place of the rest of the segment')  # fmt: skip
    left.legend()
    right.plot(steps, [note['validation']['mean_depth'] / layers for note in curve],
               label='mean depth, all controllers live')  # fmt: skip
    right.plot(steps, [note['validation']['live_error'] / note['validation']['dense_error']
                       for note in curve], label='action error / dense')  # fmt: skip
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.axvline(last, color='grey', linewidth=0.6)
    right.set(xlabel='update; stage 2 begins at the line', ylim=(0.0, None))
    right.legend()
    _save(path, figure)


def plot_guidance(
    path: Path,
    values: FloatArray,
    spec: CalibrationSpec,
    around: Sequence[tuple[float, Prediction]],
) -> None:
    """Histogram of C_t of the executed actions, and what other thresholds would lead to."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
    left.hist(values, bins=80)
    middle = float(np.median(values))
    left.axvline(middle - spec.threshold, color='red', label='median - threshold')
    left.axvspan(spec.level_low, spec.level_high, color='green', alpha=0.15, label='level rule')
    left.set(xlabel='continuity C_t', ylabel='executed actions', yscale='log')
    left.legend()
    thresholds = [threshold for threshold, _ in around]
    at_seam = [p.reruns_at_seam / p.chunks for _, p in around]
    right.plot(thresholds, [p.rerun_rate for _, p in around], 'o-', markersize=3,
               label='re-runs per chunk')  # fmt: skip
    right.plot(thresholds, at_seam, 'o--', markersize=3, label='of them at the seam')
    right.plot(thresholds, [p.skip_ratio for _, p in around], 'o-', markersize=3,
               label='layers skipped, all controllers open')  # fmt: skip
    right.axvline(spec.threshold, color='red', label='chosen')
    right.set(xlabel='threshold', xscale='log', ylim=(0.0, None))
    right.legend()
    _save(path, figure)


def _save(path: Path, figure: Figure) -> None:
    write_whole(path, partial(figure.savefig, format='png', dpi=120, bbox_inches='tight'))
    plt.close(figure)
