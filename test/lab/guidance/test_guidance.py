"""Calibration on invented motion whose drops are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
from dysl_vla_ros.lab.guidance.guidance import balanced_weights, equal_weights, guidance
from dysl_vla_ros.lab.guidance.prediction import predict, sweep
from dysl_vla_ros.lab.workspace import Workspace

LAYOUT = LayerLayout(8, (0, 4, 7))
SPEC = CalibrationSpec(eta=0.01, window=2, threshold=0.5, hysteresis=0.2, weights=(1.0, 1.0))


def passes(motion: np.ndarray, played: int = 4) -> list[RecordedPass]:
    """Chunks of eight that the motion is made of, each replaced after ``played`` actions."""
    return [RecordedPass(motion[i : i + 8], played) for i in range(0, len(motion) - 7, played)]


def smooth(length: int = 40) -> np.ndarray:
    return np.tile([0.5, 0.0], (length, 1)) + 0.001 * np.arange(length)[:, None] % 0.003


def test_smooth_motion_is_skipped_in_and_never_run_again():
    found = predict([passes(smooth())], LAYOUT, SPEC)
    assert found.rerun_rate == 0
    assert found.skip_rate > 0.5
    assert 0 < found.skip_ratio <= 5 / 8


def test_a_jolt_at_a_seam_is_told_from_one_inside_a_chunk():
    at_seam, inside = smooth(), smooth()
    at_seam[20:, 1] += 2.0
    inside[22:, 1] += 2.0

    def one(motion):
        # Only the chunk that begins at action 20 knows of the jolt: a new chunk is a surprise.
        entries = passes(motion)
        entries[4] = RecordedPass(np.concatenate([motion[16:20], motion[19:20].repeat(4, 0)]), 4)
        entries[3] = RecordedPass(np.concatenate([motion[12:20]]), 4)
        return predict([entries], LAYOUT, SPEC)

    seam, within = one(at_seam), one(inside)
    assert (seam.reruns_at_seam, seam.reruns_inside) == (1, 0)
    assert (within.reruns_at_seam, within.reruns_inside) == (0, 1)


def test_a_rerun_costs_the_layers_after_the_first_jump():
    motion = smooth()
    motion[20:, 1] += 2.0
    with_rerun = predict([passes(motion)], LAYOUT, SPEC)
    without = predict([passes(motion)], LAYOUT, replace(SPEC, threshold=1e3, hysteresis=1.0))
    assert with_rerun.rerun_rate > 0 and without.rerun_rate == 0
    assert with_rerun.skip_ratio < without.skip_ratio


def test_a_higher_threshold_never_finds_more_chunks_with_a_drop_to_run_again():
    motion = smooth(200)
    motion[::17, 1] += np.linspace(0, 1, len(motion[::17]))
    rates = [p.rerun_rate for _, p in sweep([passes(motion)], LAYOUT, SPEC, points=5)]
    assert rates[-1] <= rates[len(rates) // 2]
    assert max(rates) > 0


def test_balanced_weights_scale_down_what_drowns_the_rest_and_nothing_up():
    rng = np.random.default_rng(0)
    motion = rng.normal(0, [0.1, 0.1, 0.1, 0.001, 0.2, 0.1, 5.0], (80, 7))
    weights = balanced_weights([passes(motion)])
    assert weights[3] == 1.0
    assert weights[4] == pytest.approx(0.5, abs=0.1)
    assert weights[6] == 0.25
    assert max(weights) == 1.0


def test_the_report_holds_histogram_rates_and_the_numbers_that_were_chosen(tmp_path):
    rng = np.random.default_rng(1)
    motion = np.cumsum(rng.normal(0, 0.02, (120, 2)), axis=0)
    motion[50:55, 1] += 1.0
    space = Workspace(tmp_path, tmp_path, torch.device('cpu'))
    spec = guidance([passes(motion)], LAYOUT, space, equal_weights(2), source='a test')
    found = json.loads((tmp_path / 'calibration.json').read_text())
    assert found['calibration']['threshold'] == spec.threshold
    assert found['source'] == 'a test'
    assert sum(found['continuity_histogram']['counts']) == found['actions'] - 1
    assert {'skip_rate', 'rerun_rate', 'reruns_at_seam', 'reruns_inside'} <= set(
        found['predicted'])  # fmt: skip
    assert found['chunks_with_a_drop'] <= 0.15
    assert (tmp_path / 'continuity.png').read_bytes()[:4] == b'\x89PNG'
