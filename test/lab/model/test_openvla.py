"""OpenVLA: stock Llama's tokens, one path per action, no holes in the keys and values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_oft import UpstreamOft, save_openvla

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.errors import BundleError, EngineError
from dysl_vla_ros.lab.model.llama import LlamaLayer
from dysl_vla_ros.lab.model.openvla import OpenVlaConfig, open_openvla
from dysl_vla_ros.lab.model.openvla_engine import OpenVlaEngine
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.lab.model.skipping import SkipModules

LAYOUT = LayerLayout(6, (0, 3, 5))
JUMP = SkipPlan((1, 5), 'open')


@pytest.fixture(scope='module')
def stock():
    return UpstreamOft(layers=6, cameras=1, seed=7)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, stock):
    path = tmp_path_factory.mktemp('published') / 'openvla'
    save_openvla(stock, path)
    return path


@pytest.fixture(scope='module')
def network(folder):
    return open_openvla(folder).network()


@pytest.fixture(scope='module')
def skipping():
    torch.manual_seed(3)
    modules = SkipModules(LAYOUT, 64).eval()
    for parameter in modules.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return modules


@pytest.fixture
def engine(network, skipping):
    return OpenVlaEngine(network, skipping)


def inputs(seed=0, words=9):
    random = np.random.default_rng(seed)
    tokens = np.full((1, 20), 32000)
    tokens[0, :words] = [1, *random.integers(3, 29000, words - 2), 29871]
    return {'image': random.random((1, 3, 28, 28), np.float32), 'tokens': tokens}


@torch.no_grad()
def without_cache(stock, skipping, given, path):
    """The action when every token runs the whole sequence again, in stock layers."""
    llama = stock.language_model.model
    words = torch.as_tensor(given['tokens'][given['tokens'] != 32000])[None]
    embedded = llama.embed_tokens(words)
    patches = stock.patches([torch.as_tensor(given['image'])])
    sequence = torch.cat((embedded[:, :1], patches, embedded[:, 1:]), dim=1)
    tokens = []
    for _ in range(7):
        size = sequence.shape[1]
        mask = torch.full((1, 1, size, size), float('-inf')).triu(1)
        places = torch.arange(size)[None]
        rotary = llama.rotary_emb(sequence, places)
        state = sequence
        for kind, layer in path:
            if kind == 'adapter':
                state = skipping.adapter(layer)(state)
            else:
                state = llama.layers[layer](
                    state, attention_mask=mask, position_ids=places, position_embeddings=rotary
                )
                state = state[0] if isinstance(state, tuple) else state
        logits = stock.language_model.lm_head(llama.norm(state[:, -1]))
        tokens.append(int(logits.argmax()))
        following = llama.embed_tokens(torch.tensor([[tokens[-1]]]))
        sequence = torch.cat((sequence, following), dim=1)
    return OpenVlaConfig().values(np.array([tokens]))


FULL = [('layer', index) for index in range(6)]
SKIPPED = [('layer', 0), ('adapter', 1), ('layer', 3), ('layer', 4), ('layer', 5)]


def act(engine, given, plan):
    hidden, trace = forward(engine, engine.encode(given), plan)
    return engine.decode(hidden), trace


@pytest.mark.parametrize('seed', range(4))
def test_a_full_pass_writes_the_tokens_of_stock_llama(engine, stock, skipping, seed):
    given = inputs(seed)
    found, _ = act(engine, given, LAYOUT.full_plan())
    assert found.shape == (1, 7) and len(set(found[0])) > 2
    np.testing.assert_array_equal(found, without_cache(stock, skipping, given, FULL))


@pytest.mark.parametrize('seed', range(4))
def test_a_skipped_pass_writes_what_the_same_path_without_a_cache_writes(
    engine, stock, skipping, seed
):
    given = inputs(seed)
    found, trace = act(engine, given, JUMP)
    assert trace.layers_run == (0, 3, 4, 5)
    np.testing.assert_array_equal(found, without_cache(stock, skipping, given, SKIPPED))


def test_skipping_changes_the_action_so_that_the_tests_above_can_fail(engine):
    given = [inputs(seed) for seed in range(4)]
    pairs = [(act(engine, g, LAYOUT.full_plan())[0], act(engine, g, JUMP)[0]) for g in given]
    assert all((full != skipped).any() for full, skipped in pairs)


def test_later_tokens_run_the_layers_of_the_pass_and_no_others(engine, monkeypatch, network):
    run, causal = [], LlamaLayer.causal
    names = {id(layer): index for index, layer in enumerate(network.layers)}
    monkeypatch.setattr(
        LlamaLayer, 'causal',
        lambda self, x, *rest: run.append((names[id(self)], x.shape[1])) or causal(self, x, *rest),
    )  # fmt: skip
    act(engine, inputs(), JUMP)
    prompt = 9 + 4
    assert run[:4] == [(0, prompt), (3, prompt), (4, prompt), (5, prompt)]
    assert run[4:] == [(0, 1), (3, 1), (4, 1), (5, 1)] * 6


def test_a_decision_per_token_would_find_no_keys_and_values(engine):
    """Why the decision is one per action: a later token cannot enter what the prompt skipped."""
    hidden, _ = forward(engine, engine.encode(inputs()), JUMP)
    engine._path = (*engine._path[:1], type(engine._path[0])(1, adapter=False))
    with pytest.raises(KeyError):
        engine.decode(hidden)


def test_a_resumed_rerun_is_a_full_pass_bit_for_bit(engine):
    given = inputs(1)
    expected, _ = act(engine, given, LAYOUT.full_plan())
    skipped, trace = act(engine, given, JUMP)
    again, _ = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    np.testing.assert_array_equal(engine.decode(again), expected)
    assert (skipped != expected).any()


def test_what_was_kept_survives_another_observation(engine):
    expected, _ = act(engine, inputs(1), LAYOUT.full_plan())
    _, trace = act(engine, inputs(1), JUMP)
    act(engine, inputs(2, words=15), LAYOUT.full_plan())
    again, _ = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    np.testing.assert_array_equal(engine.decode(again), expected)


def test_decoding_twice_gives_the_same_action(engine):
    hidden, _ = forward(engine, engine.encode(inputs()), LAYOUT.full_plan())
    np.testing.assert_array_equal(engine.decode(hidden), engine.decode(hidden))


def test_tokens_stand_for_the_centres_of_bins_from_the_last_word_down():
    values = OpenVlaConfig().values(np.array([31999, 31998, 31745, 31744, 5]))
    first, last = -1 + 1 / 255, 1 - 1 / 255
    np.testing.assert_allclose(values, [first, first + 2 / 255, last, last, last], atol=1e-12)


def test_a_missing_input_is_named(engine):
    with pytest.raises(EngineError, match="expected \\['image'\\] too"):
        engine.encode({'tokens': np.ones((1, 4))})


def test_openvla_is_not_taken_for_openvla_oft_nor_the_other_way_round(folder, published):
    with pytest.raises(BundleError, match='seven tokens per action'):
        open_oft(folder)
    with pytest.raises(BundleError, match='expected OpenVLA without an action head'):
        open_openvla(published)
