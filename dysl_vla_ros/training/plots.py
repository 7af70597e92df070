"""Pictures of a training: drawn without a display, written as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from dysl_vla_ros.data_types import FloatArray

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def plot_curve(path: Path, curve: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    """Figures over steps, on a logarithmic axis."""
    figure, axes = plt.subplots(figsize=(7, 4))
    steps = [note['step'] for note in curve]
    for name in names:
        axes.plot(steps, [note.get(name, np.nan) for note in curve], label=name)
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
    axes.set(xlabel='layer', ylabel='score', yscale='symlog')
    axes.legend()
    _save(path, figure)


def plot_continuity(path: Path, values: FloatArray, threshold: float) -> None:
    """Histogram of C_t of the executed actions."""
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.hist(values, bins=80)
    axes.axvline(float(np.median(values)) - threshold, color='red', label='median - threshold')
    axes.set(xlabel='continuity C_t', ylabel='executed actions', yscale='log')
    axes.legend()
    _save(path, figure)


def _save(path: Path, figure: Figure) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}')
    figure.savefig(partial, format='png', dpi=120, bbox_inches='tight')
    plt.close(figure)
    partial.replace(path)
