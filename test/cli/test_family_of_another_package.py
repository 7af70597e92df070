"""A stranger adds a family by a package of their own: nothing of this one is edited."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

for name in ('torch', 'pyarrow'):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f'needs {name}', allow_module_level=True)

import torch
from lerobot_files import write_set
from safetensors.torch import save_file
from strangers import entry_points, write_points

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab import families

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def published(tmp_path, site):
    from my_vla.network import Network
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path / 'published'
    folder.mkdir()
    save_file(Network(6, 32).state_dict(), folder / 'model.safetensors')
    config = {'model_type': 'my_vla', 'layers': 6, 'width': 32}
    (folder / 'config.json').write_text(json.dumps(config))
    words = ('<pad>', '<unk>', 'pick', 'up', 'the', 'red', 'cube', 'put', 'it', 'on', 'plate')
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, '<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / 'tokenizer.json'))
    return folder


PERIOD = ['--option', 'period=0.1']


def test_every_command_takes_a_folder_of_the_family(published, tmp_path, capsys):
    write_set(tmp_path / 'set', video=False, cameras=('front',), state=7)
    data = ['--dataset', str(tmp_path / 'set')]
    report = tmp_path / 'report.json'
    assert main(['inspect', str(published), *PERIOD, '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    assert (found['family'], found['layers'], found['width']) == ('my_vla', 6, 32)

    bundle = tmp_path / 'bundle'
    assert main(['export', str(published), str(bundle), *PERIOD]) == 0, capsys.readouterr().err
    assert open_bundle(bundle).manifest.static_layers == tuple(range(6))

    out, run = tmp_path / 'layers', tmp_path / 'run'
    call = [*data, *PERIOD, '--out', str(out), '--batch', '4', '--batches', '2']
    assert main(['calibrate', str(published), *call]) == 0, capsys.readouterr().err
    static = json.loads((out / 'layers.json').read_text())['static']
    call = [*data, *PERIOD, '--out', str(run), '--layers', str(out / 'layers.json'), '--rank', '8',
            '--adapter-steps', '30', '--controller-steps', '10', '--batch', '8', '--skip-weight',
            '1', '--note-every', '10']  # fmt: skip
    assert main(['distill', str(published), *call]) == 0, capsys.readouterr().err
    curve = json.loads((run / 'distill.json').read_text())['curve']
    assert curve[2]['unexplained'] < curve[0]['unexplained']

    skipping = ['--skipping', str(run / 'skipping.safetensors')]
    assert main(['export', str(published), str(bundle), *PERIOD, *skipping, '--force']) == 0
    manifest = open_bundle(bundle).manifest
    assert list(manifest.static_layers) == static and manifest.family == 'my_vla'
    against = ['--against', str(published), *PERIOD, *skipping, '--observations', '1']
    assert main(['verify', str(bundle), *against]) == 0
    call = ['bench', '--engine', str(bundle), '--runs', '2', '--count', '2', '--warm-up', '0']
    assert main(call) == 0


def test_what_the_folder_lacks_is_the_familys_to_say(published, capsys):
    (published / 'model.safetensors').unlink()
    for command in (['inspect', str(published)], ['export', str(published), 'nowhere']):
        assert main(command) == 1
        said = capsys.readouterr()
        assert 'no model.safetensors' in (said.out + said.err).replace('\n', ' ')
    assert not Path('nowhere').exists()


def test_an_option_without_a_value_is_refused(published, capsys):
    assert main(['export', str(published), 'nowhere', '--option', 'period']) == 2
    assert 'NAME=VALUE' in capsys.readouterr().err


def test_a_package_that_cannot_be_loaded_is_named(published, site, capsys):
    write_points(site, f'[{families.GROUP}]\nmy_vla = my_vla.nowhere:Family\n')
    assert main(['export', str(published), 'nowhere', *PERIOD]) == 1
    said = capsys.readouterr().err
    assert "my_vla = 'my_vla.nowhere:Family'" in said and 'uninstall it' in said


def test_two_that_claim_one_folder_are_named(published, site, capsys):
    write_points(site, entry_points(families.GROUP) + 'other = my_vla.family:MyFamily\n')
    assert main(['export', str(published), 'nowhere', *PERIOD]) == 1
    assert 'my_vla, other' in capsys.readouterr().err


def test_without_the_package_the_folder_is_refused_and_the_entry_point_named(tmp_path, capsys):
    (tmp_path / 'config.json').write_text('{"model_type": "my_vla"}')
    assert main(['export', str(tmp_path), 'nowhere']) == 1
    assert families.GROUP in capsys.readouterr().err
