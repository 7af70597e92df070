"""Depth predicted on a recording, and guidance numbers fitted to a budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass, calibrate
from dysl_vla_ros.lab.guidance.depth_budget import fit_depth
from dysl_vla_ros.lab.guidance.prediction import predict

LAYOUT = LayerLayout(10, (0, 5, 9))
SPEC = CalibrationSpec(
    eta=0.1, window=3, threshold=5.0, hysteresis=1.0, weights=(1.0, 1.0), rule='level',
    level_low=-9.0, level_high=-8.0,
)  # fmt: skip


def recording(scores: dict[int, float], passes: int = 40) -> list[list[RecordedPass]]:
    """Motion that is smooth, then jittery, then smooth again."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(passes):
        noise = 0.5 if passes // 3 < number < passes // 2 else 0.01
        chunk = np.array([1.0, 0.0]) + noise * rng.standard_normal((4, 2))
        entries.append(RecordedPass(chunk, 4, scores))
    return [entries]


def depth(scores: dict[int, float], spec: CalibrationSpec = SPEC) -> float:
    return 1.0 - predict(recording(scores), LAYOUT, spec).skip_ratio


def test_a_controller_that_stays_closed_is_predicted_to_skip_nothing() -> None:
    closed = dict.fromkeys(LAYOUT.dynamic_layers, 0.2)
    assert depth(closed) == 1.0
    assert depth({**closed, 7: 0.9}) < 1.0


def test_the_first_open_controller_decides_where_a_pass_jumps() -> None:
    closed = dict.fromkeys(LAYOUT.dynamic_layers, 0.2)
    early, late = depth({**closed, 6: 0.9, 8: 0.9}), depth({**closed, 8: 0.9})
    # All passes but the first, which is dense, jump over layers 6 to 8, or over layer 8.
    assert early == pytest.approx(1.0 - 39 * 3 / 400)
    assert late == pytest.approx(1.0 - 39 * 1 / 400)


def test_without_scores_every_live_controller_counts_as_open() -> None:
    assert depth({}) == depth(dict.fromkeys(LAYOUT.dynamic_layers, 1.0))


@pytest.mark.parametrize('budget', [0.4, 0.6, 0.8])
@pytest.mark.parametrize('rule', ['level', 'ceil'])
def test_fitted_numbers_stay_within_the_budget_and_use_most_of_it(budget, rule) -> None:
    scores = dict.fromkeys(LAYOUT.dynamic_layers, 0.9)
    fitted = fit_depth(recording(scores), LAYOUT, SPEC, budget)
    found = depth(scores, CalibrationSpec(**{**vars(fitted), 'rule': rule}))
    assert found <= budget
    if rule == 'level':
        assert found > budget - 0.15
    assert fitted.threshold == SPEC.threshold and fitted.rule == SPEC.rule


def test_a_recording_without_scores_is_refused() -> None:
    with pytest.raises(ConfigError, match="controllers' scores"):
        fit_depth(recording({}), LAYOUT, SPEC, 0.5)


def test_a_depth_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'depth = 0\.0'):
        fit_depth(recording({1: 0.9}), LAYOUT, SPEC, 0.0)


def test_a_threshold_that_would_call_everything_critical_is_not_chosen() -> None:
    """Near zero a drop begins once and never ends: few drops begin, and nothing is skipped."""
    scores = dict.fromkeys(LAYOUT.dynamic_layers, 0.9)
    smooth = recording(scores, passes=60)
    spec, _ = calibrate(smooth, SPEC.weights, window=3, drop_rate=0.3)
    fitted = fit_depth(smooth, LAYOUT, spec, 0.6)
    assert predict(smooth, LAYOUT, replace(fitted, rule='level')).skip_rate > 0.6
