"""Weights that no trained model has are refused by name, before or while they are read."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_oft import UpstreamOft, save_openvla

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.export.parts import Part
from dysl_vla_ros.lab.export.precision import to_half
from dysl_vla_ros.lab.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from dysl_vla_ros.lab.model.oft_survey import survey_oft
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.lab.model.openvla_survey import survey_openvla
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.shapes import PolicyConfig, Statistics
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.survey import Asked

UP = 'language_model.model.layers.1.mlp.up_proj.weight'
HEAD = 'action_head--1000_checkpoint.pt'


def wrong_with(folder):
    return [str(error) for error in survey_oft(folder, Asked()).wrong]


def change_weight(folder, name, change):
    """Replace one tensor of the model, or of the head, in a copy of its file."""
    if name.startswith('module.'):
        path = folder / HEAD
        tensors = torch.load(path, weights_only=True)
    else:
        index = json.loads((folder / 'model.safetensors.index.json').read_text())
        path = folder / index['weight_map'][name]
        tensors = load_file(path)
    tensors[name] = change(tensors[name].clone())
    path.unlink()
    if name.startswith('module.'):
        torch.save(tensors, path)
    else:
        save_file(tensors, path, metadata={'format': 'pt'})


@pytest.mark.parametrize('name', [UP, 'module.model.fc1.weight'])
@pytest.mark.parametrize(
    'kind', [torch.int8, torch.bool, torch.float8_e4m3fn], ids=['int8', 'bool', 'float8']
)
def test_weights_that_are_not_of_floating_point_are_named_with_their_type(breakable, name, kind):
    change_weight(breakable, name, lambda tensor: tensor.to(kind))
    (found,) = wrong_with(breakable)
    assert f'{name.removeprefix("module.")} is of ' in found
    assert 'expected one of float16, bfloat16, float32, float64' in found


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16, torch.float64])
def test_every_kind_of_floating_point_is_read(breakable, kind):
    change_weight(breakable, UP, lambda tensor: tensor.to(kind))
    assert wrong_with(breakable) == []
    assert open_oft(breakable).layer(1).mlp['up_proj'].weight.dtype == torch.float32


def add_tensors(folder, tensors):
    """Another file of the model, as its index names it."""
    save_file(tensors, folder / 'more.safetensors')
    path = folder / 'model.safetensors.index.json'
    index = json.loads(path.read_text())
    index['weight_map'] |= dict.fromkeys(tensors, 'more.safetensors')
    path.write_text(json.dumps(index))


LAYER = 'language_model.model.layers'


@pytest.mark.parametrize(
    'name', [f'{LAYER}.0.self_attn.q_proj.bias', f'{LAYER}.4.mlp.up_proj.weight',
             'projector.fc4.weight', 'vision_backbone.featurizer.blocks.0.extra.weight'],
)  # fmt: skip
def test_a_tensor_that_nothing_reads_is_named(breakable, name):
    add_tensors(breakable, {name: torch.zeros(2)})
    (found,) = wrong_with(breakable)
    assert f'1 tensor that nothing reads ({name}): expected only what the model of' in found


def test_of_many_that_nothing_reads_the_first_are_named(breakable):
    path = breakable / 'config.json'
    config = json.loads(path.read_text())
    config['text_config']['num_hidden_layers'] = 2
    path.write_text(json.dumps(config))
    (found,) = wrong_with(breakable)
    assert f'18 tensors that nothing reads ({LAYER}.2.input_layernorm.weight, ' in found
    assert found.count(LAYER) == 3 and ', ...)' in found


@pytest.mark.parametrize('stem', ['action_head', 'proprio_projector'])
def test_one_more_block_beside_the_model_is_named(breakable, stem):
    path = breakable / f'{stem}--1000_checkpoint.pt'
    tensors = torch.load(path, weights_only=True)
    path.unlink()
    torch.save({**tensors, 'module.model.mlp_resnet_blocks.2.ffn.1.bias': torch.ones(2)}, path)
    (found,) = wrong_with(breakable)
    assert 'that nothing reads (model.mlp_resnet_blocks.2.ffn.1.bias)' in found


def test_what_older_libraries_saved_beside_the_weights_is_passed_over(breakable):
    names = (f'{LAYER}.0.self_attn.rotary_emb.inv_freq', 'language_model.model.position_ids')
    add_tensors(breakable, {name: torch.zeros(2) for name in names})
    assert wrong_with(breakable) == []


def test_a_plain_openvla_with_another_layer_is_refused_too(tmp_path):
    save_openvla(UpstreamOft(4, cameras=1), tmp_path)
    given = {'crop_area': 1.0}
    survey_openvla(tmp_path, Asked(given=given))
    add_tensors(tmp_path, {f'{LAYER}.4.mlp.up_proj.weight': torch.zeros(2)})
    with pytest.raises(BundleError, match='1 tensor that nothing reads'):
        survey_openvla(tmp_path, Asked(given=given))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('name', [UP, 'module.model.fc1.weight'])
def test_a_weight_that_is_no_number_is_named_when_it_is_read(breakable, name, value):
    def spoil(tensor):
        tensor[3, :2] = value
        return tensor

    change_weight(breakable, name, spoil)
    checkpoint = open_oft(breakable)
    bare = name.removeprefix('module.')
    with pytest.raises(BundleError, match=f'{bare}: 2 of .* numbers are NaN or infinite: .*'
                       'download the file again'):  # fmt: skip
        checkpoint.layer(1) if name == UP else checkpoint.head()


def test_a_weight_beyond_float32_is_no_number_either(breakable):
    change_weight(breakable, UP, lambda tensor: tensor.double() * 1e300)
    with pytest.raises(BundleError, match='numbers are NaN or infinite'):
        open_oft(breakable).layer(1)


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [(lambda tensor: tensor.to(torch.int8), 'is of int8: expected one of float16'),
     (lambda tensor: tensor * float('nan'), 'numbers are NaN or infinite')],
)  # fmt: skip
@pytest.mark.parametrize('prefix', ['network.', 'skipping.'])
def test_weights_of_a_checkpoint_of_ours_are_looked_at_too(tmp_path, prefix, spoil, words):
    layout, path = LayerLayout(3, (0, 2)), tmp_path / 'policy.safetensors'
    config = PolicyConfig(9, layers=3, width=32, head_dim=16, stem_channels=(8, 8, 8),
                          auxiliary_layer=1)  # fmt: skip
    unit = NormalisationSpec(low=(-1.0,) * 7, high=(1.0,) * 7, mask=(True,) * 7)
    save_checkpoint(path, Checkpoint(config, Statistics(unit, unit), '{}', PolicyNetwork(config),
                                     SkipModules(layout, config.width)))  # fmt: skip
    tensors, header = load_tensors(path)
    load_checkpoint(path)
    name = next(name for name in sorted(tensors) if name.startswith(prefix))
    save_tensors(path, {**tensors, name: spoil(tensors[name])}, header)
    with pytest.raises(BundleError, match=words):
        load_checkpoint(path)


def test_a_weight_beyond_a_half_keeps_a_part_from_float16():
    module = torch.nn.Linear(2, 2)
    module.weight.data[0, 0] = 1e5
    part = Part(module, (torch.zeros(1, 2),), ('hidden',), ('hidden_out',))
    with pytest.raises(BundleError, match='weight: 1 of 4 .*--precision fp32'):
        to_half(part)


def test_a_projector_that_is_missing_makes_no_model_that_is_blind_to_the_arm(breakable):
    path = breakable / 'proprio_projector--1000_checkpoint.pt'
    kept = path.read_bytes()
    path.unlink()
    (found,) = wrong_with(breakable)
    assert 'no proprio_projector--*_checkpoint.pt, and the statistics have proprio: ' in found
    blind = survey_oft(breakable, Asked(given={'source': 'none'}))
    assert not blind.wrong and blind.dims == (7, 0)
    path.write_bytes(kept)
    (found,) = survey_oft(breakable, Asked(given={'source': 'none'})).wrong
    assert "proprioception = 'none': expected another one: the folder has a projector" in str(
        found
    )


def test_a_data_set_that_was_read_without_proprioception_needs_no_projector(breakable):
    (breakable / 'proprio_projector--1000_checkpoint.pt').unlink()
    path = breakable / 'dataset_statistics.json'
    document = json.loads(path.read_text())
    for statistics in document.values():
        statistics['proprio'] = {key: [0.0] * 7 for key in ('q01', 'q99', 'min', 'max', 'std')}
    path.write_text(json.dumps(document))
    assert wrong_with(breakable) == []


def test_a_head_without_numbers_is_named_itself(breakable):
    change_weight(breakable, 'module.model.fc2.weight', lambda tensor: tensor[:0])
    found = wrong_with(breakable)
    assert 'action_head: model.fc2.weight = (0, 64): expected a row for each' in found[0]
