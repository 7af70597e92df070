"""Every operator that the CUDA back end knows gives what ONNX Runtime gives."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, save

from dysl_vla_ros.engines.cuda import onnx_torch_ops
from dysl_vla_ros.engines.cuda.onnx_torch import OnnxFunction
from dysl_vla_ros.errors import EngineError

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)
IMAGE = np.random.default_rng(2).standard_normal((1, 4, 6, 6)).astype(np.float32)
POSITIVE = np.abs(X) + 0.5
NUMBERS = np.array([[3, -1], [0, 2]])


def i64(*values):
    return np.array(values, np.int64)


def f32(*values):
    return np.array(values, np.float32)


def weight(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


# operator, inputs at run time, constant inputs after them, attributes, number of outputs
CASES = [
    *((name, [X], [], {}, 1) for name in
      ('Abs', 'Cos', 'Erf', 'Exp', 'Identity', 'Neg', 'Relu', 'Sigmoid', 'Sin', 'Tanh')),
    *((name, [POSITIVE], [], {}, 1) for name in ('Log', 'Reciprocal', 'Sqrt')),
    *((name, [X, Y], [], {}, 1) for name in
      ('Add', 'Div', 'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Mul', 'Sub')),
    *((name, [X > 0, Y > 0], [], {}, 1) for name in ('And', 'Or')),
    ('Not', [X > 0], [], {}, 1),
    ('Where', [X > 0, X, Y], [], {}, 1),
    ('Div', [NUMBERS - 5], [i64(2)], {}, 1),
    ('MatMul', [X, Y.transpose(0, 2, 1).copy()], [], {}, 1),
    ('Pow', [X], [f32(2)[0]], {}, 1), ('Pow', [POSITIVE], [f32(1.5)], {}, 1),
    ('Cast', [X], [], {'to': 10}, 1), ('Cast', [X], [], {'to': 7}, 1),
    ('Clip', [X], [f32(-0.5)[0], f32(0.25)[0]], {}, 1),
    ('Reshape', [X], [i64(0, -1)], {}, 1), ('Reshape', [X], [i64(4, 6)], {'allowzero': 1}, 1),
    ('Transpose', [X], [], {'perm': [2, 0, 1]}, 1), ('Transpose', [X], [], {}, 1),
    ('Unsqueeze', [X], [i64(0, -1)], {}, 1), ('Flatten', [X], [], {'axis': 2}, 1),
    ('Squeeze', [X[:1]], [i64(0)], {}, 1), ('Squeeze', [X[:1]], [], {}, 1),
    ('Concat', [X, Y], [], {'axis': -1}, 1),
    ('Split', [X], [], {'axis': 1, 'num_outputs': 2}, 2),
    ('Split', [X], [i64(1, 3)], {'axis': 2}, 2),
    ('Slice', [X], [i64(1, 0), i64(9, -1), i64(2, 1), i64(2, 1)], {}, 1),
    ('Slice', [X], [i64(0, 1), i64(1, 3)], {}, 1),
    ('Gather', [X, NUMBERS % 3], [], {'axis': 1}, 1), ('Gather', [X], [i64(-1)], {'axis': 2}, 1),
    ('Gather', [X], [np.array(1)], {'axis': 0}, 1),
    ('Expand', [X[:, :1]], [i64(2, 3, 1)], {}, 1),
    *((name, [X], [i64(-1, 0)], {'keepdims': keep}, 1) for keep in (0, 1)
      for name in ('ReduceMax', 'ReduceMean', 'ReduceSum')),
    ('ReduceSum', [X], [], {}, 1), ('ReduceSum', [X], [], {'noop_with_empty_axes': 1}, 1),
    ('Softmax', [X], [], {'axis': 1}, 1),
    ('LayerNormalization', [X], [weight(4), weight(4)], {'epsilon': 1e-3}, 1),
    ('LayerNormalization', [X], [weight(3, 4)], {'axis': 1}, 1),
    ('InstanceNormalization', [IMAGE], [weight(4), weight(4)], {'epsilon': 1e-3}, 1),
    ('Conv', [IMAGE], [weight(6, 2, 3, 3), weight(6)],
     {'strides': [2, 2], 'pads': [1, 1, 1, 1], 'group': 2, 'kernel_shape': [3, 3]}, 1),
    ('Conv', [IMAGE], [weight(5, 4, 2, 2)], {'dilations': [2, 2]}, 1),
    ('AveragePool', [IMAGE], [], {'kernel_shape': [3, 3], 'pads': [1, 1, 1, 1]}, 1),
    ('AveragePool', [IMAGE], [], {'kernel_shape': [2, 2], 'strides': [2, 2]}, 1),
    ('Gemm', [X[0]], [weight(5, 4), weight(5)], {'transB': 1, 'alpha': 0.5, 'beta': 2.0}, 1),
    ('Gemm', [X[0]], [weight(3, 5)], {'transA': 1}, 1),
]  # fmt: skip


def write(path, nodes, inputs, weights, outputs):
    """A model; shapes of outputs are left to the runtime."""
    graph = helper.make_graph(
        nodes, 'test',
        [helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape,
        ) for name, value in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8), path)
    return path


def load(tmp_path, nodes, inputs, weights, outputs):
    path = write(tmp_path / 'graph.onnx', nodes, inputs, weights, outputs)
    return path, OnnxFunction(path, torch.device('cpu'))


@pytest.mark.parametrize(
    'case', CASES, ids=[f'{index} {case[0]}' for index, case in enumerate(CASES)]
)
def test_an_operator_gives_what_onnx_runtime_gives(tmp_path, case):
    operator, given, constants, attributes, count = case
    inputs = {f'x{i}': np.asarray(value) for i, value in enumerate(given)}
    weights = {f'w{i}': np.asarray(value) for i, value in enumerate(constants)}
    outputs = [f'y{i}' for i in range(count)]
    node = helper.make_node(operator, [*inputs, *weights], outputs, **attributes)
    path, function = load(tmp_path, [node], inputs, weights, outputs)
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    found = function({k: torch.from_numpy(v.copy()) for k, v in inputs.items()}, outputs)
    for mine, theirs in zip(found, session.run(None, inputs), strict=True):
        assert (tuple(mine.shape), mine.numpy().dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-5, atol=2e-6)


def test_every_operator_that_is_offered_is_tested():
    offered = {*onnx_torch_ops._PLAIN, *onnx_torch_ops._BUILDERS}
    assert offered - {case[0] for case in CASES} == {'ConstantOfShape'}


def test_what_only_depends_on_constants_is_computed_once_and_its_parts_are_freed(tmp_path):
    nodes = [
        helper.make_node('Cast', ['half'], ['wide'], to=TensorProto.FLOAT),
        helper.make_node('ConstantOfShape', ['shape'], ['ones'],
                         value=numpy_helper.from_array(f32(1))),
        helper.make_node('Add', ['wide', 'ones'], ['sum']),
        helper.make_node('Mul', ['x', 'sum'], ['y']),
    ]  # fmt: skip
    weights = {'half': f32(1, 2, 3).astype(np.float16), 'shape': i64(3)}
    _, function = load(tmp_path, nodes, {'x': f32(1, 1, 2)}, weights, ['y'])
    (y,) = function({'x': torch.tensor([1.0, 1.0, 2.0])}, ['y'])
    assert y.tolist() == [2.0, 3.0, 8.0]
    assert len(function._steps) == 1 and set(function._constants) == {'sum'}


GATED = [
    helper.make_node('Exp', ['hidden'], ['inside']),
    helper.make_node('Neg', ['inside'], ['hidden_out']),
    helper.make_node('Sigmoid', ['hidden_out'], ['gate']),
    helper.make_node('Sigmoid', ['inside'], ['wrong_gate']),
]


def test_a_gate_is_computed_from_the_state_alone(tmp_path):
    _, function = load(tmp_path, GATED, {'hidden': f32(1)}, {}, ['hidden_out', 'gate'])
    (gate,) = function({'hidden_out': torch.tensor([0.0])}, ['gate'])
    assert gate.tolist() == [0.5]


def test_a_gate_that_needs_more_than_the_state_is_refused(tmp_path):
    _, function = load(tmp_path, GATED, {'hidden': f32(1)}, {}, ['hidden_out', 'wrong_gate'])
    with pytest.raises(EngineError, match='wrong_gate depends on hidden: expected nothing but'):
        function({'hidden_out': torch.tensor([0.0])}, ['wrong_gate'])


@pytest.mark.parametrize(
    ('node', 'words'),
    [
        (helper.make_node('Selu', ['x'], ['y']), 'operator Selu: the cuda back end does not know'),
        (helper.make_node('Reshape', ['x', 'x'], ['y']), 'input 1 is computed at run time'),
        (helper.make_node('Cast', ['x'], ['y'], to=16), 'Cast to ONNX type 16'),
        (helper.make_node('Slice', ['x', 'one', 'zero', 'zero', 'minus'], ['y']), 'at least 1'),
        (helper.make_node('Conv', ['x', 'w'], ['y'], auto_pad='SAME_UPPER'), 'NOTSET or VALID'),
        (helper.make_node('Conv', ['x', 'w'], ['y'], pads=[0, 0, 1, 1]), 'same at both ends'),
    ],
)
def test_what_it_cannot_do_is_refused_when_the_graph_is_loaded(tmp_path, node, words):
    weights = {'one': i64(1), 'zero': i64(0), 'minus': i64(-1), 'w': weight(1, 1, 1, 1)}
    with pytest.raises(EngineError, match=words) as caught:
        load(tmp_path, [node], {'x': X}, weights, ['y'])
    assert 'graph.onnx' in str(caught.value)


def test_a_file_that_is_no_graph_is_named(tmp_path):
    (tmp_path / 'broken.onnx').write_bytes(b'not a protobuf')
    with pytest.raises(EngineError, match='broken.onnx: cannot be read'):
        OnnxFunction(tmp_path / 'broken.onnx', torch.device('cpu'))
