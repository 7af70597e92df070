"""Other distillations of one dense policy: their numbers, and static layers that are drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from synthetic import demonstrations, small_config
from synthetic import statistics as _statistics

from dysl_vla_ros.lab.ablations import distillations
from dysl_vla_ros.lab.data.words import build_tokenizer
from dysl_vla_ros.lab.learn.layer_choice import choose_layers, chosen_layers
from dysl_vla_ros.lab.learn.layer_scores import choose_static, draw_static
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.recipe import preset
from dysl_vla_ros.lab.workspace import Workspace

WORDS = ('take red', 'take blue')


def test_every_distillation_makes_as_many_updates_as_the_recipe():
    recipe = preset('full', 1, on_gpu=False)
    found = distillations(recipe, [1, 7], [1, 2], seed=5)
    assert list(found) == ['random_static_1', 'random_static_7', 'stages_1', 'stages_2']
    wanted = recipe.distill.adapter_steps + recipe.distill.controller_steps
    for name, one in found.items():
        assert one.distill.adapter_steps + one.distill.controller_steps == wanted, name
        assert (one.seed, one.distill.seed) == (5, 5), name
    assert [found[f'stages_{n}'].distill.adapter_steps for n in (1, 2)] == [0, wanted // 2]
    assert [one.static_lot for one in found.values()] == [1, 7, None, None]


@pytest.mark.parametrize('layers', [8, 20, 32])
def test_a_lot_draws_as_many_layers_as_the_scores_choose_and_the_same_ones_again(layers):
    scored = choose_static(tuple(1.0 for _ in range(layers)))
    drawn = [draw_static(layers, 0.2, lot).static_layers for lot in range(20)]
    assert {len(one) for one in drawn} == {len(scored.static_layers)}
    assert all(one[0] == 0 and one[-1] == layers - 1 for one in drawn)
    assert draw_static(layers, 0.2, 3).static_layers == drawn[3]
    assert len(set(drawn)) > 5, 'another lot, other layers'
    inside = {layer for one in drawn for layer in one[1:-1]}
    assert len(inside) > 0.6 * (layers - 2), 'every layer between has its chance'


def test_the_card_names_the_layers_of_the_lot_and_that_it_was_one(tmp_path):
    data = replace(demonstrations(), instructions=WORDS)
    tokenizer = build_tokenizer(WORDS)
    config = replace(small_config(8), vocabulary=tokenizer.get_vocab_size())
    dense = Checkpoint(config, _statistics(data), tokenizer.to_str(), PolicyNetwork(config))
    space = Workspace(tmp_path, tmp_path, torch.device('cpu'))
    found = choose_layers(dense, data, space, batch=8, lot=4)
    assert found.card['layers']['chosen_by'] == 'lot 4'
    assert chosen_layers(found) == draw_static(8, 0.2, 4)
