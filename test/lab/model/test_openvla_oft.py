"""OpenVLA-OFT against stock Llama and stock timm, and every trap of its forward pass."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from joined_oft import OftParts

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, visible
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.lab.model.skipping import SkipModules

CLOSE = 1e-4
PAD = 32000
LAYOUT = LayerLayout(4, (0, 3))


def prompt(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 29000, (1, length), generator=generator)
    tokens[0, 0], tokens[0, -1] = 1, 29871
    return tokens


def padded(tokens, to=35):
    return torch.nn.functional.pad(tokens, (0, to - tokens.shape[1]), value=PAD)


@torch.no_grad()
def run(network, images, tokens, proprioception=None):
    hidden = network.encode(images, tokens, proprioception)
    for index in range(network.config.layers):
        hidden = network.layer(index, hidden)
    return network.head(hidden)


@pytest.fixture(scope='module')
def network(published):
    return open_oft(published).network()


@pytest.fixture(scope='module')
def images():
    torch.manual_seed(1)
    return torch.rand(1, 3, 28, 28), torch.rand(1, 3, 28, 28)


@pytest.fixture(scope='module')
def proprioception():
    torch.manual_seed(2)
    return torch.randn(1, 8)


@pytest.fixture(scope='module')
def skipping(network):
    torch.manual_seed(3)
    modules = SkipModules(LAYOUT, network.config.width).eval()
    for parameter in modules.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return modules


def worst(one, other):
    return float((one - other).abs().max())


def test_actions_are_those_of_stock_llama_that_sees_everything(
    network, upstream, images, proprioception
):
    tokens = prompt(35)
    found = run(network, images, tokens, proprioception)
    assert found.shape == (1, 8, 7)
    assert worst(found, upstream.actions(images, tokens, proprioception)) < CLOSE


def test_a_causal_mask_gives_other_actions(network, upstream, images, proprioception):
    tokens = prompt(35)
    causal = upstream.actions(images, tokens, proprioception, causal=True)
    assert worst(run(network, images, tokens, proprioception), causal) > 0.1


@pytest.mark.parametrize('offset', [-1, 1])
def test_reading_one_position_beside_the_last_prompt_token_gives_other_actions(
    network, upstream, images, proprioception, offset
):
    tokens = prompt(35)
    beside = upstream.actions(images, tokens, proprioception, offset=offset)
    assert worst(run(network, images, tokens, proprioception), beside) > 0.1


@pytest.mark.parametrize('length', [2, 9, 34])
def test_a_padded_prompt_gives_the_actions_of_the_bare_one(
    network, upstream, images, proprioception, length
):
    tokens = prompt(length, seed=length)
    found = run(network, images, padded(tokens), proprioception)
    assert worst(found, upstream.actions(images, tokens, proprioception)) < CLOSE


def test_padding_that_is_seen_gives_other_actions(network, upstream, images, proprioception):
    tokens = prompt(9)
    unmarked = torch.nn.functional.pad(tokens, (0, 26), value=PAD - 1)  # a word like any other
    bare = upstream.actions(images, tokens, proprioception)
    assert worst(run(network, images, unmarked, proprioception), bare) > 0.1


def test_samples_of_a_batch_may_have_prompts_of_different_length(
    network, upstream, images, proprioception
):
    prompts = [prompt(7, seed=4), prompt(21, seed=5)]
    tokens = torch.cat([padded(each) for each in prompts])
    twice = tuple(image.expand(2, -1, -1, -1) for image in images)
    found = run(network, twice, tokens, proprioception.expand(2, -1))
    for row, each in zip(found, prompts, strict=True):
        assert worst(row[None], upstream.actions(images, each, proprioception)) < CLOSE


def test_the_sequence_is_padding_bos_patches_state_prompt_zero_slots_end(
    network, upstream, images, proprioception
):
    tokens = prompt(30)
    hidden = network.encode(images, padded(tokens), proprioception)[0]
    embed = upstream.language_model.model.embed_tokens
    assert hidden.shape == (network.config.tokens, 64) == (8 + 1 + 35 + 56 + 1, 64)
    assert (hidden[:5] == 0).all()
    assert torch.equal(hidden[5], embed.weight[1])
    assert worst(hidden[6:14], upstream.patches(images)[0]) < CLOSE
    assert worst(hidden[14], upstream.state(proprioception)[0, 0]) < CLOSE
    assert torch.equal(hidden[15:44], embed.weight[tokens[0, 1:]])
    assert (hidden[44:100] == 0).all()
    assert torch.equal(hidden[100], embed.weight[2])
    assert network.config.read_out == slice(43, 99), 'from the last prompt token on'


def test_padding_stays_exactly_zero_through_layers_and_adapters(
    network, skipping, images, proprioception
):
    with torch.no_grad():
        hidden = network.encode(images, padded(prompt(9)), proprioception)
        hidden = network.layer(0, hidden)
        assert (hidden[:, :26] == 0).all() and (hidden[:, 26:].abs().amax(-1) > 0).all()
        hidden = skipping.adapter(1)(hidden)
        assert (hidden[:, :26] == 0).all() and (hidden[:, 26:].abs().amax(-1) > 0).all()
        hidden = network.layer(3, hidden)
        assert (hidden[:, :26] == 0).all()


def test_only_padding_is_taken_for_padding_although_slots_are_zero_too(
    network, images, proprioception
):
    with torch.no_grad():
        hidden = network.encode(images, padded(prompt(9)), proprioception)
    expected = torch.ones(network.config.tokens)
    expected[:26] = 0
    assert torch.equal(visible(hidden, network.config)[0], expected)


def test_a_skipped_pass_does_not_depend_on_the_padding(
    published, network, skipping, images, proprioception
):
    """Layer 0, the adapter of layer 1, the last layer: padded to 35 and not padded at all."""
    tokens, found = prompt(9), []
    bare = open_oft(published, prompt_tokens=9).network()
    for model, ids in ((network, padded(tokens)), (bare, tokens)):
        with torch.no_grad():
            hidden = model.layer(0, model.encode(images, ids, proprioception))
            score = OftParts(model, skipping).score(1, hidden)
            found.append((score, model.head(model.layer(3, skipping.adapter(1)(hidden)))))
    (score, actions), (other_score, other_actions) = found
    assert worst(actions, other_actions) < CLOSE
    assert worst(score, other_score) < 1e-6
    with torch.no_grad():
        hidden = network.layer(0, network.encode(images, padded(tokens), proprioception))
        averaged_over_padding = skipping.controller(1)(hidden)
    assert worst(averaged_over_padding, score) > 1e-4


def test_towers_are_the_second_to_last_blocks_of_timm_with_dino_first(network, upstream, images):
    """Compared before the projector, so that an order of channels shows."""
    part = network.vision_part
    towers = (upstream.vision_backbone.featurizer, upstream.vision_backbone.fused_featurizer)
    for mine, stock in zip(part.towers, towers, strict=True):
        pixels = torch.randn(1, 3, 28, 28)
        with torch.no_grad():
            states = stock.get_intermediate_layers(pixels, n={len(stock.blocks) - 2})[0]
            last = stock.get_intermediate_layers(pixels, n=1)[0]
            normed = stock.get_intermediate_layers(
                pixels, n={len(stock.blocks) - 2}, norm=True)[0]  # fmt: skip
            found = mine(pixels)
        assert found.shape == states.shape, 'class and register tokens are dropped'
        assert worst(found, states) < CLOSE
        assert worst(found, last) > 0.1 and worst(found, normed) > 0.1


def test_each_tower_gets_the_image_in_its_own_normalisation(network, upstream, images):
    with torch.no_grad():
        assert worst(network.vision(*images), upstream.patches(images)) < CLOSE
        swapped = OftConfig(means=network.config.means[::-1], stds=network.config.stds[::-1])
        part = network.vision_part
        kept = part.mean, part.std
        part.mean, part.std = (
            torch.tensor(values).view(2, 1, 3, 1, 1) for values in (swapped.means, swapped.stds)
        )
        other = network.vision(*images)
        part.mean, part.std = kept
    assert worst(other, upstream.patches(images)) > 0.01


def test_cameras_share_one_batch_of_each_tower_and_samples_keep_apart(network, upstream):
    """Two samples of two cameras: each tower runs once, and nobody sees another's patches."""
    random = torch.Generator().manual_seed(5)
    pictures = [torch.rand(2, 3, 28, 28, generator=random) for _ in range(2)]
    batches = []
    hooks = [tower.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
             for tower in network.vision_part.towers]  # fmt: skip
    with torch.no_grad():
        found = network.vision(*pictures)
    for hook in hooks:
        hook.remove()
    assert batches == [4, 4]
    for sample in range(2):
        wanted = upstream.patches([camera[sample : sample + 1] for camera in pictures])
        assert worst(found[sample : sample + 1], wanted) < CLOSE


def test_the_order_of_the_cameras_matters(network, upstream, images, proprioception):
    tokens = prompt(35)
    found = run(network, images[::-1], tokens, proprioception)
    assert worst(found, upstream.actions(images, tokens, proprioception)) > 0.1


def test_the_default_shape_is_the_published_one():
    config = OftConfig()
    assert (config.layers, config.width, config.text.mlp_width, config.text.heads) == (
        32, 4096, 11008, 32)  # fmt: skip
    assert (config.patches, config.tokens) == (512, 605)
    assert sum(tower.width for tower in config.towers) == 2176
    assert [tower.depth for tower in config.towers] == [24, 27]


def test_parts_for_engines_run_the_same_network(network, skipping, images, proprioception):
    parts = OftParts(network, skipping)
    tokens = padded(prompt(9))
    inputs = {'image': images[0], 'wrist_image': images[1], 'tokens': tokens,
              'proprioception': proprioception}  # fmt: skip
    with torch.no_grad():
        hidden = parts.embed(inputs)
        for layer in range(4):
            hidden = parts.layer(layer, hidden)
        assert torch.equal(parts.head(hidden), run(network, images, tokens, proprioception))
        assert parts.layout == LAYOUT
        assert parts.score(1, hidden).dtype == torch.float32


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'image_size': 30}, 'image_size = 30: expected a multiple of 14'),
        ({'cameras': ()}, 'at least one camera'),
        ({'cameras': ('image', 'image')}, 'every name once'),
        ({'prompt_tokens': 1}, 'BOS and at least one more'),
    ],
)
def test_a_wrong_shape_is_refused_and_says_what_is_right(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(OftConfig(), **change)
