"""From nothing to an evaluated bundle, through the command line alone, at toy size."""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import replace

import pytest
import tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec('torch') is None, reason="needs the extra 'train': make test-all"
)


def dysl(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.fixture
def quiet():
    """torch's exporter logs every tensor at level DEBUG, which pytest would keep."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.timeout(600)  # on two idle cores it takes less than three minutes
@needs_torch
def test_collect_train_calibrate_distil_export_evaluate(tmp_path, quiet):
    import torch

    torch.set_num_threads(1)
    data, run, bundle = tmp_path / 'data', tmp_path / 'run', tmp_path / 'bundle'
    dense, policy = run / 'dense.safetensors', run / 'policy.safetensors'
    dysl('collect', data, '--episodes', 2, '--keep', 0.1, '--label-goals', 3)
    sized = ('--preset', 'toy', '--dataset', data, '--out', run, '--device', 'cpu')
    dysl('train', *sized, '--layers', 5, '--max-frames', 200, '--exits', 1, '--exit-layers', 2, 3)
    short = ('--episodes', 1, '--time-limit', 1.2, '--device', 'cpu')
    dysl('calibrate', dense, '--dataset', data, *short)
    dysl('distill', dense, *sized, '--skip-weight', 0.1)
    dysl('export', policy, bundle, '--dataset', data)
    dysl('calibrate', bundle, '--latency', 0.03, *short)
    dysl('evaluate', '--engine', bundle, '--episodes', 1, '--time-limit', 1, '--latency', 'zero',
         '--modes', 'full', 'static_only', '--json', tmp_path / 'out.json')  # fmt: skip

    from dysl_vla_ros.lab.model.checkpoint import load_checkpoint

    card = load_checkpoint(policy).card
    assert card['distill']['settings']['skip_weight'] == 0.1
    chosen = load_checkpoint(dense).card['layers']['static']
    manifest = open_bundle(bundle).manifest
    assert list(manifest.static_layers) == chosen
    for camera in manifest.cameras:
        assert (bundle / camera.reference).read_bytes()[:4] == b'\x89PNG'
    found = json.loads((tmp_path / 'bundle_calibration/calibration.json').read_text())
    assert manifest.calibration.threshold == found['calibration']['threshold']
    modes = json.loads((tmp_path / 'out.json').read_text())['modes']
    assert modes['full']['layers_run_mean'] == 5
    assert modes['static_only']['layers_run_mean'] == len(chosen)
    for picture in (run / 'train.png', run / 'distill.png', tmp_path / 'run/dense_calibration/'
                    'layers.png', tmp_path / 'bundle_calibration/continuity.png'):  # fmt: skip
        assert picture.read_bytes()[:4] == b'\x89PNG'


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_torch
def test_the_recipe_makes_a_bundle_and_a_second_run_finds_every_stage_done(tmp_path, quiet):
    import torch

    torch.set_num_threads(1)
    words = ('recipe', '--preset', 'toy', '--folder', tmp_path, '--workers', 1, '--device', 'cpu')
    dysl(*words, '--until', 'policy')
    policy = tmp_path / 'policy.safetensors'
    assert not (tmp_path / 'bundle').exists()
    before = policy.stat().st_mtime_ns
    dysl(*words)
    assert policy.stat().st_mtime_ns == before
    manifest = open_bundle(tmp_path / 'bundle').manifest
    assert manifest.layers_total == 6
    assert all(camera.reference in manifest.files for camera in manifest.cameras)


@pytest.mark.slow
@needs_torch
def test_a_bundle_is_calibrated_from_its_evaluation_and_still_verifies(tmp_path):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    before = open_bundle(bundle).manifest
    dysl('calibrate', bundle, '--episodes', 1, '--time-limit', 1, '--latency', 0.05,
         '--rule', 'level', '--weights', 'equal', '--device', 'cpu')  # fmt: skip
    after = open_bundle(bundle).manifest
    assert after.calibration != before.calibration
    assert after.calibration.rule == 'level'
    assert replace(after, calibration=before.calibration) == before
    dysl('calibrate', bundle, '--episodes', 1, '--time-limit', 1, '--latency', 0.05,
         '--depth', 0.9, '--device', 'cpu')  # fmt: skip
    assert open_bundle(bundle).manifest.calibration.level_low != after.calibration.level_low


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--weights', '1', '2'], r'weights = [1.0, 2.0]: expected 7 numbers'),
        (['--weights', 'some'], "weights = ['some']: expected balanced"),
        (['--dataset', 'data'], 'the static layers of a bundle are fixed'),
        (['--drop-rate', '0'], 'drop-rate = 0.0'),
        (['--bag', '/nowhere.mcap'], "bag = '/nowhere.mcap'"),
    ],
)
def test_wrong_options_of_calibrate_are_refused_and_change_nothing(
    tmp_path, capsys, words, message
):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    before = (bundle / 'manifest.json').read_bytes()
    short = ['--episodes', '1', '--time-limit', '0.6', '--latency', 'zero', '--device', 'cpu']
    assert main(['calibrate', str(bundle), *short, *words]) == 1
    assert message in capsys.readouterr().err
    assert (bundle / 'manifest.json').read_bytes() == before
