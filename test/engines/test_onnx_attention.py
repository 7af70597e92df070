"""Attention that an exporter took apart is joined again, and may leave padding out."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, save

from dysl_vla_ros.engines.cuda.onnx_torch import OnnxFunction
from dysl_vla_ros.engines.cuda.pieces import Fork, Masked, Run, runs_of

HEADS, KEYS, SIZE = 2, 5, 4
CPU = torch.device('cpu')


def weight(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write(path, nodes, inputs, outputs, weights=()):
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes, 'g', [value(*one) for one in inputs], [value(*one) for one in outputs],
        list(weights),
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)]), path)
    return path


def attention(path, masked=True, scores_read=False):
    """As torch's exporter writes it: keys turned by reshapes, both sides scaled, a bias."""
    shape = [1, HEADS, KEYS, SIZE]
    nodes = [
        helper.make_node('Reshape', ['k', 'flat'], ['k1']),
        helper.make_node('Transpose', ['k1'], ['k2'], perm=[0, 2, 1]),
        helper.make_node('Reshape', ['k2', 'turned'], ['k3']),
        helper.make_node('Mul', ['q', 'scale'], ['q1']),
        helper.make_node('Mul', ['k3', 'scale'], ['k4']),
        helper.make_node('MatMul', ['q1', 'k4'], ['scores']),
        *([helper.make_node('Add', ['scores', 'bias'], ['biased'])] if masked else []),
        helper.make_node('Softmax', ['biased' if masked else 'scores'], ['share'], axis=-1),
        helper.make_node('MatMul', ['share', 'v'], ['mixed']),
        helper.make_node('Transpose', ['mixed'], ['y'], perm=[0, 2, 1, 3]),
    ]
    weights = [
        weight('flat', np.array([-1, KEYS, SIZE])), weight('scale', np.float32([0.7])),
        weight('turned', np.array([1, HEADS, SIZE, KEYS])),
    ]  # fmt: skip
    inputs = [(name, shape) for name in 'qkv']
    inputs += [('bias', [1, 1, 1, KEYS])] if masked else []
    outputs = [('y', [1, KEYS, HEADS, SIZE])]
    outputs += [('share', [1, HEADS, KEYS, KEYS])] if scores_read else []
    return write(path, nodes, inputs, outputs, weights)


def given(padding=0, masked=True):
    values = {name: random(1, HEADS, KEYS, SIZE, seed=i) for i, name in enumerate('qkv')}
    for name in 'kv':
        values[name][:, :, :padding] = 0
    if masked:
        values['bias'] = np.zeros((1, 1, 1, KEYS), np.float32)
        values['bias'][..., :padding] = -3e4
    return values


def run(function, values, **options):
    tensors = {name: torch.from_numpy(value) for name, value in values.items()}
    return function(tensors, ('y',), **options)[0].numpy()


def kinds(function, values):
    return [type(piece) for piece in function.pieces(tuple(values), ('y',))]


@pytest.mark.parametrize('masked', [False, True])
def test_joined_attention_gives_what_onnx_runtime_gives(tmp_path, masked):
    path, values = attention(tmp_path / 'a.onnx', masked), given(2, masked)
    function = OnnxFunction(path, CPU)
    wanted = ort.InferenceSession(str(path)).run(['y'], values)[0]
    np.testing.assert_allclose(run(function, values), wanted, atol=1e-6)
    operators = [
        step.node.operator
        for one in runs_of(function.pieces(tuple(values), ('y',))) for step in one.steps
    ]  # fmt: skip
    assert 'Softmax' not in operators
    assert kinds(function, values) == ([Masked] if masked else [Run])


def test_padding_that_is_left_out_gives_the_sums_of_the_mask(tmp_path):
    path, values = attention(tmp_path / 'a.onnx'), given(2)
    function = OnnxFunction(path, CPU)
    wanted = ort.InferenceSession(str(path)).run(['y'], values)[0]
    np.testing.assert_allclose(run(function, values, padding=2), wanted, atol=1e-6)
    assert np.abs(run(function, values, padding=1) - wanted).max() > 1e-3
    del values['bias']
    values['bias'] = np.full((1, 1, 1, KEYS), np.nan, np.float32)  # nobody reads it
    np.testing.assert_allclose(run(function, values, padding=2), wanted, atol=1e-6)


def test_shares_that_are_read_elsewhere_are_still_computed(tmp_path):
    path, values = attention(tmp_path / 'a.onnx', scores_read=True), given()
    function = OnnxFunction(path, CPU)
    wanted = ort.InferenceSession(str(path)).run(['y', 'share'], values)
    tensors = {name: torch.from_numpy(value) for name, value in values.items()}
    for found, right in zip(function(tensors, ('y', 'share')), wanted, strict=True):
        np.testing.assert_allclose(found.numpy(), right, atol=1e-6)


def chain(start, end, count, seed):
    """A line of products with weights, and its weights."""
    nodes, weights, before = [], [], start
    for index in range(count):
        after = end if index == count - 1 else f'{end}{index}'
        nodes.append(helper.make_node('MatMul', [before, f'{end}w{index}'], [after]))
        weights.append(weight(f'{end}w{index}', random(4, 4, seed=seed + index) * 0.5))
        before = after
    return nodes, weights


def two_towers(path, seed=0, count=16, operator='Relu'):
    left, lw = chain('s', 'a', count, seed)
    right, rw = chain('s', 'b', count, seed + 50)
    nodes = [
        helper.make_node(operator, ['x'], ['s']), *left, *right,
        helper.make_node('Concat', ['a', 'b'], ['c'], axis=1),
        helper.make_node('Tanh', ['c'], ['y']),
    ]  # fmt: skip
    return write(path, nodes, [('x', [1, 4])], [('y', [1, 8])], [*lw, *rw])


def test_towers_that_do_not_need_each_other_run_side_by_side(tmp_path):
    path, values = two_towers(tmp_path / 'a.onnx'), {'x': random(1, 4)}
    function, ran = OnnxFunction(path, CPU), []

    def backwards(bodies):
        ran.append(len(bodies))
        for body in reversed(bodies):
            body()

    wanted = ort.InferenceSession(str(path)).run(['y'], values)[0]
    np.testing.assert_allclose(run(function, values, together=backwards), wanted, atol=1e-5)
    assert ran == [2] and kinds(function, values) == [Run, Fork, Run]
    short = OnnxFunction(two_towers(tmp_path / 'b.onnx', count=3), CPU)
    assert kinds(short, values) == [Run], 'not worth a stream'


def test_runs_that_differ_in_weights_alone_share_a_key(tmp_path):
    def keys(name, **changes):
        function = OnnxFunction(two_towers(tmp_path / name, **changes), CPU)
        return [one.key for one in runs_of(function.pieces(('x',), ('y',)))]

    first = keys('a.onnx')
    assert len(set(first)) == 3, 'the towers are alike'
    assert keys('b.onnx', seed=7) == first
    assert keys('c.onnx', operator='Sigmoid')[0] != first[0]
    assert keys('d.onnx', count=17)[1] != first[1]
