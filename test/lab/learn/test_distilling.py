"""The distillation as a whole: watched on held-out samples, and resumable to the bit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny_dataset
import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.contract import contract
from dysl_vla_ros.lab.data.dataset_reader import load_dataset
from dysl_vla_ros.lab.data.samples import batch_source, split
from dysl_vla_ros.lab.learn.dense import fresh_checkpoint
from dysl_vla_ros.lab.learn.distill import DistillSettings
from dysl_vla_ros.lab.learn.distilling import STATE, distil_checkpoint
from dysl_vla_ros.lab.learn.layer_choice import choose_layers, chosen_layers
from dysl_vla_ros.lab.learn.validation import validate_skipping
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.workspace import Workspace

SMALL = {'layers': 5, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
         'auxiliary_layer': 2}  # fmt: skip
LAYOUT = LayerLayout(5, (0, 4))
SETTINGS = DistillSettings(adapter_steps=4, controller_steps=4, batch=4)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tiny_dataset.write_dataset(tmp_path_factory.mktemp('distil') / 'data')
    return load_dataset(folder, contract())


def space(folder, progress=None):
    silent = Workspace(folder, folder, torch.device('cpu'))
    return silent if progress is None else replace(silent, progress=progress)


def weights(checkpoint):
    return checkpoint.skipping.state_dict()


def test_a_distillation_is_watched_per_layer_and_in_depth(data, tmp_path):
    checkpoint = fresh_checkpoint(data, SMALL, 0)
    dense = {k: v.clone() for k, v in checkpoint.network.state_dict().items()}
    result = distil_checkpoint(checkpoint, LAYOUT, data, SETTINGS, space(tmp_path), 4, 2)
    for name, value in result.network.state_dict().items():
        assert torch.equal(value, dense[name]), f'the frozen backbone changed: {name}'
    found = json.loads((tmp_path / 'distill.json').read_text())
    assert [(n['stage'], n['step']) for n in found['curve']] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    for note in found['curve']:
        assert set(note['validation']['layers']) == {'1', '2', '3'}
        assert 2 <= note['validation']['mean_depth'] <= 5
    assert (tmp_path / 'distill.png').read_bytes()[:4] == b'\x89PNG'


@pytest.mark.parametrize('last', [('distill stage 1', 2), ('distill stage 2', 2)])
def test_an_interrupted_distillation_goes_on_as_if_it_had_not_been(data, tmp_path, last):
    whole = distil_checkpoint(fresh_checkpoint(data, SMALL, 0), LAYOUT, data, SETTINGS,
                              space(tmp_path / 'whole'), 4, 1)  # fmt: skip

    def stop(stage, step, steps, figures):
        if (stage, step) == (last[0], last[1] + 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil_checkpoint(fresh_checkpoint(data, SMALL, 0), LAYOUT, data, SETTINGS,
                          space(tmp_path / 'cut', stop), 4, 1)  # fmt: skip
    done = []
    resumed = distil_checkpoint(
        fresh_checkpoint(data, SMALL, 0), LAYOUT, data, SETTINGS,
        space(tmp_path / 'cut', lambda stage, step, *_: done.append((stage, step))), 4, 1,
    )  # fmt: skip
    # At most the update whose state was not saved yet is made again.
    assert done[0] == (last[0], last[1] + 1)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    one, two = (json.loads((tmp_path / n / 'distill.json').read_text()) for n in ('whole', 'cut'))
    assert one['curve'] == two['curve']


def test_a_state_of_other_layers_is_refused(data, tmp_path):
    distil_checkpoint(fresh_checkpoint(data, SMALL, 0), LAYOUT, data, SETTINGS, space(tmp_path), 4)
    assert (tmp_path / STATE).is_file()
    with pytest.raises(ConfigError, match='rank = 8: expected 4, with which'):
        distil_checkpoint(fresh_checkpoint(data, SMALL, 0), LAYOUT, data, SETTINGS,
                          space(tmp_path), rank=8)  # fmt: skip


def test_an_adapter_that_does_nothing_costs_what_leaving_the_layers_out_costs(data):
    checkpoint = fresh_checkpoint(data, SMALL, 0)
    _, held_out = split(data)
    source = batch_source(held_out, checkpoint, torch.device('cpu'), 3)
    # Untrained adapters are the identity.
    found = validate_skipping(checkpoint.network, SkipModules(LAYOUT, 32, 4), source, 8, 1)
    batch = source.draw(0, 8, augmentation())
    network = checkpoint.network
    with torch.no_grad():
        hidden = network.encode(batch.images, batch.tokens, batch.proprioception)
        first = network.layer(0, hidden)
        skipped = network.head(network.layer(4, first))
        error = float((skipped - batch.chunk).abs().mean())
    layer = found['layers']['1']
    assert layer['error_added'] == pytest.approx(error - found['dense_error'], abs=1e-6)


def augmentation():
    from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION

    return NO_AUGMENTATION


def test_the_card_names_the_static_layers_and_a_spoilt_card_is_refused(data, tmp_path):
    checkpoint = choose_layers(fresh_checkpoint(data, SMALL, 0), data, space(tmp_path), batch=8)
    layout = chosen_layers(checkpoint)
    assert layout is not None and {0, 4} <= set(layout.static_layers)
    found = json.loads((tmp_path / 'report.json').read_text())['layers']
    assert len(found['score_all_tokens']) == len(found['score_action_slots']) == 5
    spoilt = replace(checkpoint, card={'layers': {'static': [0, 9]}})
    with pytest.raises(ConfigError, match=r'card\.layers\.static'):
        chosen_layers(spoilt)
