"""The engine's logic over a GPU and a TensorRT made of host memory and ONNX Runtime.

It shows what is launched, in which order, over which memory, and when somebody waits; it shows
nothing of TensorRT's kernels, which ``test/gpu`` does on a GPU.
"""

from __future__ import annotations

import gc
import itertools
import json

import numpy as np
import pytest
from fake_gpu import GPU, FakeDevice, fake_tensorrt
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import TOKENS, write_tiny_bundle

from dysl_vla_ros.bundle.folder import file_entry, open_bundle
from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.engines.tensorrt.api import Runtime
from dysl_vla_ros.engines.tensorrt.build import build_plans
from dysl_vla_ros.engines.tensorrt.engine import TensorRtEngine
from dysl_vla_ros.engines.tensorrt.plans import find_plans, plans_root, target_of
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.evaluation.latency import bench_engine

CAMERAS = (('image', 32, 32), ('wrist_image', 16, 32))
LAYERS = 9
STATIC = (0, 3, 4, 8)
GENERATOR = np.random.default_rng(5)


def write(folder, **arguments):
    return write_tiny_bundle(
        folder, cameras=CAMERAS, mask=True, layers=LAYERS, static_layers=STATIC, **arguments
    )


def build(bundle):
    trt = fake_tensorrt(FakeDevice())
    target = target_of(GPU, trt.__version__, bundle.manifest)
    build_plans(bundle, plans_root(bundle), target, trt)
    return target


def open_on_fakes(bundle, *, poison=True):
    device = FakeDevice()
    trt = fake_tensorrt(device, poison=poison)
    target = target_of(GPU, trt.__version__, bundle.manifest)
    folder = find_plans(bundle, plans_root(bundle), target)
    engine = TensorRtEngine(bundle.manifest, folder, device, Runtime(trt), 'fake GPU')
    return engine, device


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    opened = open_bundle(write(tmp_path_factory.mktemp('bundle')))
    build(opened)
    return opened


@pytest.fixture(scope='module')
def reference(bundle):
    return OnnxEngine(bundle)


@pytest.fixture(scope='module')
def opened(bundle):
    return open_on_fakes(bundle)


@pytest.fixture
def pair(opened):
    """The engine, and its device with an empty record."""
    _, device = opened
    device.launches.clear()
    device.ran.clear()
    device.waits = 0
    return opened


def inputs(seed):
    random = np.random.default_rng(seed)
    tokens = np.zeros((1, TOKENS), np.int64)
    tokens[0, :4] = random.integers(2, 20, 4)
    images = {
        name: random.normal(size=(1, 3, height, width)).astype(np.float32)
        for name, height, width in CAMERAS
    }
    joints = random.normal(size=(1, 7)).astype(np.float32)
    return {**images, 'tokens': tokens, 'proprioception': joints}


def run(engine, observation, plan):
    hidden, trace = forward(engine, engine.encode(observation), plan)
    return engine.decode(hidden), trace


def every_plan(layout):
    for allow in itertools.product(*[range(first, end + 1) for first, end in layout.segments]):
        for controllers in ('live', 'closed', 'open'):
            yield SkipPlan(allow, controllers)


def test_every_skip_pattern_gives_the_bits_and_the_trace_of_onnx_runtime(pair, reference):
    engine, _ = pair
    depths = []
    for plan in every_plan(engine.layout):
        actions, trace = run(engine, inputs(0), plan)
        wanted, wanted_trace = run(reference, inputs(0), plan)
        np.testing.assert_array_equal(actions, wanted)
        assert trace == wanted_trace
        depths.append(len(trace.layers_run))
    assert len(depths) == 3 * (3 * 1 * 4) and set(depths) == {4, 5, 6, 7, 8, 9}


def test_every_fixed_exit_gives_the_bits_and_the_trace_of_onnx_runtime(pair, reference):
    engine, _ = pair
    for exit_layer in engine.layout.exit_layers:
        plan = engine.layout.exit_plan(exit_layer)
        actions, trace = run(engine, inputs(0), plan)
        wanted, wanted_trace = run(reference, inputs(0), plan)
        np.testing.assert_array_equal(actions, wanted)
        assert trace == wanted_trace and len(trace.layers_run) == exit_layer + 1


def test_every_resumed_rerun_gives_the_bits_of_a_full_pass(pair):
    engine, _ = pair
    full, _ = run(engine, inputs(1), engine.layout.full_plan())
    jumps = 0
    for plan in every_plan(engine.layout):
        _, trace = run(engine, inputs(1), plan)
        if not trace.jumps:
            continue
        jumps += 1
        hidden, rerun = forward(
            engine,
            engine.restore(trace.resume_state),
            engine.layout.full_plan(),
            trace.resume_layer,
        )
        np.testing.assert_array_equal(engine.decode(hidden), full)
        assert rerun.layers_run == tuple(range(trace.resume_layer, LAYERS))
    assert jumps > 10


def test_a_rerun_survives_another_observation_with_another_mask_in_between(pair):
    engine, _ = pair
    full, _ = run(engine, inputs(1), engine.layout.full_plan())
    _, trace = run(engine, inputs(1), SkipPlan((2, 4, 6), 'open'))
    other = {**inputs(2), 'tokens': np.full((1, TOKENS), 9, np.int64)}
    run(engine, other, engine.layout.full_plan())
    hidden, _ = forward(
        engine, engine.restore(trace.resume_state), engine.layout.full_plan(), trace.resume_layer
    )
    np.testing.assert_array_equal(engine.decode(hidden), full)


def test_the_full_pass_is_one_launch_of_all_layers_in_order_and_nobody_waits_before_its_end(pair):
    engine, device = pair
    run(engine, inputs(0), engine.layout.full_plan())
    encode, chain, head = device.launches
    assert encode == ['upload'] * 4 + ['vision', 'embed']
    assert chain == [f'layer_{i:02d}' for i in range(LAYERS)]
    assert head == ['head', 'fetch']
    assert device.waits == 1


def test_the_chain_gives_the_bits_of_the_layers_launched_one_by_one(pair):
    engine, device = pair
    state = engine.encode(inputs(3))
    for layer in range(LAYERS):
        state = engine.run_layer(layer, state)
    single = engine.decode(state)
    assert len(device.launches) == LAYERS + 2
    whole = engine.decode(engine.run_layers(0, LAYERS, engine.encode(inputs(3))))
    np.testing.assert_array_equal(whole, single)


def test_a_layer_is_one_launch_and_brings_the_gate_only_where_one_follows(pair):
    engine, device = pair
    state = engine.run_layer(0, engine.encode(inputs(0)))
    state = engine.run_layer(1, state)
    state = engine.run_layer(2, state)
    assert device.launches[1:] == [['layer_00', 'fetch'], ['layer_01', 'fetch'], ['layer_02']]


def test_a_score_costs_one_wait_and_running_a_layer_none(pair):
    engine, device = pair
    state = engine.run_layer(0, engine.encode(inputs(0)))
    assert device.waits == 0
    engine.skip_score(1, state)
    assert device.waits == 1
    engine.bridge(1, state)
    assert device.waits == 1


def test_a_plan_that_asks_no_controller_before_the_allow_point_does_not_wait_there(pair):
    engine, device = pair
    _, trace = run(engine, inputs(0), SkipPlan((2, 4, 8), 'closed'))
    assert set(trace.scores) == {2} and device.waits == 1 + 1


def test_segments_write_the_two_buffers_in_turn(pair):
    engine, _ = pair
    state = engine.encode(inputs(0))
    sides = [state.side]
    for layer in range(4):
        state = engine.run_layer(layer, state)
        sides.append(state.side)
    assert sides == [0, 1, 0, 1, 0]
    assert engine.bridge(5, state).side == 1


def test_no_pass_allocates_device_memory_and_blocks_of_old_passes_come_back(pair):
    engine, device = pair
    before = device.allocated
    for seed in range(6):
        run(engine, inputs(seed), SkipPlan((1, 4, 5), 'open'))
        gc.collect()
    assert device.allocated == before


def test_a_block_that_is_still_held_is_not_given_to_another_pass(pair):
    engine, _ = pair
    full = [run(engine, inputs(seed), engine.layout.full_plan())[0] for seed in range(4)]
    held = [run(engine, inputs(seed), SkipPlan((1, 4, 5), 'open'))[1] for seed in range(4)]
    for trace, wanted in zip(held, full, strict=True):
        state = engine.restore(trace.resume_state)
        state, _ = forward(engine, state, engine.layout.full_plan(), trace.resume_layer)
        np.testing.assert_array_equal(engine.decode(state), wanted)


def test_the_gate_is_kept_with_the_state(pair):
    engine, _ = pair
    state = engine.run_layer(0, engine.encode(inputs(0)))
    kept = engine.keep(state)
    score = engine.skip_score(1, state)
    run(engine, inputs(1), engine.layout.open_plan())
    assert engine.skip_score(1, engine.restore(kept)) == score


def test_a_state_kept_before_any_layer_can_be_run_in_full_and_knows_no_gate(pair):
    engine, _ = pair
    full, _ = run(engine, inputs(0), engine.layout.full_plan())
    kept = engine.keep(engine.encode(inputs(0)))
    run(engine, inputs(1), engine.layout.open_plan())
    state = engine.restore(kept)
    with pytest.raises(EngineError, match='a gate is known for layer -1'):
        engine.skip_score(1, state)
    state, _ = forward(engine, state, engine.layout.full_plan())
    np.testing.assert_array_equal(engine.decode(state), full)


def test_a_score_is_refused_when_the_layer_before_did_not_run(pair):
    engine, _ = pair
    state = engine.run_layer(0, engine.encode(inputs(0)))
    with pytest.raises(EngineError, match='score of layer 6: layer 5 did not run just before'):
        engine.skip_score(6, state)
    state = engine.bridge(1, state)
    with pytest.raises(EngineError, match='layer 0 did not run just before'):
        engine.skip_score(1, state)
    engine.run_layer(0, engine.encode(inputs(0)))
    with pytest.raises(EngineError, match='a gate is known for layer -1'):
        engine.skip_score(1, engine.encode(inputs(1)))


def test_a_state_that_was_overwritten_is_refused(pair):
    engine, _ = pair
    old = engine.encode(inputs(0))
    engine.run_layer(0, old)
    for use in (engine.keep, engine.decode, lambda state: engine.run_layer(1, state)):
        with pytest.raises(EngineError, match='overwritten by a later call'):
            use(old)


def test_the_chain_is_refused_from_a_state_that_a_layer_left(pair):
    engine, _ = pair
    state = engine.run_layer(0, engine.encode(inputs(0)))
    with pytest.raises(EngineError, match='expected the state that encode or restore returned'):
        engine.run_layers(0, LAYERS, state)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'image': None}, "input 'image': None"),
        ({'tokens': np.zeros((1, 9), np.int64)}, "input 'tokens': ((1, 9), 'int64')"),
        ({'tokens': np.zeros((1, TOKENS), np.int32)}, f"expected ((1, {TOKENS}), 'int64')"),
    ],
)
def test_a_wrong_input_is_named(pair, change, words):
    changed = {k: v for k, v in {**inputs(0), **change}.items() if v is not None}
    with pytest.raises(EngineError) as caught:
        pair[0].encode(changed)
    assert words in str(caught.value)


def test_an_observation_that_follows_at_once_does_not_overwrite_the_one_before(pair, reference):
    engine, _ = pair
    kept = engine.keep(engine.encode(inputs(1)))
    engine.encode(inputs(2))
    state, _ = forward(engine, engine.restore(kept), engine.layout.full_plan())
    np.testing.assert_array_equal(
        engine.decode(state), run(reference, inputs(1), engine.layout.full_plan())[0]
    )


def test_actions_that_were_returned_stay_when_the_next_pass_runs(pair):
    engine, _ = pair
    actions, _ = run(engine, inputs(0), engine.layout.full_plan())
    copy = actions.copy()
    run(engine, inputs(1), engine.layout.full_plan())
    np.testing.assert_array_equal(actions, copy)


def test_states_can_be_read_and_written_for_a_comparison_segment_by_segment(pair, reference):
    engine, _ = pair
    state, wanted = engine.encode(inputs(0)), reference.encode(inputs(0))
    np.testing.assert_array_equal(engine.read(state), reference.read(wanted))
    values = reference.read(reference.run_layer(0, wanted))
    state = engine.run_layer(1, engine.write(values))
    np.testing.assert_array_equal(
        engine.read(state), reference.read(reference.run_layer(1, reference.write(values)))
    )


def test_a_closed_engine_says_so_and_touches_no_memory(bundle):
    engine, device = open_on_fakes(bundle)
    state = engine.encode(inputs(0))
    engine.close()
    engine.close()
    assert device.closed
    for use in (
        lambda: engine.encode(inputs(0)), lambda: engine.run_layer(0, state), engine.synchronize,
        lambda: engine.decode(state), lambda: engine.skip_score(1, state),
    ):  # fmt: skip
        with pytest.raises(EngineError):
            use()


@given(seed=st.integers(0, 50), calls=st.lists(st.sampled_from('lblbks'), max_size=14))
def test_any_order_of_calls_gives_what_onnx_runtime_gives(opened, reference, seed, calls):
    engine, _ = opened
    ours, theirs = engine.encode(inputs(seed)), reference.encode(inputs(seed))
    kept, layer = None, 0
    for call in calls:
        if call == 'k':
            kept = engine.keep(ours), reference.keep(theirs)
        elif call == 's' and kept is not None:
            ours, theirs = engine.restore(kept[0]), reference.restore(kept[1])
        elif call == 'b':
            ours, theirs = engine.bridge(5, ours), reference.bridge(5, theirs)
        else:
            ours, theirs = engine.run_layer(layer, ours), reference.run_layer(layer, theirs)
            layer = (layer + 1) % LAYERS
    np.testing.assert_array_equal(engine.read(ours), reference.read(theirs))


def reseal(bundle, target, name, data):
    """Replace a plan by one whose checksum fits."""
    folder = plans_root(bundle) / target.key
    (folder / f'{name}.plan').write_bytes(data)
    path = folder / 'plans.json'
    document = json.loads(path.read_text())
    entry = file_entry(folder / f'{name}.plan')
    document['plans'][name] |= {'sha256': entry.sha256, 'bytes': entry.bytes}
    path.write_text(json.dumps(document))


def test_a_plan_with_other_tensors_than_the_manifest_says_is_refused(tmp_path):
    bundle = open_bundle(write(tmp_path / 'right'))
    target = build(bundle)
    wide = open_bundle(write(tmp_path / 'wide', width=48))
    foreign = (plans_root(wide) / build(wide).key / 'layer_04.plan').read_bytes()
    reseal(bundle, target, 'layer_04', foreign)
    with pytest.raises(EngineError) as caught:
        open_on_fakes(bundle)
    for words in ('plan of segment layer_04', '48]', '32]', f'dysl build {bundle.folder}'):
        assert words in str(caught.value)


def test_what_tensorrt_says_of_a_plan_it_refuses_is_passed_on(tmp_path):
    bundle = open_bundle(write(tmp_path))
    reseal(bundle, build(bundle), 'head', b'not a plan')
    with pytest.raises(EngineError, match='segment head: TensorRT cannot load.*magic tag'):
        open_on_fakes(bundle)


def test_the_benchmark_runs_on_this_engine(pair):
    engine, _ = pair
    report = bench_engine(engine, inputs(0), runs=2, warm_up=1)
    assert report['controllers']['count'] == len(engine.layout.dynamic_layers)
    assert [row['resume_layer'] for row in report['reruns']] == [1, 5]
