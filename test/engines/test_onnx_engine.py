from __future__ import annotations

import itertools
import json
import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from tiny_bundle import TOKENS, write_tiny_bundle

from dysl_vla_ros.bundle.folder import file_entry, open_bundle
from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import EngineError

CAMERAS = (('image', 32, 32), ('wrist_image', 16, 32))
GENERATOR = np.random.default_rng(3)


def write(folder, **arguments):
    return write_tiny_bundle(folder, cameras=CAMERAS, mask=True, **arguments)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp('bundle'))


@pytest.fixture(scope='module')
def engine(folder):
    return OnnxEngine(open_bundle(folder))


@pytest.fixture(scope='module')
def inputs():
    tokens = np.zeros((1, TOKENS), np.int64)
    tokens[0, :4] = [2, 3, 5, 7]
    images = {
        name: GENERATOR.normal(size=(1, 3, height, width)).astype(np.float32)
        for name, height, width in CAMERAS
    }
    joints = GENERATOR.normal(size=(1, 7)).astype(np.float32)
    return {**images, 'tokens': tokens, 'proprioception': joints}


def run(engine, inputs, plan):
    hidden, trace = forward(engine, engine.encode(inputs), plan)
    return engine.decode(hidden), trace


def base_chain(folder, inputs, layers=range(12)):
    """The model without any of our code: plain sessions, one after the other."""
    manifest = open_bundle(folder).manifest
    known = dict(inputs)
    names = ['vision', 'embed', *(f'layer_{i:02d}' for i in layers), 'head']
    for name in names:
        session = ort.InferenceSession(folder / manifest.segments[name].file)
        fed = {item.name: known[item.name] for item in session.get_inputs()}
        outputs = [item.name for item in session.get_outputs()]
        known.update(zip(outputs, session.run(outputs, fed), strict=True))
        known['hidden'] = known.get('hidden_out', known.get('hidden'))
    return known['actions'][0]


def test_a_full_pass_equals_the_base_model_bit_for_bit(engine, folder, inputs):
    actions, trace = run(engine, inputs, engine.layout.full_plan())
    np.testing.assert_array_equal(actions, base_chain(folder, inputs).astype(np.float64))
    assert trace.skip_ratio == 0 and trace.scores == {}


@pytest.mark.parametrize('exit_layer', [1, 4, 7, 10])
def test_a_fixed_exit_is_the_base_model_without_the_layers_behind_it(
    engine, folder, inputs, exit_layer
):
    actions, trace = run(engine, inputs, engine.layout.exit_plan(exit_layer))
    layers = [*range(exit_layer), 11]
    wanted = base_chain(folder, inputs, layers)
    np.testing.assert_array_equal(actions, wanted.astype(np.float64))
    assert list(trace.layers_run) == layers and trace.scores == {}
    dense, _ = run(engine, inputs, engine.layout.full_plan())
    assert not np.array_equal(actions, dense)


def test_every_way_to_skip_resumes_to_the_same_bits_as_a_full_pass(engine, inputs):
    full, _ = run(engine, inputs, engine.layout.full_plan())
    segments = engine.layout.segments
    jumps = 0
    for allow in itertools.product(*[range(first, end + 1) for first, end in segments]):
        skipped, trace = run(engine, inputs, SkipPlan(allow, 'open'))
        if not trace.jumps:
            np.testing.assert_array_equal(skipped, full)
            continue
        jumps += 1
        assert not np.array_equal(skipped, full)
        hidden, _ = forward(
            engine,
            engine.restore(trace.resume_state),
            engine.layout.full_plan(),
            trace.resume_layer,
        )
        np.testing.assert_array_equal(engine.decode(hidden), full)
    # One pattern alone jumps nowhere: every allow point at the end of its segment.
    assert jumps == math.prod(end - first + 1 for first, end in segments) - 1


def test_a_rerun_survives_another_observation_in_between(engine, inputs):
    full, _ = run(engine, inputs, engine.layout.full_plan())
    _, trace = run(engine, inputs, SkipPlan((1, 5, 9), 'open'))
    other = {**inputs, 'tokens': np.full((1, TOKENS), 9, np.int64)}
    run(engine, other, engine.layout.full_plan())
    hidden, _ = forward(
        engine, engine.restore(trace.resume_state), engine.layout.full_plan(), trace.resume_layer
    )
    np.testing.assert_array_equal(engine.decode(hidden), full)


@pytest.mark.parametrize(('bias', 'jumps'), [(20.0, 3), (-20.0, 0)])
def test_gates_decide_whether_it_jumps(tmp_path, inputs, bias, jumps):
    engine = OnnxEngine(open_bundle(write(tmp_path, gate_bias=bias)))
    _, trace = run(engine, inputs, engine.layout.open_plan())
    assert len(trace.jumps) == jumps
    assert all(abs(score - (bias > 0)) < 1e-3 for score in trace.scores.values())


def test_a_score_is_the_gate_that_the_layer_before_computed(engine, folder, inputs):
    _, trace = run(engine, inputs, SkipPlan((1, 5, 9), 'closed'))
    assert set(trace.scores) == set(engine.layout.dynamic_layers)
    manifest = open_bundle(folder).manifest
    known = dict(inputs)
    for name in ['vision', 'embed', *(f'layer_{i:02d}' for i in range(7))]:
        session = ort.InferenceSession(folder / manifest.segments[name].file)
        fed = {item.name: known[item.name] for item in session.get_inputs()}
        outputs = [item.name for item in session.get_outputs()]
        known.update(zip(outputs, session.run(outputs, fed), strict=True))
        known['hidden'] = known.get('hidden_out', known.get('hidden'))
        if 'gate' in outputs:
            assert trace.scores[int(name[-2:]) + 1] == known['gate'][0]


def test_a_score_is_refused_when_the_layer_before_did_not_run(engine, inputs):
    state = engine.run_layer(0, engine.encode(inputs))
    assert 0 <= engine.skip_score(1, state) <= 1
    with pytest.raises(EngineError, match='score of layer 6: layer 5 did not run just before'):
        engine.skip_score(6, state)
    state = engine.bridge(1, state)
    with pytest.raises(EngineError, match='layer 0 did not run just before'):
        engine.skip_score(1, state)


def test_the_gate_is_kept_with_the_state(engine, inputs):
    state = engine.run_layer(0, engine.encode(inputs))
    score, kept = engine.skip_score(1, state), engine.keep(state)
    engine.encode({**inputs, 'tokens': np.full((1, TOKENS), 9, np.int64)})
    assert engine.skip_score(1, engine.restore(kept)) == score


def test_a_state_that_was_overwritten_is_refused(engine, inputs):
    old = engine.encode(inputs)
    engine.run_layer(0, old)
    for use in (engine.keep, engine.decode, lambda state: engine.run_layer(1, state)):
        with pytest.raises(EngineError, match='overwritten by a later call'):
            use(old)


def test_the_mask_leaves_out_the_padding(engine, inputs):
    run(engine, inputs, engine.layout.full_plan())
    words = int((inputs['tokens'] != 0).sum())
    assert engine._tensors['mask'][0].tolist().count(0.0) == TOKENS - words


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'image': None}, "input 'image': None"),
        ({'tokens': np.zeros((1, 9), np.int64)}, "input 'tokens': ((1, 9), 'int64')"),
        ({'tokens': np.zeros((1, TOKENS), np.int32)}, f"expected ((1, {TOKENS}), 'int64')"),
    ],
)
def test_a_wrong_input_is_named(engine, inputs, change, words):
    changed = {name: value for name, value in {**inputs, **change}.items() if value is not None}
    with pytest.raises(EngineError) as caught:
        engine.encode(changed)
    assert words in str(caught.value)


def reseal(folder, name, **segment):
    """Accept an altered file: write its new checksum, and what the segment says of itself."""
    path = folder / 'manifest.json'
    document = json.loads(path.read_text())
    file = document['segments'][name]['file']
    entry = file_entry(folder / file)
    document['files'][file] = {'sha256': entry.sha256, 'bytes': entry.bytes}
    document['segments'][name].update(segment)
    path.write_text(json.dumps(document))


def test_a_corrupt_graph_is_named_with_its_file(tmp_path):
    write(tmp_path)
    (tmp_path / 'segments/layer_03.onnx').write_bytes(b'not a graph')
    reseal(tmp_path, 'layer_03')
    with pytest.raises(EngineError) as caught:
        OnnxEngine(open_bundle(tmp_path))
    for word in (
        'layer_03',
        'segments/layer_03.onnx',
        'cannot load it',
        'export the bundle again',
    ):
        assert word in str(caught.value)


def test_a_graph_that_is_not_what_the_manifest_says_is_refused(tmp_path):
    write(tmp_path)
    reseal(tmp_path, 'head', inputs=[{'name': 'hidden', 'shape': [1, 27, 16], 'dtype': 'float32'}])
    with pytest.raises(EngineError, match=r'segment head .*\(1, 27, 16\)'):
        OnnxEngine(open_bundle(tmp_path))


def test_a_graph_of_another_size_than_its_neighbours_is_refused(tmp_path):
    write(tmp_path / 'wide', width=48)
    write(tmp_path / 'right')
    name = 'segments/bridge_01.onnx'
    (tmp_path / 'right' / name).write_bytes((tmp_path / 'wide' / name).read_bytes())
    wide = open_bundle(tmp_path / 'wide').manifest.segments['bridge_01']
    reseal(
        tmp_path / 'right',
        'bridge_01',
        inputs=[{'name': i.name, 'shape': i.shape, 'dtype': i.dtype} for i in wide.inputs],
        outputs=[{'name': i.name, 'shape': i.shape, 'dtype': i.dtype} for i in wide.outputs],
    )
    with pytest.raises(EngineError, match='segment bridge_01.*as its neighbours have'):
        OnnxEngine(open_bundle(tmp_path / 'right'))


def test_two_threads_give_nearly_the_same_actions_as_one(engine, folder, inputs):
    twice = OnnxEngine(open_bundle(folder), threads=2)
    assert '2 threads' in twice.device and '1 thread)' in engine.device
    plan = engine.layout.full_plan()
    np.testing.assert_allclose(
        run(twice, inputs, plan)[0], run(engine, inputs, plan)[0], atol=1e-5
    )


def test_a_closed_engine_says_so(folder, inputs):
    engine = OnnxEngine(open_bundle(folder))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match='closed'):
        engine.encode(inputs)


def test_the_tiny_bundle_has_the_opset_that_tensorrt_reads(folder):
    for path in sorted((folder / 'segments').iterdir()):
        assert onnx.load(path).opset_import[0].version == 18


def test_the_same_arguments_write_the_same_bundle(tmp_path, folder):
    write(tmp_path)
    assert (tmp_path / 'manifest.json').read_bytes() == (folder / 'manifest.json').read_bytes()
