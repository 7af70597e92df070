"""No pass waits for a capture: layers are captured when an instruction is learnt, and kept."""

from __future__ import annotations

import gc

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

from deferred_stream import DeferredStream

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.cuda import engine as cuda_engine
from dysl_vla_ros.engines.cuda.engine import CudaEngine
from dysl_vla_ros.engines.engine import Prepares, forward
from dysl_vla_ros.errors import EngineError

LAYOUT = LayerLayout(5, (0, 4))
ROWS, WIDTH = 6, 4
GRAPHS = 5 + 3 + 1
"""Of one length: each layer, each that is asked behind, all of them."""


class Padded:
    """Layers that see all rows but the zeros in front, with a mask or without."""

    layout = LAYOUT

    def __init__(self, lie=0):
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(10, WIDTH, WIDTH, generator=generator) * 0.5
        self.padding, self.lie = None, lie
        self.ran = []

    def padding_of(self, inputs):
        return int((inputs['tokens'] == 0).sum()) + self.lie

    def use_padding(self, padding):
        self.padding = padding

    def hides_just(self, padding, hidden):
        zero = (hidden == 0).all(dim=-1)[0]
        return zero[:padding].all() & ~zero[padding:].any()

    def embed(self, inputs):
        count = (inputs['tokens'] == 0).sum()
        return inputs['x'] * (torch.arange(ROWS) >= count)[None, :, None]

    def layer(self, layer, hidden):
        self.ran.append(self.padding)
        if self.padding is None:
            seen = (hidden != 0).any(dim=-1, keepdim=True)
            mean = hidden.sum(dim=1, keepdim=True) / seen.sum()
        else:
            seen = (torch.arange(ROWS) >= self.padding)[None, :, None]
            mean = hidden[:, self.padding :].sum(dim=1, keepdim=True) / (ROWS - self.padding)
        return hidden + torch.tanh(mean @ self.weights[layer] + 1.0) * seen

    def score(self, layer, hidden):
        return torch.sigmoid(hidden.sum() * 0.1)

    def bridge(self, layer, hidden):
        return hidden + 0.1 * hidden @ self.weights[5 + layer]

    def head(self, hidden):
        return hidden[:, -2:]


def inputs(words, seed=1):
    random = np.random.default_rng(seed)
    tokens = np.zeros((1, ROWS), np.int64)
    tokens[0, :words] = 7
    return {'x': random.random((1, ROWS, WIDTH), np.float32) + 0.5, 'tokens': tokens}


def made(lie=0):
    parts, stream = Padded(lie), DeferredStream()
    engine = CudaEngine(parts, inputs(0), stream)
    engine.parts, engine.stream = parts, stream
    return engine


@pytest.fixture
def engine():
    return made()


def run(engine, words, plan=None, seed=1):
    hidden, trace = forward(engine, engine.encode(inputs(words, seed)), plan or LAYOUT.full_plan())
    return engine.decode(hidden), trace


def test_opening_captures_no_layers_and_neither_does_any_pass(engine):
    before = engine.stream.captured
    assert before == 1 + 2 * 3 + 1  # embed, gates and adapters, head
    for words in (0, 3, 5, 3):
        for plan in (LAYOUT.full_plan(), LAYOUT.open_plan(), LAYOUT.watched_plan()):
            run(engine, words, plan)
    assert engine.stream.captured == before
    assert set(engine.parts.ran) == {None}, 'what nobody prepared for runs with the mask'


def test_once_prepared_the_first_pass_captures_nothing_and_launches_graphs(engine):
    assert isinstance(engine, Prepares)
    engine.prepare_for(inputs(4, seed=9))
    before = engine.stream.captured
    engine.parts.ran.clear()
    launched = engine.stream.launched
    run(engine, 4)
    assert engine.stream.captured == before
    assert engine.stream.launched == launched + 3  # embed, all layers, head
    assert set(engine.parts.ran) == {2}


def test_an_instruction_of_the_same_length_is_prepared_for_already(engine):
    engine.prepare_for(inputs(4))
    before = engine.stream.captured
    engine.prepare_for(inputs(4, seed=5))
    assert engine.stream.captured == before
    engine.prepare_for(inputs(3))
    assert engine.stream.captured == before + GRAPHS


@pytest.mark.parametrize('words', [1, 4, 6])
def test_preparing_changes_no_action(engine, words):
    plans = (LAYOUT.full_plan(), LAYOUT.watched_plan(), LAYOUT.open_plan())
    before = [run(engine, words, plan) for plan in plans]
    engine.prepare_for(inputs(words, seed=5))
    for plan, (actions, trace) in zip(plans, before, strict=True):
        again, other = run(engine, words, plan)
        np.testing.assert_allclose(again, actions, atol=1e-6)
        assert other.layers_run == trace.layers_run
        assert other.scores == pytest.approx(trace.scores, abs=1e-6)


def test_a_mask_that_hides_other_rows_stays_and_is_captured_once():
    engine = made(lie=1)
    engine.prepare_for(inputs(4))
    before = engine.stream.captured
    engine.parts.ran.clear()
    found, _ = run(engine, 4)
    assert set(engine.parts.ran) == {None} and engine.stream.captured == before
    engine.prepare_for(inputs(2))
    assert engine.stream.captured == before
    wanted, _ = run(made(), 4)
    np.testing.assert_array_equal(found, wanted)


def test_only_so_many_lengths_are_kept_and_the_one_used_longest_ago_goes(engine, monkeypatch):
    monkeypatch.setattr(cuda_engine, 'LENGTHS', 2)
    wanted = {words: run(engine, words)[0] for words in (2, 3, 4)}
    for words in (2, 3, 2):
        engine.prepare_for(inputs(words))
    graphs = engine.stream.graphs
    engine.prepare_for(inputs(4))
    assert engine.stream.graphs == graphs
    before = engine.stream.captured
    engine.parts.ran.clear()
    for words in (2, 4):
        np.testing.assert_allclose(run(engine, words)[0], wanted[words], atol=1e-6)
    assert set(engine.parts.ran) == {4, 2}
    np.testing.assert_allclose(run(engine, 3)[0], wanted[3], atol=1e-6)
    assert engine.stream.captured == before and None in engine.parts.ran


def test_a_pass_of_a_length_that_is_gone_can_still_be_run_again(engine, monkeypatch):
    monkeypatch.setattr(cuda_engine, 'LENGTHS', 1)
    engine.prepare_for(inputs(3))
    full, _ = run(engine, 3)
    _, trace = run(engine, 3, SkipPlan((1,), 'open'))
    engine.prepare_for(inputs(5))
    hidden, _ = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    np.testing.assert_allclose(engine.decode(hidden), full, atol=1e-6)


def test_preparing_overwrites_a_state_that_was_not_kept(engine):
    hidden = engine.encode(inputs(3))
    kept = engine.keep(hidden)
    wanted = engine.read(hidden)
    engine.prepare_for(inputs(4))
    with pytest.raises(EngineError, match='overwritten by a later call'):
        engine.run_layer(0, hidden)
    np.testing.assert_array_equal(engine.read(engine.restore(kept)), wanted)


def test_a_card_that_is_full_says_so_keeps_no_half_of_a_length_and_goes_on(engine, monkeypatch):
    wanted, _ = run(engine, 3)
    graphs, capture = engine.stream.graphs, engine.stream.capture

    def full(body):
        if engine.stream.graphs > graphs + 4:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.\nSee ...')
        return capture(body)

    monkeypatch.setattr(engine.stream, 'capture', full)
    with pytest.raises(EngineError, match='^graphs on deferred.*Tried to allocate 2 GiB.$'):
        engine.prepare_for(inputs(3))
    assert engine.stream.graphs == graphs
    np.testing.assert_array_equal(run(engine, 3)[0], wanted)


def test_captures_do_not_collect_what_was_there_before_them(engine, monkeypatch):
    """As set aside; what somebody else set aside stays so."""
    gc.unfreeze()
    aside, capture = [], engine.stream.capture

    def counted(body):
        aside.append(gc.get_freeze_count())
        return capture(body)

    monkeypatch.setattr(engine.stream, 'capture', counted)
    engine.prepare_for(inputs(3))
    assert len(aside) == GRAPHS and min(aside) > 1000 and gc.get_freeze_count() == 0
    gc.freeze()
    try:
        engine.prepare_for(inputs(4))
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_a_closed_engine_prepares_nothing(engine):
    engine.prepare_for(inputs(3))
    engine.close()
    with pytest.raises(EngineError, match='closed'):
        engine.prepare_for(inputs(3))
