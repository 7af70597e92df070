"""The CUDA engine's logic on a CPU stream that runs late and spoils what graphs leave behind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

from deferred_stream import DeferredStream
from tiny_bundle import TOKENS, write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.cuda.bundle import BundleParts, open_cuda_engine
from dysl_vla_ros.engines.cuda.engine import CudaEngine
from dysl_vla_ros.engines.cuda.stream import CudaStream
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import EngineError

LAYOUT = LayerLayout(8, (0, 4, 7))


class Parts:
    """Random linear layers, a mask that embedding writes, and a head that counts its calls."""

    layout = LAYOUT

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(20, 6, 6, generator=generator) * 0.5
        self.mask = torch.zeros(1, 5, 1)
        self.memory = torch.zeros(1, 5, 6)
        self.scored = []

    @property
    def state(self):
        return self.mask, self.memory

    def embed(self, inputs):
        self.mask.copy_((inputs['tokens'] > 0).float()[..., None])
        return inputs['x'] * 2.0

    def layer(self, layer, hidden):
        return hidden + torch.tanh(hidden @ self.weights[layer]) * self.mask

    def score(self, layer, hidden):
        self.scored.append(layer)
        return torch.sigmoid(hidden.mean() * 3.0)

    def bridge(self, layer, hidden):
        return hidden + 0.1 * hidden @ self.weights[10 + layer]

    def head(self, hidden):
        """Recurrent, as RoboFlamingo's: what it answers depends on what it answered before."""
        self.memory.copy_(0.5 * self.memory + hidden)
        return self.memory[:, :3]


def observation(seed):
    random = np.random.default_rng(seed)
    return {
        'x': random.standard_normal((1, 5, 6)).astype(np.float32),
        'tokens': random.integers(0, 2, (1, 5)),
    }


@pytest.fixture
def stream():
    return DeferredStream()


@pytest.fixture
def engine(stream):
    parts = Parts()
    made = CudaEngine(parts, observation(0), stream)
    parts.memory.zero_()  # capturing ran the head
    parts.scored.clear()
    made.parts = parts
    return made


def test_asking_a_controller_costs_no_launch(engine, stream):
    """The layer before and its gate are one graph; the host waits once per question."""
    entering = engine.keep(engine.encode(observation(1)))
    counts = {}
    for plan in (LAYOUT.full_plan(), LAYOUT.watched_plan()):
        hidden = engine.restore(entering)
        before = stream.launched, stream.waits
        _, trace = forward(engine, hidden, plan)
        counts[len(trace.scores)] = stream.launched - before[0], stream.waits - before[1]
    asked = len(LAYOUT.dynamic_layers)
    assert counts == {0: (1, 0), asked: (LAYOUT.layers_total, asked)}


def test_a_score_that_came_with_the_layer_is_the_score_of_the_state(engine):
    hidden = engine.run_layer_and_ask(0, engine.encode(observation(2)))
    kept = engine.keep(hidden)
    early = engine.skip_score(1, hidden)
    hidden = engine.run_layer(5, engine.run_layer(4, hidden))  # others are asked in between
    engine.skip_score(6, hidden)
    assert engine.skip_score(1, engine.restore(kept)) == early


def plans(layout):
    """Every allow point of every segment, controllers open."""
    points = [range(first, end + 1) for first, end in layout.segments]
    return [SkipPlan(allow, 'open') for allow in itertools.product(*points)]


def run(engine, seed, plan):
    hidden, trace = forward(engine, engine.encode(observation(seed)), plan)
    return engine.decode(hidden), trace


@pytest.fixture(scope='module', params=[False, True], ids=['no mask', 'mask'])
def bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle')
    return open_bundle(write_tiny_bundle(folder, layers=8, mask=request.param, width=16))


def bundle_inputs(bundle, seed):
    random = np.random.default_rng(seed)
    inputs = {'tokens': np.zeros((1, TOKENS), np.int64)}
    inputs['tokens'][0, :5] = random.integers(2, 20, 5)
    for name in ('vision', 'embed'):
        for spec in bundle.manifest.segments[name].inputs:
            if spec.name not in ('patches', 'tokens'):
                inputs[spec.name] = random.standard_normal(spec.shape).astype(spec.dtype)
    return inputs


def test_a_bundle_gives_what_onnx_runtime_gives_for_every_skip_pattern_and_exit(bundle, stream):
    engine, reference = open_cuda_engine(bundle, stream), OnnxEngine(bundle)
    inputs = bundle_inputs(bundle, 1)
    layout = bundle.manifest.layout
    exits = [layout.exit_plan(exit_layer) for exit_layer in layout.exit_layers]
    for plan in plans(layout) + exits:
        found, trace = forward(engine, engine.encode(inputs), plan)
        wanted, expected = forward(reference, reference.encode(inputs), plan)
        assert trace.layer_mask == expected.layer_mask
        np.testing.assert_allclose(engine.decode(found), reference.decode(wanted), atol=1e-5)


def test_controllers_of_a_bundle_score_as_in_onnx_runtime(bundle, stream):
    engine, reference = open_cuda_engine(bundle, stream), OnnxEngine(bundle)
    closed = SkipPlan(bundle.manifest.layout.open_plan().allow, 'closed')
    inputs = bundle_inputs(bundle, 2)
    _, found = forward(engine, engine.encode(inputs), closed)
    _, wanted = forward(reference, reference.encode(inputs), closed)
    assert list(found.scores) == list(bundle.manifest.layout.dynamic_layers)
    assert found.scores == pytest.approx(wanted.scores, abs=1e-6)


def test_all_layers_in_one_graph_equal_one_graph_per_layer_bit_for_bit(engine, stream):
    hidden = engine.encode(observation(3))
    for layer in range(LAYOUT.layers_total):
        hidden = engine.run_layer(layer, hidden)
    one_by_one = engine.decode(hidden)
    engine.parts.memory.zero_()
    launched = stream.launched
    full, _ = run(engine, 3, LAYOUT.full_plan())
    np.testing.assert_array_equal(full, one_by_one)
    assert stream.launched == launched + 3  # embed, all layers, head


def test_part_of_the_layers_in_one_call_equals_them_one_by_one(engine, stream):
    hidden = engine.encode(observation(3))
    kept = engine.keep(hidden)
    for layer in (0, 1, 2):
        hidden = engine.run_layer(layer, hidden)
    expected = engine.decode(hidden)
    hidden = engine.run_layers(0, 3, engine.restore(kept))
    np.testing.assert_array_equal(engine.decode(hidden), expected)


@pytest.mark.parametrize('plan', plans(LAYOUT), ids=lambda plan: str(plan.allow))
def test_a_resumed_rerun_equals_a_full_pass_bit_for_bit(engine, plan):
    full, _ = run(engine, 4, LAYOUT.full_plan())
    assert np.isfinite(full).all()
    engine.parts.memory.zero_()
    skipped, trace = run(engine, 4, plan)
    if trace.resume_layer is None:
        np.testing.assert_array_equal(skipped, full)
        return
    assert not np.array_equal(skipped, full)
    resumed, _ = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    np.testing.assert_array_equal(engine.decode(resumed), full)


def test_a_rerun_gives_the_recurrent_head_the_state_it_had_before_the_skipped_pass(engine):
    run(engine, 5, LAYOUT.full_plan())  # the head remembers this one
    _, trace = run(engine, 6, SkipPlan((1, 5), 'open'))
    hidden, _ = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    resumed = engine.decode(hidden)
    engine.parts.memory.zero_()
    run(engine, 5, LAYOUT.full_plan())
    expected, _ = run(engine, 6, LAYOUT.full_plan())
    np.testing.assert_array_equal(resumed, expected)


def test_two_kept_states_do_not_disturb_each_other(engine):
    results, kept = [], []
    for seed in (7, 8):
        hidden = engine.encode(observation(seed))
        kept.append(engine.keep(hidden))
        hidden, _ = forward(engine, hidden, LAYOUT.full_plan())
        engine.parts.memory.zero_()
        results.append(engine.decode(hidden))
    engine.parts.memory.zero_()
    for index in (0, 1, 0):
        hidden, _ = forward(engine, engine.restore(kept[index]), LAYOUT.full_plan())
        engine.parts.memory.zero_()
        np.testing.assert_array_equal(engine.decode(hidden), results[index])


def test_an_encoding_that_nobody_waited_for_is_not_overwritten_by_the_next_inputs(engine):
    expected, _ = run(engine, 9, LAYOUT.full_plan())
    engine.parts.memory.zero_()
    first = engine.keep(engine.encode(observation(9)))
    engine.encode(observation(10))
    hidden, _ = forward(engine, engine.restore(first), LAYOUT.full_plan())
    np.testing.assert_array_equal(engine.decode(hidden), expected)


def test_a_pass_that_asks_no_controller_computes_none_and_waits_once(engine, stream):
    stream.waits = 0
    run(engine, 11, LAYOUT.full_plan())
    assert engine.parts.scored == [] and stream.waits == 1


def test_each_score_waits_once_and_is_known_also_after_a_restore(engine, stream):
    hidden = engine.run_layer(0, engine.encode(observation(12)))
    kept, before = engine.keep(hidden), stream.waits
    score = engine.skip_score(1, hidden)
    assert stream.waits == before + 1 and 0 < score < 1
    run(engine, 13, LAYOUT.open_plan())
    assert engine.skip_score(1, engine.restore(kept)) == score


def test_an_overwritten_state_is_refused(engine):
    old = engine.encode(observation(14))
    engine.run_layer(0, old)
    for use in (engine.keep, engine.decode, lambda h: engine.run_layer(1, h),
                lambda h: engine.skip_score(1, h), lambda h: engine.bridge(1, h),
                lambda h: engine.run_layers(0, 8, h)):  # fmt: skip
        with pytest.raises(EngineError, match='overwritten by a later call'):
            use(old)


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('x', np.zeros((1, 5, 6)), r"input 'x': \(\(1, 5, 6\), 'float64'\): expected"),
        ('x', np.zeros((1, 4, 6), np.float32), r'expected \(\(1, 5, 6\)'),
        ('tokens', None, "input 'tokens': None: expected"),
    ],
)
def test_a_wrong_input_is_refused_with_what_would_be_right(engine, name, value, words):
    inputs = {**observation(15), name: value}
    if value is None:
        del inputs[name]
    with pytest.raises(EngineError, match=words):
        engine.encode(inputs)


def test_a_closed_engine_says_so(engine, stream):
    hidden = engine.encode(observation(16))
    kept = engine.keep(hidden)
    engine.close()
    engine.close()
    assert stream.closed
    for use in (lambda: engine.encode(observation(16)), lambda: engine.run_layer(0, hidden),
                lambda: engine.keep(hidden), lambda: engine.restore(kept)):  # fmt: skip
        with pytest.raises(EngineError, match='closed'):
            use()


def test_a_static_layer_has_no_gate_and_no_adapter(engine):
    with pytest.raises(EngineError, match='gate_4: the engine is closed, or the policy has no'):
        engine.skip_score(4, engine.encode(observation(17)))


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a CUDA device')
def test_without_a_device_the_error_names_what_to_do():
    with pytest.raises(EngineError, match=r'no CUDA device; expected.* use onnxruntime'):
        CudaStream()


def test_a_bundle_with_a_mask_keeps_it_with_the_state(bundle):
    parts = BundleParts(bundle, torch.device('cpu'))
    wanted = any(t.name == 'mask' for t in bundle.manifest.segments['embed'].outputs)
    assert len(parts.state) == int(wanted)


def test_the_test_stream_runs_nothing_before_it_is_waited_for_and_spoils_temporaries(stream):
    leaked, target = [], stream.pinned((2,), torch.float32)

    def body():
        leaked.append(torch.ones(2) + 1)
        target.copy_(leaked[-1])

    launch = stream.capture(body)
    target.zero_()
    launch()
    assert target.tolist() == [0.0, 0.0]
    stream.wait()
    assert target.tolist() == [2.0, 2.0] and leaked[-1].isnan().all()


def test_a_state_can_be_read_and_written(engine):
    hidden = engine.encode(observation(18))
    values = engine.read(hidden)
    np.testing.assert_array_equal(values, observation(18)['x'] * 2.0)
    hidden = engine.run_layer(0, hidden)
    expected = engine.read(hidden)
    np.testing.assert_array_equal(engine.read(engine.run_layer(0, engine.write(values))), expected)


def test_a_failure_on_the_device_is_a_typed_error_of_one_line(engine, stream, monkeypatch):
    def fail():
        raise RuntimeError('CUDA error: an illegal memory access\nCompile with ...')

    engine.encode(observation(19))
    monkeypatch.setattr(stream, 'wait', fail)
    with pytest.raises(EngineError, match='^deferred CPU stream.*illegal memory access$'):
        engine.synchronize()


def test_a_card_that_is_too_small_is_told_with_the_size_of_the_bundle(bundle, monkeypatch):
    class Full(DeferredStream):
        def buffer(self, shape, dtype):
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.\nSee ...')

    with pytest.raises(EngineError, match=r'tiny \(0.0 GB\) on deferred.*Tried to allocate 2 GiB'):
        open_cuda_engine(bundle, Full())
