"""Guidance numbers that meet a depth budget on a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.guidance.calibrate import Recording, executed_continuity
from dysl_vla_ros.lab.guidance.prediction import predict

_STEPS = 25


def fit_depth(
    recording: Recording, layout: LayerLayout, spec: CalibrationSpec, depth: float
) -> CalibrationSpec:
    """The most careful numbers of both rules whose predicted depth stays within a budget.

    ``eta`` of the ceil rule and the two levels of the level rule each have one knob: a smaller
    eta lets a fall of continuity close more, higher levels keep more passes dense. Where even the
    boldest setting runs deeper than asked for, that one is taken.

    Args:
        recording: Closed-loop episodes with every controller live, so that its scores are known.
        layout: Of the model.
        spec: Everything but ``eta``, ``level_low`` and ``level_high`` is kept.
        depth: Layers run / all layers, re-runs included, more than 0 and at most 1.

    Raises:
        ConfigError: The depth is none, or the recording knows no scores.
    """
    if not 0.0 < depth <= 1.0:
        raise ConfigError('depth', depth, 'more than 0 and at most 1')
    if not any(entry.scores for episode in recording for entry in episode):
        raise ConfigError('depth', depth, 'a recording that knows the controllers\' scores: '
                          'from a distilled checkpoint or a bundle, not from a bag')  # fmt: skip
    every = np.concatenate(executed_continuity(recording, spec.window, spec.weights))
    falls = -np.minimum(np.diff(every), 0.0)
    falls = falls[falls > 0]
    careful_first = np.linspace(1.0, 0.0, _STEPS)

    def levels(knob: float) -> CalibrationSpec:
        low, high = np.quantile(every, (0.5 * knob, min(0.95 * knob + 0.02, 1.0)))
        return replace(spec, rule='level', level_low=float(low),
                       level_high=float(max(high, low + 1e-6)))  # fmt: skip

    def changes(knob: float) -> CalibrationSpec:
        eta = float(np.quantile(falls, 1.0 - knob)) if len(falls) else 0.0
        return replace(spec, rule='ceil', eta=max(eta, 1e-3))

    by_level = _first_within(recording, layout, [levels(k) for k in careful_first], depth)
    by_change = _first_within(recording, layout, [changes(k) for k in careful_first], depth)
    return replace(spec, eta=by_change.eta, level_low=by_level.level_low,
                   level_high=by_level.level_high)  # fmt: skip


def _first_within(
    recording: Recording, layout: LayerLayout, specs: Sequence[CalibrationSpec], depth: float
) -> CalibrationSpec:
    for spec in specs:
        if 1.0 - predict(recording, layout, spec).skip_ratio <= depth:
            return spec
    return specs[-1]
