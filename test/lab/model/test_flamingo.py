"""RoboFlamingo's structure: stock MPT blocks, cross-attention in its layer, a stateful head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_oft import make_torchvision_importable
from torch import nn

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.lab.model.flamingo import Flamingo, FlamingoConfig
from dysl_vla_ros.lab.model.flamingo_engine import FlamingoEngine
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.vision_tower import TowerShape

CONFIG = FlamingoConfig(
    layers=5, width=64, heads=4, vocabulary=200, tower=TowerShape(24, 3, 4, 48), image_size=28,
    cross_heads=2, cross_head_dim=16, history=3, head_width=32, head_layers=2,
)  # fmt: skip
LAYOUT = LayerLayout(5, (0, 4))
JUMP = SkipPlan((2,), 'open')
FULL = LAYOUT.full_plan()


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    made = Flamingo(CONFIG).eval()
    for name, tensor in made.named_parameters():
        with torch.no_grad():
            if tensor.dim() > 1:
                tensor.normal_(std=tensor[0].numel() ** -0.5)
            elif name.endswith('gate'):
                tensor.fill_(0.7)
    return made


@pytest.fixture(scope='module')
def skipping():
    torch.manual_seed(1)
    modules = SkipModules(LAYOUT, CONFIG.width).eval()
    for parameter in modules.parameters():
        nn.init.normal_(parameter, std=0.4)
    return modules


@pytest.fixture
def engine(network, skipping):
    return FlamingoEngine(network, skipping)


def inputs(seed, text=(5, 6, 7, 8, 0, 0)):
    image = np.random.default_rng(seed).standard_normal((1, 3, 28, 28)).astype(np.float32)
    return {'image': image, 'tokens': np.array([text])}


def act(engine, given, plan=FULL):
    hidden, trace = forward(engine, engine.encode(given), plan)
    return engine.decode(hidden), trace


def rerun(engine, trace):
    hidden, _ = forward(engine, engine.restore(trace.resume_state), FULL, trace.resume_layer)
    return engine.decode(hidden)


# ---- against stock MPT and the formulas of OpenFlamingo ---------------------------------------


def stock_block(layer):
    from transformers import MptConfig
    from transformers.models.mpt.modeling_mpt import MptBlock

    config = MptConfig(d_model=64, n_heads=4, n_layers=1, max_seq_len=32)
    block = MptBlock(config, layer_idx=0).eval()
    block.load_state_dict(layer.decoder_layer.state_dict())
    return block


@torch.no_grad()
def stock_layer(layer, text, media):
    """Cross-attention head by head as in its paper, then a stock MPT block."""
    make_torchvision_importable()
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    cross = layer.gated_cross_attn_layer
    attn, size = cross.attn, CONFIG.cross_head_dim
    query = attn.to_q(attn.norm(text))[0]
    key, value = attn.to_kv(media)[0].split(2 * size, dim=-1)
    answers = []
    for head in range(2):
        part = slice(head * size, (head + 1) * size)
        weights = torch.softmax(query[:, part] @ key[:, part].T / size**0.5, dim=-1)
        answers.append(weights @ value[:, part])
    text = text + cross.attn_gate.tanh() * attn.to_out(torch.cat(answers, dim=-1))
    text = text + cross.ff_gate.tanh() * cross.ff(text)
    tokens = text.shape[1]
    mask = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)[None, None]
    bias = build_mpt_alibi_tensor(4, tokens)
    return stock_block(layer)(text, position_bias=bias, attention_mask=mask)[0]


def test_a_layer_is_gated_cross_attention_and_a_stock_mpt_block(network):
    torch.manual_seed(2)
    hidden = torch.randn(1, 7 + network.media_tokens, 64)
    for index in (0, 3):
        with torch.no_grad():
            found = network.layer(index, hidden)
        media = hidden[:, 7:, :24]
        expected = stock_layer(network.layers[index], hidden[:, :7], media)
        assert float((found[:, :7] - expected).abs().max()) < 1e-4
        assert torch.equal(found[:, 7:], hidden[:, 7:]), 'image tokens stay'


def test_padding_of_the_text_does_not_reach_the_network(engine, network):
    given, _ = act(engine, inputs(1))
    bare, _ = act(FlamingoEngine(network, engine._skipping), inputs(1, (5, 6, 7, 8)))
    np.testing.assert_array_equal(given, bare)


def test_the_head_remembers_the_largest_value_of_the_normed_text(network):
    hidden = torch.randn(1, 7 + network.media_tokens, 64)
    hidden[:, 7:] += 10.0
    with torch.no_grad():
        found = network.feature(hidden)
        weight = network.norm_f.weight
        expected = nn.functional.layer_norm(hidden[0, :7], (64,), weight).amax(dim=0)
    assert float((found[0] - expected).abs().max()) < 1e-5


# ---- cross-attention belongs to its layer -----------------------------------------------------


def test_cross_attention_is_run_and_skipped_with_its_layer(engine, network):
    called = []
    hooks = [
        layer.gated_cross_attn_layer.register_forward_hook(lambda *_, i=i: called.append(i))
        for i, layer in enumerate(network.layers)
    ]
    act(engine, inputs(1), JUMP)
    for hook in hooks:
        hook.remove()
    assert called == [0, 1, 4]


def test_an_adapter_changes_the_text_and_leaves_the_image(engine, network):
    hidden = engine.run_layer(0, engine.encode(inputs(1)))
    bridged = engine.bridge(2, hidden)
    media = network.media_tokens
    assert torch.equal(bridged[:, -media:], hidden[:, -media:])
    assert (bridged[:, :-media] != hidden[:, :-media]).any()


def test_the_image_reaches_the_action_through_cross_attention_alone(engine):
    assert (act(engine, inputs(1))[0] != act(engine, inputs(2))[0]).any()


# ---- the head's state ------------------------------------------------------------------------


@torch.no_grad()
def carried_on(network, features):
    """Upstream's head: the LSTM's state carried on, refreshed once the memory is full."""
    head, memory, state, outputs = network.head, [], None, []
    for feature in features:
        memory.append(feature[:, None])
        if len(memory) <= CONFIG.history:
            states, state = head.rnn(feature[:, None], state)
        else:
            memory = memory[-CONFIG.history :]
            states, _ = head.rnn(torch.cat(memory, dim=1))
        last = states[:, -1]
        outputs.append(torch.cat((head.actions(last).tanh(), head.gripper(last).sigmoid()), -1))
    return torch.cat(outputs).numpy()


def test_actions_are_those_of_an_lstm_whose_state_is_carried_on(engine, network):
    seeds, features, found = range(6), [], []
    for seed in seeds:
        hidden, _ = forward(engine, engine.encode(inputs(seed)), FULL)
        with torch.no_grad():
            features.append(network.feature(hidden.clone()))
        found.append(engine.decode(hidden)[0])
    np.testing.assert_allclose(np.array(found), carried_on(network, features), atol=1e-6)


def test_the_past_matters(engine, network, skipping):
    act(engine, inputs(1))
    act(engine, inputs(2))
    late, _ = act(engine, inputs(3))
    early, _ = act(FlamingoEngine(network, skipping), inputs(3))
    assert np.abs(late - early).max() > 1e-3


def test_after_a_rerun_it_is_as_if_the_skipped_pass_had_never_happened(engine, network, skipping):
    dense = FlamingoEngine(network, skipping)
    expected = [act(dense, inputs(seed))[0] for seed in range(5)]
    found = []
    for seed in range(5):
        if seed % 2:
            skipped, trace = act(engine, inputs(seed), JUMP)
            found.append(rerun(engine, trace))
            assert (skipped != found[-1]).any()
        else:
            found.append(act(engine, inputs(seed))[0])
    np.testing.assert_array_equal(found, expected)


def test_a_rerun_that_does_not_take_the_memory_back_gives_other_actions(engine, network, skipping):
    """What the test above would look like without the state in ``keep``."""
    dense = FlamingoEngine(network, skipping)
    expected = [act(dense, inputs(seed))[0] for seed in range(2)]
    act(engine, inputs(0))
    _, trace = act(engine, inputs(1), JUMP)
    polluted = engine._window
    hidden = engine.restore(trace.resume_state)
    engine._window = polluted
    hidden, _ = forward(engine, hidden, FULL, trace.resume_layer)
    assert np.abs(engine.decode(hidden) - expected[1]).max() > 1e-3


def test_two_passes_of_a_comparison_count_as_one_observation(engine):
    hidden = engine.encode(inputs(0))
    kept = engine.keep(hidden)
    engine.decode(forward(engine, hidden, JUMP)[0])
    engine.decode(forward(engine, engine.restore(kept), FULL)[0])
    assert engine.remembered == 1


def test_the_memory_has_a_length_and_ends_with_the_instruction(engine, network, skipping):
    for seed in range(5):
        act(engine, inputs(seed))
    assert engine.remembered == CONFIG.history
    other = (9, 8, 7, 0, 0, 0)
    found, _ = act(engine, inputs(7, other))
    assert engine.remembered == 1
    fresh, _ = act(FlamingoEngine(network, skipping), inputs(7, other))
    np.testing.assert_array_equal(found, fresh)


@pytest.mark.parametrize(
    ('change', 'message'),
    [({'heads': 3}, 'a power of two'), ({'history': 0}, 'at least 1'),
     ({'tower': TowerShape(128, 3, 4, 48)}, 'at most width = 64')],
)  # fmt: skip
def test_a_wrong_shape_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        FlamingoConfig(**{**vars(CONFIG), **change})


def test_a_missing_input_is_named(engine):
    with pytest.raises(EngineError, match="expected \\['image'\\] too"):
        engine.encode({'tokens': np.ones((1, 4))})
