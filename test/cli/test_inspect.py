"""``dysl inspect`` says what a folder is, and everything that keeps it from being used."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import pytest
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle, write_manifest
from dysl_vla_ros.cli.main import main

HAVE = all(importlib.util.find_spec(n) for n in ('torch', 'transformers', 'timm'))
pytestmark = [pytest.mark.slow]
published = pytest.mark.skipif(not HAVE, reason='needs torch, transformers and timm')
POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14000000\n'


def inspected(folder, tmp_path, *options):
    path = tmp_path / 'report.json'
    code = main(['inspect', str(folder), '--json', str(path), *options])
    return code, json.loads(path.read_text())


def write(robot, folder, **changes):
    import torch
    from tiny_oft import ROBOTS, UpstreamOft, save_oft

    torch.set_num_threads(1)
    save_oft(UpstreamOft(3, **{**ROBOTS[robot], **changes}), folder)
    return folder


@published
@pytest.mark.parametrize('robot', ['libero', 'bridge', 'aloha'])
def test_a_published_folder_is_described_with_what_each_step_takes(robot, tmp_path):
    code, found = inspected(write(robot, tmp_path / 'published'), tmp_path)
    assert code == 0 and found['supported'] and found['family'] == 'openvla_oft'
    assert list(found['statistics'].values()) == [robot]
    assert (found['layers'], found['actions per chunk'], len(found['cameras'])) == {
        'libero': (3, 8, 2), 'bridge': (3, 5, 1), 'aloha': (3, 25, 3)}[robot]  # fmt: skip
    commands = [step['command'].split()[1] for step in found['computed']]
    assert commands == ['export', 'export', 'verify', 'calibrate', 'distill']
    assert all(step['memory'] > 0 for step in found['computed'])
    size = sum(p.stat().st_size for p in (tmp_path / 'published').glob('*.safetensors'))
    assert 0.5 * size < found['computed'][0]['disk'] < 1.2 * size


@published
def test_what_keeps_a_folder_from_export_is_all_said(tmp_path):
    folder = write('bridge', tmp_path / 'published', key='my_robot')
    code, found = inspected(folder, tmp_path)
    assert code == 1 and not found['supported'] and found['statistics'] == {'my_robot': ''}
    assert '--horizon' in found['missing'][0] and '--cameras' in found['missing'][0]
    options = ['--cameras', 'a', '--horizon', '5', '--bounds', 'quantiles', '--no-libero-units',
               '--action-space', 'eef_delta', '--period', '0.1', '--proprioception', 'joints',
               '--no-rotate-180', '--crop-area', '1.0']  # fmt: skip
    code, found = inspected(folder, tmp_path, *options)
    assert code == 0 and found['action period [s]'] == 0.1


@published
def test_pointers_are_named_before_anything_else(tmp_path):
    folder = write('libero', tmp_path / 'published')
    (folder / 'model-00002-of-00002.safetensors').write_text(POINTER)
    code, found = inspected(folder, tmp_path)
    assert code == 1 and '1 file is a Git LFS pointer' in found['missing'][0]
    assert len(found['missing']) == 1, found['missing']  # not once more, as tensors
    (folder / 'action_head--1000_checkpoint.pt').write_text(POINTER)
    code, found = inspected(folder, tmp_path)
    assert code == 1 and '2 files are Git LFS pointers' in found['missing'][0]


@published
def test_a_plain_openvla_is_described_and_said_to_be_served_only(tmp_path):
    from tiny_oft import UpstreamOft, save_openvla

    save_openvla(UpstreamOft(3, cameras=1), tmp_path / 'published')
    code, found = inspected(tmp_path / 'published', tmp_path)
    assert code == 1 and not found['supported'] and found['family'] == 'openvla'
    assert 'dysl serve' in found['only'] and not found['missing']
    assert (found['actions per chunk'], found['cameras']) == (1, ['image'])
    assert found['proprioception numbers'] == 0 and 'proprioception' not in found
    size = sum(p.stat().st_size for p in (tmp_path / 'published').glob('*.safetensors'))
    assert 0.5 * size < found['computed'][0]['memory'] < 1.2 * size


@pytest.mark.skipif(not importlib.util.find_spec('torch'), reason='needs torch')
def test_another_family_is_named_with_the_reason(tmp_path):
    (tmp_path / 'pi0').mkdir()
    (tmp_path / 'pi0/config.json').write_text('{"type": "pi0"}')
    code, found = inspected(tmp_path / 'pi0', tmp_path)
    assert code == 1 and not found['family'] and 'That is planned' in found['missing'][0]
    code, found = inspected(tmp_path / 'nowhere', tmp_path)
    assert code == 2


def test_a_bundle_is_described_too(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'bundle', layers=4)
    code, found = inspected(folder, tmp_path)
    assert code == 0 and found['layers'] == 4 and found['size [bytes]'] > 0
    assert found['skip mode'] == 'auto'


@pytest.mark.parametrize(('changes', 'said'), [
    ({'mode': 'fixed', 'exit_layer': 2}, 'fixed, exit at layer 2'),
    ({'mode': 'by_instruction', 'exit_by_instruction': {'a': 2, 'b': 0, 'c': 2}},
     'by_instruction, 3 of them, at 0, 2'),
])  # fmt: skip
def test_what_a_bundle_runs_is_described(changes, said, tmp_path):
    folder = write_tiny_bundle(tmp_path / 'bundle', layers=4)
    manifest = open_bundle(folder).manifest
    write_manifest(folder, replace(manifest, calibration=replace(manifest.calibration, **changes)))
    assert inspected(folder, tmp_path)[1]['skip mode'] == said


@published
def test_what_is_missing_is_one_list_for_inspect_and_for_export(tmp_path, capsys):
    folder = write('libero', tmp_path / 'published')
    index = json.loads((folder / 'model.safetensors.index.json').read_text())
    layer = 'language_model.model.layers.2.'
    kept = {name: file for name, file in index['weight_map'].items()
            if not name.startswith(layer)}  # fmt: skip
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': kept}))
    assert main(['inspect', str(folder)]) == 1
    said = capsys.readouterr().out
    assert '9 tensors' in said and f'{layer}mlp.up_proj.weight is missing' in said
    (folder / 'tokenizer.json').unlink()
    (folder / 'preprocessor_config.json').write_text(POINTER)
    (folder / 'model-00002-of-00002.safetensors').unlink()
    code, found = inspected(folder, tmp_path)
    assert code == 1 and found['cameras'] == ['image', 'wrist_image']
    wanted = ('1 file is a Git LFS pointer (preprocessor_config.json)',
              'names model-00002-of-00002.safetensors, not there',
              'tokenizer.json: no such file')  # fmt: skip
    assert len(found['missing']) == 3
    (tmp_path / 'set' / 'meta').mkdir(parents=True)
    (tmp_path / 'set' / 'meta' / 'info.json').write_text('{}')
    capsys.readouterr()
    for command in ('export', 'distill', 'calibrate'):
        words = {'export': [str(tmp_path / 'bundle')],
                 'distill': ['--out', str(tmp_path / 'out'), '--dataset', str(tmp_path / 'set')],
                 'calibrate': ['--dataset', str(tmp_path / 'set')]}[command]  # fmt: skip
        assert main([command, str(folder), *words]) == 1
        said = capsys.readouterr().err
        assert '3 things are missing or wrong' in said and all(w in said for w in wanted), said
        assert said.count('holds action_head') == 1
    assert not (tmp_path / 'bundle').exists()


@published
def test_a_folder_without_its_head_is_told_what_else_it_lacks(tmp_path):
    folder = write('bridge', tmp_path / 'published')
    for name in ('action_head--1000_checkpoint.pt', 'tokenizer.json'):
        (folder / name).unlink()
    code, found = inspected(folder, tmp_path)
    assert code == 1 and not found['supported'] and len(found['missing']) == 2
    assert 'no action_head' in found['missing'][0] and 'tokenizer.json' in found['missing'][1]


@published
def test_files_linked_from_a_cache_and_names_of_every_official_kind_are_read(tmp_path):
    """As the hub's cache keeps them; heads named by ``save_latest_checkpoint_only``."""
    plain, cache, snapshot = (write('libero', tmp_path / 'plain'), tmp_path / 'blobs',
                              tmp_path / 'snapshot')  # fmt: skip
    cache.mkdir()
    snapshot.mkdir()
    for number, path in enumerate(sorted(plain.iterdir())):
        blob = path.rename(cache / f'{number:064d}')
        (snapshot / path.name.replace('--1000_', '--latest_')).symlink_to(blob)
    for name in ('added_tokens.json', 'special_tokens_map.json', 'tokenizer_config.json'):
        (snapshot / name).write_text('{}')
    (snapshot / 'lora_adapter').mkdir()
    (snapshot / 'lora_adapter/adapter_config.json').write_text('{}')
    (snapshot / 'config.json.back.20250101').write_text('{}')
    code, found = inspected(snapshot, tmp_path)
    assert code == 0, found['missing']
    assert found['unnorm_key'] == 'libero_spatial_no_noops'


WRONG = [None, 0, -1, 0.5, 10**12, True, 'x', [], {}, ['x'], [None, None], [[1], {}], {'a': None}]
NEEDED = {
    '': ('norm_stats', 'image_sizes', 'timm_model_ids', 'timm_override_act_layers', 'pad_token_id',
         'n_action_bins', 'pad_to_multiple_of', 'text_config', 'model_type', 'architectures'),
    'text_config': ('model_type', 'hidden_size', 'num_hidden_layers', 'num_attention_heads',
                    'intermediate_size', 'vocab_size', 'rms_norm_eps', 'rope_theta',
                    'rope_parameters', 'rope_scaling', 'num_key_value_heads'),
}  # fmt: skip


@published
@pytest.mark.parametrize('family', ['openvla', 'openvla_oft'])
def test_a_wrong_value_of_a_published_folder_is_an_error_that_names_it(tmp_path, family, capsys):
    from tiny_oft import UpstreamOft, save_oft, save_openvla

    folder = tmp_path / 'published'
    save = save_openvla if family == 'openvla' else save_oft
    save(UpstreamOft(3, cameras=1 if family == 'openvla' else 2), folder)
    (folder / 'dataset_statistics.json').unlink()  # those of config.json are read
    path = folder / 'config.json'
    right = json.loads(path.read_text())
    key = next(iter(right['norm_stats']))
    statistics = right['norm_stats'][key]

    def look(document, words=''):
        path.write_text(json.dumps(document))
        main(['inspect', str(folder)])
        said = ' '.join(''.join(capsys.readouterr()).split())
        assert 'should not happen' not in said, (document, said)
        assert words in said, (words, said)

    look(right)
    for inside, names in NEEDED.items():
        for name in names:
            for value in WRONG:
                part = {**(right[inside] if inside else right), name: value}
                look({**right, inside: part} if inside else part)
    for value in WRONG:
        look({**right, 'norm_stats': {key: value}})
        look({**right, 'norm_stats': {key: {**statistics, 'action': value}}})
        for name in ('q01', 'q99', 'mask'):
            for given in (value, [value] * 7):
                action = {**statistics['action'], name: given}
                look({**right, 'norm_stats': {key: {**statistics, 'action': action}}})
    text = right['text_config']
    for change, words in (
        ({'norm_stats': {key: None}}, f'statistics of {key} = None: expected an object'),
        ({'norm_stats': {key: {**statistics, 'action': []}}}, 'action = []: expected an object'),
        ({'text_config': {**text, 'hidden_size': 'x'}},
         "config.json: text_config.hidden_size = 'x': expected a whole number, 1 to"),
        ({'text_config': {**text, 'num_attention_heads': 0}},
         'text_config.num_attention_heads = 0: expected a whole number, 1 to'),
        ({'text_config': {**text, 'num_hidden_layers': 10**12}}, 'a whole number, 1 to 1000'),
        ({'text_config': [1]}, 'config.json: text_config = [1]: expected an object'),
        ({'image_sizes': ['x']}, "config.json: image_sizes[0] = 'x': expected a whole number"),
    ):  # fmt: skip
        look({**right, **change}, words)
    path.write_text('[' * 100_000)
    main(['inspect', str(folder)])
    assert 'not valid JSON' in ''.join(capsys.readouterr())
    path.write_text(json.dumps(right))
    for value in WRONG:
        for name in ('means', 'stds'):
            (folder / 'preprocessor_config.json').write_text(json.dumps({name: value}))
            look(right)
