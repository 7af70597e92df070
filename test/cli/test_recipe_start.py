"""A run of the recipe that begins with a bundle: what the shipped policy has to beat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
torch = pytest.importorskip('torch', reason="needs the extra 'train': make test-all")

from dysl_vla_ros.lab.anchors import dense_of
from dysl_vla_ros.lab.export.restored import restored
from dysl_vla_ros.lab.model.checkpoint import load_checkpoint, save_checkpoint

BUNDLED = Path(__file__).parents[2] / 'resource/models/tabletop'


def recipe(folder, start):
    words = ['recipe', '--preset', 'toy', '--folder', folder, '--start', start, '--rounds', 0,
             '--until', 'dagger', '--device', 'cpu']  # fmt: skip
    return main([str(word) for word in words])


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('run')
    assert recipe(folder, BUNDLED) == 0
    return folder


def test_it_begins_with_the_weights_of_the_bundle_and_teaches_the_heads_that_no_bundle_has(run):
    begun, before = load_checkpoint(run / 'start.safetensors'), restored(BUNDLED)
    now = begun.network.state_dict()
    # A checkpoint holds halves; of a few short weights a bundle holds more.
    same = {name: torch.equal(tensor.half().float(), now[name])
            for name, tensor in before.network.state_dict().items()}  # fmt: skip
    assert [n for n, equal in same.items() if not equal and not n.startswith('auxiliary.')] == []
    assert not same['auxiliary.point.weight'] and not same['auxiliary.name.weight']
    assert begun.card['recipe']['heads']['named_found'] >= 0
    assert not (run / 'dense.safetensors').exists()


def test_fixed_exits_and_distillations_of_that_run_begin_there_too(run):
    found = dense_of(run).network.state_dict()
    expected = load_checkpoint(run / 'start.safetensors').network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_it_goes_on_with_the_same_start_and_refuses_another(run, tmp_path, capsys):
    assert recipe(run, BUNDLED) == 0
    other = restored(BUNDLED)
    with torch.no_grad():
        other.network.slots.add_(1.0)
    save_checkpoint(tmp_path / 'other.safetensors', other)
    assert recipe(run, tmp_path / 'other.safetensors') == 2
    assert 'with which' in capsys.readouterr().err


def test_a_shallow_policy_of_that_run_is_corrected_where_it_went_itself(run, capsys):
    """The run has no corrections to take: what it began with was corrected elsewhere."""
    words = ['anchors', str(run), '--preset', 'toy', '--device', 'cpu', '--workers', '1']
    assert main([*words, '--own-corrections', '--exit-layer', '3']) == 2
    assert '--layers N with it' in capsys.readouterr().err
    words = [*words, '--own-corrections', '--layers', '4']
    assert main(words) == 0
    own = run / 'anchors' / 'layers_4'
    assert any((own / 'corrections' / 'round_1').rglob('*.parquet'))
    played = json.loads((own / 'report.json').read_text())['recipe']
    assert played['network']['layers'] == 4 and played['rounds'][0]['train']['exits'] == 0
    made = load_checkpoint(run / 'anchors' / 'layers_4.safetensors')
    last = load_checkpoint(own / 'dagger_1.safetensors')
    assert made.config.layers == 4
    assert all(torch.equal(tensor, made.network.state_dict()[name])
               for name, tensor in last.network.state_dict().items())  # fmt: skip
    assert open_bundle(run / 'anchors' / 'layers_4_bundle').manifest.layers_total == 4
    before = (own / 'dagger_1.safetensors').stat().st_mtime_ns
    assert main(words) == 0
    assert (own / 'dagger_1.safetensors').stat().st_mtime_ns == before
    words.remove('--own-corrections')
    assert main(words) == 2, 'another training of the same name'
    assert 'layers_4' in capsys.readouterr().err


def test_a_folder_without_a_manifest_is_refused(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert recipe(tmp_path / 'run', tmp_path / 'empty') == 2
    assert '--start' in capsys.readouterr().err
