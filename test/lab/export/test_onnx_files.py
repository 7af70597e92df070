"""What must not get into a bundle."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.export.onnx_files import OPSET, FileSettings, check_proto, write_onnx
from dysl_vla_ros.lab.export.parts import Part


def model(opset=OPSET, domain=None, shape=(1, 3), kind=TensorProto.FLOAT):
    value = [helper.make_tensor_value_info(name, kind, shape) for name in ('x', 'y')]
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g',
                              value[:1], value[1:])  # fmt: skip
    opsets = [helper.make_opsetid('', opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets)


def test_a_static_graph_of_opset_18_is_taken():
    check_proto(model(), 'x.onnx')


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ({'opset': 20}, r'x\.onnx: opset .*20.*: expected 18'),
        ({'opset': 17}, r'x\.onnx: opset .*17.*: expected 18'),
        ({'domain': 'com.microsoft'}, 'com.microsoft.*no other domain'),
        ({'shape': ('batch', 3)}, r'x has the shape \(0, 3\): expected static sizes'),
        ({'kind': TensorProto.BFLOAT16}, 'x is BFLOAT16: expected one of .*float16'),
    ],
)
def test_another_opset_a_size_that_is_not_static_or_bfloat16_is_refused(wrong, words):
    with pytest.raises(EngineError, match=words):
        check_proto(model(**wrong), 'x.onnx')


def test_large_weights_lie_beside_the_graph_and_small_ones_inside(tmp_path):
    module = nn.Linear(64, 64).eval()
    part = Part(module, (torch.zeros(1, 2, 64),), ('hidden',), ('hidden_out',))
    spec = write_onnx(part, tmp_path, 'segments/x.onnx', FileSettings(external_from=1 << 10))
    assert spec.data == 'segments/x.onnx.data'
    graph = onnx.load(tmp_path / spec.file, load_external_data=False).graph
    outside = [w for w in graph.initializer if w.data_location == TensorProto.EXTERNAL]
    assert len(outside) == 1 and len(graph.initializer) >= 2
    assert (tmp_path / spec.data).stat().st_size >= 64 * 64 * 4
    assert (tmp_path / spec.file).stat().st_size < 64 * 64 * 4


class _Difference(nn.Module):
    def forward(self, left, right):
        return left - right


def test_one_example_for_two_inputs_leaves_them_two(tmp_path):
    example = torch.zeros(1, 3)
    write_onnx(Part(_Difference(), (example, example), ('image', 'wrist_image'), ('patches',)),
               tmp_path, 'x.onnx', FileSettings())  # fmt: skip
    node = onnx.load(tmp_path / 'x.onnx').graph.node[0]
    assert list(node.input) == ['image', 'wrist_image']


def test_the_same_weights_give_the_same_bytes(tmp_path):
    torch.manual_seed(0)
    part = Part(nn.Linear(8, 8), (torch.zeros(1, 2, 8),), ('hidden',), ('hidden_out',))
    for name in ('a.onnx', 'b.onnx'):
        write_onnx(part, tmp_path, name, FileSettings())
    assert (tmp_path / 'a.onnx').read_bytes() == (tmp_path / 'b.onnx').read_bytes()


def test_weights_below_the_threshold_stay_inside(tmp_path):
    part = Part(nn.Linear(8, 8), (torch.zeros(1, 2, 8),), ('hidden',), ('hidden_out',))
    spec = write_onnx(part, tmp_path, 'x.onnx', FileSettings())
    assert spec.data == ''
    assert [path.name for path in tmp_path.iterdir()] == ['x.onnx']
