"""``dysl verify`` without torch: what is compared with what, the exit code, the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle, sha256_of, write_manifest
from dysl_vla_ros.cli.main import main

SHAPE = {'layers': 5, 'static_layers': (0, 3, 4), 'width': 16, 'horizon': 4}


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'good', **SHAPE)


def altered(good, folder, segment, factor):
    """The bundle with all weights of one segment multiplied, and a manifest that says so."""
    shutil.copytree(good, folder)
    path = folder / 'segments' / f'{segment}.onnx'
    model = onnx.load(path)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim == 2:
            weight.CopyFrom(numpy_helper.from_array(values * np.float32(factor), weight.name))
    onnx.save(model, path)
    document = json.loads((folder / 'manifest.json').read_text())
    entry = {'sha256': sha256_of(path), 'bytes': path.stat().st_size}
    document['files'][f'segments/{segment}.onnx'] = entry
    (folder / 'manifest.json').write_text(json.dumps(document))
    return folder


def run(*words):
    return main(['verify', *map(str, words)])


def test_a_segment_that_is_off_fails_by_name_with_exit_code_1(good, tmp_path):
    wrong = altered(good, tmp_path / 'wrong', 'bridge_02', 1.5)
    report = tmp_path / 'report.json'
    assert run(wrong, '--against', good, '--json', report) == 1
    found = json.loads(report.read_text())
    assert [row['name'] for row in found['segments'] if not row['within']] == ['bridge_02']
    assert {tuple(row['allow']) for row in found['passes'] if not row['within']} == {(2, 4)}
    assert found['patterns_possible'] == len(found['passes']) == 3
    assert found['within'] is False and found['resumed_equal'] is True


def test_the_fixed_exit_of_a_bundle_is_one_of_the_ways(good, tmp_path, capsys):
    named = tmp_path / 'named'
    shutil.copytree(good, named)
    manifest = open_bundle(named).manifest
    calibration = replace(manifest.calibration, mode='fixed', exit_layer=2)
    write_manifest(named, replace(manifest, calibration=calibration))
    report = tmp_path / 'report.json'
    near = altered(named, tmp_path / 'near', 'layer_01', 1.0001)
    assert run(near, '--against', good, '--json', report) == 0
    ways = json.loads(report.read_text())['passes']
    assert [way['layers_run'] for way in ways if way['exit_layer'] == 2] == [3]
    assert 'exit 2' in capsys.readouterr().out
    # Without layers 2 and 3 on its way, what is wrong with layer 1 is seen there too.
    wrong = altered(named, tmp_path / 'wrong', 'layer_01', 1.5)
    assert run(wrong, '--against', good, '--json', report) == 1
    ways = json.loads(report.read_text())['passes']
    assert [way['within'] for way in ways if way['exit_layer'] == 2] == [False]


def test_rounding_is_within_the_budget_that_the_command_line_sets(good, tmp_path, capsys):
    near = altered(good, tmp_path / 'near', 'layer_01', 1.0001)
    assert run(near, '--against', good) == 0
    assert 'within the budget' in capsys.readouterr().out
    assert run(near, '--against', good, '--budget-relative', '1e-7') == 1
    assert 'above the budget' in capsys.readouterr().out


@pytest.mark.parametrize('words', [(), ('--against', 'itself')])
def test_onnx_runtime_is_not_compared_with_itself(good, words, capsys):
    words = [good if word == 'itself' else word for word in words]
    assert run(good, *words) == 2
    assert 'ONNX Runtime would be compared with itself' in capsys.readouterr().err


def test_a_bundle_of_another_model_is_refused(good, tmp_path, capsys):
    other = write_tiny_bundle(tmp_path / 'other', **{**SHAPE, 'width': 32})
    assert run(other, '--against', good) == 1
    assert 'hidden_width = 16: expected 32' in capsys.readouterr().err


def test_recorded_inputs_are_taken_and_checked(good, tmp_path, capsys):
    segments = open_bundle(good).manifest.segments
    specs = [s for n in ('vision', 'embed') for s in segments[n].inputs if s.name != 'patches']
    arrays = {s.name: np.ones((4, *s.shape[1:]), s.dtype) for s in specs}
    wrong = altered(good, tmp_path / 'wrong', 'head', 1.5)
    np.savez(tmp_path / 'inputs.npz', **arrays)
    report, words = tmp_path / 'report.json', (wrong, '--against', good, '--inputs')
    assert run(*words, tmp_path / 'inputs.npz', '--json', report) == 1
    assert json.loads(report.read_text())['observations'] == 4
    tokens = arrays['tokens'].copy()
    for beyond in (500, -1):
        arrays['tokens'][2, 0] = beyond
        np.savez(tmp_path / 'inputs.npz', **arrays)
        assert run(*words, tmp_path / 'inputs.npz') == 1
        assert 'rows of the embedding' in capsys.readouterr().err
    arrays['tokens'] = tokens.astype(np.int32)
    np.savez(tmp_path / 'inputs.npz', **arrays)
    assert run(*words, tmp_path / 'inputs.npz') == 1
    assert 'tokens is ' in capsys.readouterr().err
    del arrays['tokens']
    np.savez(tmp_path / 'inputs.npz', **arrays)
    assert run(*words, tmp_path / 'inputs.npz') == 1
    assert "expected ['tokens'] too" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(good, capsys):
    assert run(good, '--against', 'nowhere/policy.safetensors') == 2
    error = capsys.readouterr().err
    assert "'nowhere/policy.safetensors': expected a checkpoint" in error


def test_a_model_of_other_words_is_verified_with_a_word_that_it_knows(good, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(good, other)
    path = other / 'tokenizer.json'
    document = json.loads(path.read_text())
    known = document['model']['vocab']
    document['model']['vocab'] = {word if word.startswith('[') else f'{word}s': number
                                  for word, number in known.items()}  # fmt: skip
    path.write_text(json.dumps(document))
    listed = json.loads((other / 'manifest.json').read_text())
    listed['files']['tokenizer.json'] = {'sha256': sha256_of(path), 'bytes': path.stat().st_size}
    (other / 'manifest.json').write_text(json.dumps(listed))
    assert run(other, '--against', good) == 0
    assert run(other, '--against', good, '--instruction', 'stop') == 1
