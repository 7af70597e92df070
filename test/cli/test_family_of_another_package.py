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


def test_facts_whose_names_are_no_words_are_refused(published, capsys, monkeypatch):
    from my_vla.family import MyPublished

    monkeypatch.setattr(MyPublished, 'facts', {1: 'width'})
    assert main(['inspect', str(published), *PERIOD]) == 1
    assert "facts = {1: 'width'}: expected names and values" in ' '.join(
        capsys.readouterr().out.split()
    )


def test_states_that_are_not_finite_choose_no_layers(published, tmp_path, capsys, monkeypatch):
    from my_vla.family import MyDense

    write_set(tmp_path / 'set', video=False, cameras=('front',), state=7)
    layer = MyDense.layer
    monkeypatch.setattr(MyDense, 'layer', lambda self, index, hidden: (
        layer(self, index, hidden) * (float('nan') if index == 2 else 1.0)))  # fmt: skip
    out = tmp_path / 'layers'
    call = ['--dataset', str(tmp_path / 'set'), *PERIOD, '--out', str(out), '--batch', '4']
    assert main(['calibrate', str(published), *call, '--batches', '1']) == 2
    assert 'score of layer 2 = nan: expected a finite number' in capsys.readouterr().err
    assert not (out / 'layers.json').exists()


def test_two_that_claim_one_folder_are_named(published, site, capsys):
    write_points(site, entry_points(families.GROUP) + 'other = my_vla.family:MyFamily\n')
    assert main(['export', str(published), 'nowhere', *PERIOD]) == 1
    assert 'my_vla, other' in capsys.readouterr().err


def test_without_the_package_the_folder_is_refused_and_the_entry_point_named(tmp_path, capsys):
    (tmp_path / 'config.json').write_text('{"model_type": "my_vla"}')
    assert main(['export', str(tmp_path), 'nowhere']) == 1
    assert families.GROUP in capsys.readouterr().err


def raising(*given):
    raise KeyError('arm')


@pytest.mark.parametrize('answer', [raising, lambda *_: 'yes', lambda *_: None])
def test_a_family_that_cannot_say_whether_a_folder_is_its_own_holds_up_no_other_family(
    answer, site, tmp_path, capsys, caplog, monkeypatch
):
    from my_vla.family import MyFamily

    monkeypatch.setattr(MyFamily, 'recognises', answer)
    other = tmp_path / 'openvla'
    other.mkdir()
    (other / 'config.json').write_text('{"model_type": "openvla"}')
    assert families.family_of(other) is None
    assert "my_vla = 'my_vla.family:MyFamily': recognises()" in caplog.text
    (other / 'config.json').write_text('{"model_type": "my_vla"}')
    assert main(['export', str(other), str(tmp_path / 'bundle')]) == 1
    told = capsys.readouterr().err
    assert "my_vla = 'my_vla.family:MyFamily': recognises()" in told
    assert 'should not happen' not in told


def test_a_package_that_cannot_be_loaded_holds_up_no_other_family(site, tmp_path, caplog):
    write_points(site, f'[{families.GROUP}]\nmy_vla = my_vla.nowhere:Family\n')
    (tmp_path / 'config.json').write_text('{"model_type": "openvla"}')
    assert families.family_of(tmp_path) is None
    assert 'cannot be loaded' in caplog.text


@pytest.mark.parametrize(
    ('where', 'part', 'answer', 'said'),
    [
        ('MyFamily', 'open', raising, "open() fails: KeyError('arm')"),
        ('MyFamily', 'open', lambda *_: None, 'open() gives a NoneType without facts, layers'),
        ('MyPublished', 'export', raising, "export() fails: KeyError('arm')"),
        ('MyPublished', 'export', lambda *_: 7, 'export() gives a int without layout, contract'),
        ('MyPublished', 'export', None, None),
        ('MyParts', 'part', raising, "export().part fails: KeyError('arm')"),
        ('MyParts', 'contract', raising, "export().contract fails: KeyError('arm')"),
        ('MyParts', 'part', lambda *_: None, "export().part('vision') = None: expected a Part"),
        ('MyParts', 'contract', lambda *_: {}, 'export().contract() = {}: expected a Contract'),
    ],
)
def test_what_fails_inside_a_package_is_told_with_package_and_part(
    where, part, answer, said, published, tmp_path, capsys, monkeypatch
):
    import my_vla.family

    if answer is None:
        monkeypatch.delattr(f'my_vla.family.{where}.{part}')
        said = f'without {part}'
    else:
        monkeypatch.setattr(getattr(my_vla.family, where), part, answer)
    assert main(['export', str(published), str(tmp_path / 'bundle'), *PERIOD]) == 1
    told = ' '.join(capsys.readouterr().err.split())
    assert said in told and "my_vla = 'my_vla.family:MyFamily'" in told
    assert 'should not happen' not in told


@pytest.mark.parametrize(
    ('where', 'part', 'answer', 'said'),
    [
        ('MyPublished', 'dense', raising, 'dense() fails'),
        (
            'MyPublished',
            'dense',
            lambda *_: object(),
            'dense() gives a object without layers_total',
        ),
        ('MyDense', 'encode', raising, 'dense().encode fails'),
        ('MyPublished', 'batches', raising, 'batches() fails'),
        ('MyPublished', 'batches', lambda *_: map(raising, [1]), 'batches() fails'),
        ('MyPublished', 'layers', 'six', "layers = 'six': expected a whole number"),
        ('MyPublished', 'modules', lambda *_: None, 'modules() = None: expected SkipModules'),
    ],
)
def test_what_fails_while_a_package_is_distilled_is_told_with_package_and_part(
    where, part, answer, said, published, tmp_path, capsys, monkeypatch
):
    import my_vla.family

    write_set(tmp_path / 'set', video=False, cameras=('front',), state=7)
    (tmp_path / 'layers.json').write_text('{"layers_total": 6, "static": [0, 5]}')
    owner = getattr(my_vla.family, where)
    if part == 'layers':
        init = owner.__init__

        def named(self, *given):
            init(self, *given)
            self.layers = answer

        monkeypatch.setattr(owner, '__init__', named)
    else:
        monkeypatch.setattr(owner, part, answer)
    call = ['--dataset', str(tmp_path / 'set'), *PERIOD, '--out', str(tmp_path / 'run'),
            '--layers', str(tmp_path / 'layers.json'), '--adapter-steps', '1',
            '--controller-steps', '1', '--batch', '2']  # fmt: skip
    assert main(['distill', str(published), *call]) == 1
    told = ' '.join(capsys.readouterr().err.split())
    assert said in told and "my_vla = 'my_vla.family:MyFamily'" in told
