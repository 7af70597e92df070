"""The published layouts load, lazily; a folder that is wrong says what is."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from tiny_oft import UNNORM_KEY, UpstreamOft, save_oft, write_tiny_oft

from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model import tensor_files
from dysl_vla_ros.lab.model.llama import LlamaShape
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.lab.model.published_model import read_colours, text_shape
from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def replace_linked(path, value):
    path.unlink()
    torch.save(value, path)


@pytest.mark.parametrize(('weights', 'shards'), [('safetensors', 1), ('bin', 1), ('bin', 3)])
def test_every_published_weight_layout_gives_the_same_parts(
    tmp_path, published, upstream, weights, shards
):
    save_oft(upstream, tmp_path / 'other', weights, shards)
    one, other = open_oft(published), open_oft(tmp_path / 'other')
    for part in ('vision', 'embed', 'head'):
        mine, theirs = getattr(one, part)().state_dict(), getattr(other, part)().state_dict()
        assert mine.keys() == theirs.keys() and len(mine) > 2
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert torch.equal(
        one.layer(3).self_attn['q_proj'].weight, other.layer(3).self_attn['q_proj'].weight
    )


def test_a_part_reads_its_own_tensors_and_no_others(published, monkeypatch):
    checkpoint, read = open_oft(published), []
    plain = tensor_files.TensorFiles.read
    monkeypatch.setattr(
        tensor_files.TensorFiles, 'read',
        lambda self, name: read.append(name) or plain(self, name),
    )  # fmt: skip
    layer = checkpoint.layer(2)
    assert len(read) == 9
    assert all(name.startswith('language_model.model.layers.2.') for name in read)
    assert not any(parameter.is_meta for parameter in layer.parameters())


def test_opening_a_folder_copies_no_weights(published, monkeypatch):
    def forbidden(*args):
        raise AssertionError('weights were read')

    monkeypatch.setattr(tensor_files.TensorFiles, 'fill', forbidden)
    assert open_oft(published).config.layers == 4


def test_parts_come_in_the_type_that_was_asked_for(tmp_path):
    write_tiny_oft(tmp_path / 'half', layers=1, dtype=torch.bfloat16)
    for dtype in (torch.float32, torch.float16):
        checkpoint = open_oft(tmp_path / 'half', dtype=dtype)
        for part in (checkpoint.vision(), checkpoint.embed(), checkpoint.layer(0),
                     checkpoint.head()):  # fmt: skip
            assert {parameter.dtype for parameter in part.parameters()} == {dtype}


def test_the_module_prefix_of_distributed_training_may_be_there_or_not(breakable):
    before = open_oft(breakable)
    for stem in ('action_head', 'proprio_projector'):
        path = breakable / f'{stem}--1000_checkpoint.pt'
        state = torch.load(path, weights_only=True)
        assert all(name.startswith('module.') for name in state)
        replace_linked(path, {name.removeprefix('module.'): v for name, v in state.items()})
    after = open_oft(breakable)
    assert torch.equal(before.head().fc2.weight, after.head().fc2.weight)
    assert torch.equal(before.embed().proprio_projector['fc1'].weight,
                       after.embed().proprio_projector['fc1'].weight)  # fmt: skip


def test_a_model_without_proprioception_has_no_token_for_it(tmp_path):
    upstream = UpstreamOft(layers=1, proprio=0)
    save_oft(upstream, tmp_path / 'blind')
    checkpoint = open_oft(tmp_path / 'blind')
    assert checkpoint.proprioception is None and checkpoint.config.proprioception_dim == 0
    network, images = checkpoint.network(), (torch.rand(1, 3, 28, 28), torch.rand(1, 3, 28, 28))
    tokens = torch.tensor([[1, *range(600, 633), 29871]])
    with torch.no_grad():
        hidden = network.layer(0, network.encode(images, tokens))
        assert hidden.shape[1] == 8 + 35 + 56 + 1
        expected = upstream.actions(images, tokens, None)
        assert float((network.head(hidden) - expected).abs().max()) < 1e-4


def test_statistics_become_the_normalisation_without_the_gripper(published):
    checkpoint = open_oft(published, UNNORM_KEY, units=LIBERO_UNITS)
    action, joints = checkpoint.action, checkpoint.proprioception
    assert action.mask == (True,) * 6 + (False,)
    assert action.low[:4] == pytest.approx((-0.75 * 0.05, -0.66 * 0.05, -0.94 * 0.05, -0.11 * 0.5))
    assert action.high[3] == pytest.approx(0.12 * 0.5)
    assert joints.mask == (True,) * 8 and joints.low[4] == -3.5
    extremes = open_oft(published, bounds='extremes').action
    assert extremes.low[0] == -1.5


def test_a_number_that_never_moved_keeps_its_place(breakable):
    def freeze(document):
        document[UNNORM_KEY]['action']['q99'][2] = document[UNNORM_KEY]['action']['q01'][2]

    edit(breakable / 'dataset_statistics.json', freeze)
    action = open_oft(breakable).action
    assert 0 < action.high[2] - action.low[2] < 1e-6


def test_statistics_inside_the_configuration_serve_where_the_file_is_missing(breakable):
    (breakable / 'dataset_statistics.json').unlink()
    assert open_oft(breakable).action == open_oft(breakable, UNNORM_KEY).action


def test_what_a_published_configuration_leaves_out_is_stock_llama(tmp_path):
    config = {'text_config': {'model_type': 'llama', 'pad_token_id': 32000, 'vocab_size': 32064}}
    assert text_shape(config, tmp_path) == LlamaShape()
    newer = {'text_config': {'rope_parameters': {'rope_theta': 5e5, 'rope_type': 'default'}}}
    assert text_shape(newer, tmp_path).rotary_base == 5e5


def test_colours_are_those_of_the_published_processor(breakable):
    def change(document):
        document['means'] = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]

    edit(breakable / 'preprocessor_config.json', change)
    assert open_oft(breakable).config.means == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    (breakable / 'preprocessor_config.json').unlink()
    assert read_colours(breakable)[0][0] == (0.484375, 0.455078125, 0.40625)


@pytest.mark.parametrize(
    ('key', 'value', 'words'),
    [('stds', 0, 'stds = 0.0: expected within 0.001 and 10'),
     ('means', 127, 'means = 127.0: expected within 10, of colours in')],
)  # fmt: skip
def test_colours_that_no_picture_has_are_refused(breakable, key, value, words):
    def change(document):
        document[key] = [[0.5, 0.5, value], [0.5, 0.5, 0.5]]

    edit(breakable / 'preprocessor_config.json', change)
    with pytest.raises(BundleError, match=f'preprocessor_config.json: {words}'):
        open_oft(breakable)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('config.json', r'config.json: no such file; .* holds action_head'),
        ('tokenizer.json', 'tokenizer.model alone is not enough'),
        ('model.safetensors.index.json', 'no weights; expected one of model.safetensors'),
        ('model-00002-of-00002.safetensors', 'names model-00002-of-00002.safetensors, not there'),
        ('action_head--1000_checkpoint.pt', 'expected OpenVLA-OFT with its L1 head'),
    ],
)
def test_a_missing_file_is_named_with_what_is_there(breakable, name, message):
    (breakable / name).unlink()
    with pytest.raises(BundleError, match=message):
        open_oft(breakable)


def test_an_unknown_data_set_lists_those_there_are(published):
    with pytest.raises(BundleError, match=f"= 'bridge': expected one of .*{UNNORM_KEY}"):
        open_oft(published, 'bridge')


def test_no_statistics_at_all_is_an_error(breakable):
    (breakable / 'dataset_statistics.json').unlink()
    edit(breakable / 'config.json', lambda document: document.pop('norm_stats'))
    with pytest.raises(BundleError, match='actions mean nothing without'):
        open_oft(breakable)


def test_a_missing_tensor_is_named_with_those_that_come_near(breakable):
    def rename(document):
        where = document['weight_map']
        where['language_model.model.layers.1.mlp.gate.weight'] = where.pop(
            'language_model.model.layers.1.mlp.gate_proj.weight'
        )

    edit(breakable / 'model.safetensors.index.json', rename)
    with pytest.raises(BundleError, match=r'layers.1.mlp.gate_proj.weight is missing; '
                       r'there are language_model.model.layers.1.mlp.down_proj'):  # fmt: skip
        open_oft(breakable).layer(1)


def test_an_index_that_lies_about_a_file_is_found(breakable):
    def move(document):
        where = document['weight_map']
        name = 'language_model.model.layers.1.mlp.gate_proj.weight'
        files = sorted(set(where.values()))
        where[name] = files[1 - files.index(where[name])]

    edit(breakable / 'model.safetensors.index.json', move)
    with pytest.raises(BundleError, match='though the index says so'):
        open_oft(breakable).layer(1)


def test_a_wrong_shape_is_named_with_the_right_one(breakable):
    def widen(document):
        document['text_config']['intermediate_size'] = 100

    edit(breakable / 'config.json', widen)
    with pytest.raises(BundleError, match=r'gate_proj.weight has the shape \(96, 64\): expected '
                       r'\(100, 64\)'):  # fmt: skip
        open_oft(breakable).layer(0)


def test_statistics_of_another_size_than_the_weights_are_refused(breakable):
    def shorten(document):
        document[UNNORM_KEY]['action']['q01'].pop()

    edit(breakable / 'dataset_statistics.json', shorten)
    with pytest.raises(BundleError, match='action.q01 has 6 values: expected 7'):
        open_oft(breakable)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


def test_a_file_that_would_run_code_is_not_opened(tmp_path, breakable):
    trace = tmp_path / 'ran'
    path = breakable / 'action_head--1000_checkpoint.pt'
    path.unlink()
    path.write_bytes(pickle.dumps({'module.model.fc1.weight': Bomb(trace)}))
    with pytest.raises(BundleError, match='not a torch file of tensors only'):
        open_oft(breakable)
    replace_linked(path, {'module.model.fc1.weight': Bomb(trace)})
    with pytest.raises(BundleError, match='could run code; .*convert it to safetensors') as caught:
        open_oft(breakable)
    assert 'weights_only' not in str(caught.value) and 'torch.load' not in str(caught.value)
    assert not trace.exists()


def test_a_damaged_weight_file_says_so(breakable):
    path = breakable / 'model-00001-of-00002.safetensors'
    path.unlink()
    path.write_bytes(b'not safetensors at all')
    with pytest.raises(BundleError, match='download it again'):
        open_oft(breakable)


def test_two_steps_of_a_head_are_not_chosen_from(breakable):
    path = breakable / 'action_head--1000_checkpoint.pt'
    (breakable / 'action_head--2000_checkpoint.pt').symlink_to(path.resolve())
    with pytest.raises(BundleError, match='expected one action_head'):
        open_oft(breakable)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'timm_model_ids': ['vit_large_patch14_clip_224.openai']}, 'timm_model_ids'),
        ({'image_sizes': [28, 42]}, 'expected one size'),
        ({'text_config': {'model_type': 'mistral'}}, "text_config.model_type = 'mistral'"),
        ({'text_config': {'num_key_value_heads': 8}}, 'num_key_value_heads = 8'),
        ({'text_config': {'rope_scaling': {'type': 'linear'}}}, 'rope_scaling'),
    ],
)
def test_a_configuration_that_is_not_built_here_is_refused(breakable, change, message):
    edit(breakable / 'config.json', lambda document: document.update(change))
    with pytest.raises(BundleError, match=message):
        open_oft(breakable)
