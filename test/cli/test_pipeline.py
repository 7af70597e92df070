"""From nothing to an evaluated bundle, through the command line alone, at toy size."""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle
from exits_reports import exits_report

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
    dysl('calibrate', bundle, '--latency', 0.03, '--compare', 0, *short)
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
    assert main([*map(str, words), '--seed', '3', '--until', 'dense']) == 2
    dysl(*words)
    assert policy.stat().st_mtime_ns == before
    manifest = open_bundle(tmp_path / 'bundle').manifest
    assert manifest.layers_total == 6
    trained = json.loads((tmp_path / 'report.json').read_text())
    assert trained['policy']['parameters'] > trained['policy']['skipping_parameters'] > 0
    assert trained['policy']['skipping_parameters'] == trained['distill']['trained_parameters']
    assert (trained['ground']['steps'], trained['distill']['steps']) == (6, 8)
    assert all(camera.reference in manifest.files for camera in manifest.cameras)
    distils_the_same_dense_policy_otherwise(tmp_path)


def distils_the_same_dense_policy_otherwise(run):
    """Ablations of that run: bundles that skip, made once, that a piece of the results plays."""
    from dysl_vla_ros.lab.learn.layer_scores import draw_static

    words = ('anchors', run, '--preset', 'toy', '--device', 'cpu', '--workers', 1)
    dysl(*words, '--random-static', 3, '--stages', 2)
    made = run / 'anchors'
    lot = open_bundle(made / 'random_static_3_bundle').manifest
    assert lot.static_layers == draw_static(6, 0.2, 3).static_layers
    curve = json.loads((made / 'stages_2' / 'distill.json').read_text())['curve']
    assert {look['stage'] for look in curve} == {1, 2}
    curve = json.loads((made / 'random_static_3' / 'distill.json').read_text())['curve']
    assert max(look['step'] for look in curve) == 4
    before = (made / 'stages_2' / 'policy.safetensors').stat().st_mtime_ns
    dysl(*words, '--stages', 2)
    assert (made / 'stages_2' / 'policy.safetensors').stat().st_mtime_ns == before
    evidence = run / 'evidence'
    evidence.mkdir()
    dysl('results', '--run', 'ablation_tabletop', '--anchor', 'random_static_3', '--engine',
         made / 'random_static_3_bundle', '--evidence', evidence, '--keep', run / 'keep',
         '--episodes', 1, '--workers', 1)  # fmt: skip
    found = json.loads((evidence / 'ablation_tabletop_random_static_3.json').read_text())
    assert found['as'] == {'auto': 'random static 3'} and found['modes']['auto']['chunks'] > 0


@pytest.mark.slow
@needs_torch
def test_a_bundle_is_calibrated_from_its_evaluation_and_still_verifies(tmp_path, capsys):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    before = open_bundle(bundle).manifest
    words = ['calibrate', str(bundle), '--episodes', '1', '--time-limit', '1', '--latency', '0.05',
             '--device', 'cpu']  # fmt: skip
    assert main([*words, '--rule', 'level', '--weights', 'equal']) == 1
    after = open_bundle(bundle).manifest
    assert after.calibration != before.calibration
    assert after.calibration.rule == 'level'
    assert replace(after, calibration=before.calibration) == before
    modes = json.loads((tmp_path / 'tiny_calibration' / 'modes.json').read_text())
    assert {'full', 'auto', 'max_skip', 'fixed 3'} < set(modes['modes'])
    # Nothing is won by a policy of chance: so nothing decides which mode is as good as dense.
    assert modes['chosen'] is None
    kept = (before.calibration.mode, before.calibration.exit_layer)
    assert (after.calibration.mode, after.calibration.exit_layer) == kept
    told = capsys.readouterr().out
    assert 'the mode stays: dense won none of 4 episodes' in told and '> goes into' not in told
    assert f'skip mode of the bundle: {before.calibration.mode}, as it was' in told
    dysl(*words, '--depth', 0.9, '--compare', 0)
    again = open_bundle(bundle).manifest.calibration
    assert again.level_low != after.calibration.level_low
    assert (again.mode, again.exit_layer) == kept


@pytest.mark.slow
@needs_torch
def test_of_few_episodes_that_every_row_wins_the_table_is_shown_and_the_mode_stays(
    tmp_path, capsys, monkeypatch
):
    from dysl_vla_ros.lab.evaluation import decision, evaluate

    play = evaluate.play
    monkeypatch.setattr(evaluate, 'play', lambda *given: {
        row: [replace(one, success=True) for one in results]
        for row, results in play(*given).items()
    })  # fmt: skip
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    before = open_bundle(bundle).manifest.calibration
    dysl('calibrate', bundle, '--episodes', 1, '--time-limit', 1, '--latency', 0.05, '--device',
         'cpu')  # fmt: skip
    after = open_bundle(bundle).manifest.calibration
    assert (after.mode, after.exit_layer) == (before.mode, before.exit_layer)
    told = ' '.join(capsys.readouterr().out.split())
    assert 'fixed 3 100.0' in told
    assert ('the mode stays: 4 episodes of each row tell no differences below 33 points; 18 or '
            'more would decide (--compare 5)') in told  # fmt: skip
    monkeypatch.setattr(decision, 'FEWEST', 4)
    dysl('calibrate', bundle, '--episodes', 1, '--time-limit', 1, '--latency', 0.05, '--device',
         'cpu')  # fmt: skip
    told = ' '.join(capsys.readouterr().out.split())
    assert 'on 4 episodes, 0.0 points behind dense (95 %: -32.7 to 32.7): not told apart' in told
    assert open_bundle(bundle).manifest.calibration.mode == 'fixed'


@pytest.mark.slow
@needs_torch
def test_a_bundle_is_given_an_exit_for_each_instruction_by_a_report_of_its_own(tmp_path, capsys):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=8)
    before = open_bundle(bundle).manifest
    won = {'full': (1, 1, 0), 'fixed 3': (1, 0, 0), 'fixed 5': (1, 1, 0)}
    report = exits_report(before.model_digest[:12], won)
    path = tmp_path / 'report.json'
    path.write_text(json.dumps(report))
    dysl('calibrate', bundle, '--by-instruction', path, '--device', 'cpu')
    after = open_bundle(bundle).manifest
    assert after.calibration.exit_by_instruction == {'lift it': 3, 'open it': 5, 'fly': 0}
    assert (after.calibration.mode, after.calibration.exit_layer) == ('by_instruction', 0)
    assert 'never won, so dense: fly' in capsys.readouterr().out
    assert after.calibration.weights == before.calibration.weights, 'the guidance stays'
    for other, words in (({'policy': 'another'}, 'a report of this bundle'),
                         ({'episodes': []}, 'with its episodes')):  # fmt: skip
        path.write_text(json.dumps(report | other))
        assert main(['calibrate', str(bundle), '--by-instruction', str(path)]) == 2
        assert words in ' '.join(capsys.readouterr().err.split())
    assert open_bundle(bundle).manifest == after


@pytest.mark.slow
@needs_torch
def test_a_bundle_is_given_a_mode_by_recorded_observations(tmp_path, capsys):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=8)
    before = open_bundle(bundle).manifest.calibration
    images = np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3), np.uint8)
    path = tmp_path / 'seen.npz'
    np.savez(path, image=images, joints=np.zeros((20, 6)), gripper=np.ones(20),
             instruction='pick up the red cube')  # fmt: skip
    words = ['calibrate', str(bundle), '--observations', str(path), '--device', 'cpu']
    assert main(words) == 2
    assert 'depth = 0.0: expected more than 0 and at most 1' in capsys.readouterr().err
    np.savez(tmp_path / 'few.npz', image=images[:19], joints=np.zeros((19, 6)),
             gripper=np.ones(19), instruction='pick up the red cube')  # fmt: skip
    few = [*words[:3], str(tmp_path / 'few.npz'), *words[4:], '--depth', '0.5']
    assert main(few) == 2
    assert '20 observations or more to choose a mode by: there are 19' in capsys.readouterr().err
    assert open_bundle(bundle).manifest.calibration == before
    assert main([*words, '--depth', '0.5']) == 0
    after = open_bundle(bundle).manifest.calibration
    assert replace(after, mode=before.mode, exit_layer=before.exit_layer) == before
    assert f'skip mode of the bundle: {after.mode}' in capsys.readouterr().out
    modes = json.loads((tmp_path / 'tiny_calibration' / 'modes.json').read_text())
    layers = modes['modes'][modes['chosen']]['layers_run_mean']
    assert layers <= 4 and modes['chosen'].split()[0] == after.mode
    assert {'auto', 'max_skip'} < set(modes['modes']) and modes['left_out'] == {}
    kept = bundle / 'manifest.before.json'
    assert json.loads(kept.read_text())['calibration']['mode'] == before.mode != after.mode
    assert main([*words, '--depth', '0.5']) == 0
    assert json.loads(kept.read_text())['calibration']['mode'] == before.mode
    assert len(list(bundle.glob('manifest*'))) == 2


@pytest.mark.slow
@needs_torch
def test_guided_modes_are_not_compared_on_states_that_are_of_no_passes_in_turn(tmp_path, capsys):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=8)
    images = np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3), np.uint8)
    path = tmp_path / 'seen.npz'
    np.savez(path, image=images, joints=np.zeros((20, 6)), gripper=np.ones(20),
             instruction=np.array(['lift it', 'push it', 'drop it', 'turn it'] * 5))  # fmt: skip
    dysl('calibrate', bundle, '--observations', path, '--device', 'cpu', '--depth', 0.5)
    text = ' '.join(capsys.readouterr().out.split())
    assert 'auto and max_skip are not compared: 0 of 20 observations are of the pass' in text
    modes = json.loads((tmp_path / 'tiny_calibration' / 'modes.json').read_text())
    assert set(modes['left_out']) == {'auto', 'max_skip'}
    assert {name.split()[0] for name in modes['modes']} == {'full', 'fixed'}


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--weights', '1', '2'], '--weights = 1.0 2.0: expected 7 numbers'),
        (['--weights', 'some'], '--weights = some: expected balanced'),
        (['--dataset', 'data'], 'the static layers of a bundle are fixed'),
        (['--drop-rate', '0'], "--drop-rate = '0'"),
        (['--bag', '/nowhere.mcap'], "--bag = '/nowhere.mcap'"),
        (['--compare', '-1'], "--compare = '-1': expected a whole number, at least 0"),
        (['--observations', '/nowhere.npz', '--depth', '0.5'], '/nowhere.npz'),
        (['--observations', 'a.npz', '--depth', '0.5', '--bag', 'b'], 'one of --observations'),
    ],
)
def test_wrong_options_of_calibrate_are_refused_and_change_nothing(
    tmp_path, capsys, words, message
):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    before = (bundle / 'manifest.json').read_bytes()
    assert main(['calibrate', str(bundle), '--device', 'cpu', *words]) == 2
    assert message in capsys.readouterr().err
    assert (bundle / 'manifest.json').read_bytes() == before
