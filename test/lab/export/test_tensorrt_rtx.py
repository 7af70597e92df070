"""Real parsing and building, with TensorRT-RTX: it builds on the CPU, without a GPU.

TensorRT-RTX is a sibling of the TensorRT on a Jetson: the same parser and network definition,
another set of kernels, another version. So this shows that every segment parses, types fit and a
plan comes out; it does not show that TensorRT 10.3 on an Orin builds it, and nothing runs.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from fake_gpu import GPU
from onnx import TensorProto, helper, numpy_helper

trt = pytest.importorskip('tensorrt_rtx_bindings', reason="needs pip install '.[rtx]'")
torch = pytest.importorskip('torch', reason='needs torch')

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import SegmentSpec, TensorSpec
from dysl_vla_ros.engines.tensorrt.build import BuildOptions, SegmentBuilder, build_plans
from dysl_vla_ros.engines.tensorrt.plans import find_plans, plans_root, target_of
from dysl_vla_ros.errors import DyslError, EngineError
from dysl_vla_ros.lab.export.onnx_files import OPSET, FileSettings, write_onnx
from dysl_vla_ros.lab.export.parts import GatedLayer, Part
from dysl_vla_ros.lab.export.precision import to_half
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, OftLayer
from dysl_vla_ros.lab.model.skipping import Controller

# Its timing cache does nothing, and says so.
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')
VERSION = f'rtx-{importlib.metadata.version("tensorrt-rtx-cu13-bindings")}'


@pytest.fixture(params=['fp32', 'fp16'])
def bundle(request, tmp_path):
    folder = request.getfixturevalue(f'{request.param}_bundle')
    return open_bundle(shutil.copytree(folder, tmp_path / 'bundle'))


def build(bundle):
    target = target_of(GPU, VERSION, bundle.manifest)
    return build_plans(bundle, plans_root(bundle), target, trt)


def test_every_segment_of_a_small_policy_parses_and_builds(bundle):
    report = build(bundle)
    assert set(report.built) == set(bundle.manifest.segments) and len(report.built) > 10
    target = target_of(GPU, VERSION, bundle.manifest)
    find_plans(bundle, plans_root(bundle), target).verify()
    assert build(bundle).built == ()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'shape': (1, 45, 7)}, 'inputs hidden .*: expected hidden .* .1, 45, 7.'),
        ({'dtype': 'int64'}, 'inputs hidden float.*: expected hidden int64'),
        ({'name': 'state'}, 'inputs hidden .*: expected state'),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused_before_it_is_built(
    bundle, change, words
):
    spec = bundle.manifest.segments['layer_01']
    wrong = replace(spec, inputs=(replace(spec.inputs[0], **change),))
    with pytest.raises(EngineError, match=words):
        builder().build('layer_01', bundle.graph('layer_01'), wrong)


def test_a_bundle_of_the_tests_builds_too(tmp_path):
    import tiny_bundle

    made = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=5, mask=True)
    assert len(build(open_bundle(made)).built) == len(open_bundle(made).manifest.segments)


# ---- what must fail ----------------------------------------------------------------------------


def write(path, nodes, *, opset=18, shape=(1, 4), weights=(), domains=()):
    opsets = [helper.make_opsetid('', opset), *(helper.make_opsetid(d, 1) for d in domains)]
    graph = helper.make_graph(
        nodes, 'wrong',
        [helper.make_tensor_value_info('hidden', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('hidden_out', TensorProto.FLOAT, shape)],
        list(weights),
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def builder():
    return SegmentBuilder(trt, OPSET, BuildOptions())


def compile_file(path):
    state = TensorSpec('hidden', (1, 4), 'float32')
    spec = SegmentSpec(path.name, (state,), (replace(state, name='hidden_out'),))
    return builder().build('layer_07', path, spec)


def refusal(path):
    with pytest.raises(EngineError) as caught:
        compile_file(path)
    text = str(caught.value)
    assert 'segment layer_07' in text and path.name in text
    return text


def test_the_fixtures_build_when_nothing_is_wrong_with_them(tmp_path):
    path = write(tmp_path / 'right.onnx', [helper.make_node('Tanh', ['hidden'], ['hidden_out'])])
    assert len(compile_file(path)) > 1000


def test_an_operator_of_an_unknown_domain_is_refused_with_its_name(tmp_path):
    node = helper.make_node('Wonder', ['hidden'], ['hidden_out'], name='seven', domain='ours')
    text = refusal(write(tmp_path / 'a.onnx', [node], domains=('ours',)))
    assert 'cannot parse it' in text and "Wonder 'seven'" in text


def test_an_operator_of_onnx_that_tensorrt_lacks_is_refused_with_its_name(tmp_path):
    node = helper.make_node('Det', ['hidden'], ['hidden_out'], name='determinant')
    assert "Det 'determinant'" in refusal(write(tmp_path / 'a.onnx', [node]))


def test_types_that_do_not_fit_are_refused_in_a_strongly_typed_network(tmp_path):
    half = numpy_helper.from_array(np.ones((4, 4), np.float16), 'w')
    node = helper.make_node('MatMul', ['hidden', 'w'], ['hidden_out'], name='mixed')
    assert 'mixed' in refusal(write(tmp_path / 'a.onnx', [node], weights=[half]))


def test_a_size_that_is_not_known_is_refused(tmp_path):
    node = helper.make_node('Tanh', ['hidden'], ['hidden_out'])
    text = refusal(write(tmp_path / 'a.onnx', [node], shape=('batch', 4)))
    assert 'inputs hidden float32 [-1, 4]: expected hidden float32 [1, 4]' in text


@pytest.mark.parametrize('opset', [9, 17, 20, 99])
def test_another_opset_is_refused_though_tensorrt_would_take_it(tmp_path, opset):
    node = helper.make_node('Tanh', ['hidden'], ['hidden_out'])
    path = write(tmp_path / 'a.onnx', [node], opset=opset)
    assert f'opset {opset}: expected 18' in refusal(path)


@pytest.mark.parametrize('part', [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, part):
    path = write(tmp_path / 'a.onnx', [helper.make_node('Tanh', ['hidden'], ['hidden_out'])])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DyslError, match=r'a\.onnx'):
        compile_file(path)


@pytest.mark.parametrize('data', [b'', b'\x00', bytes(range(256)) * 40])
def test_a_file_that_is_no_onnx_is_refused(tmp_path, data):
    path = tmp_path / 'a.onnx'
    path.write_bytes(data)
    with pytest.raises(DyslError, match=r'a\.onnx'):
        compile_file(path)


def test_a_file_without_a_graph_is_refused_though_tensorrt_would_parse_it(tmp_path):
    model = onnx.ModelProto(ir_version=8)
    model.opset_import.add(version=OPSET)
    path = tmp_path / 'a.onnx'
    path.write_bytes(model.SerializeToString())
    assert 'inputs none: expected hidden float32' in refusal(path)


def with_weights_beside(folder):
    """A graph and the file with its weights."""
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), 'w')
    node = helper.make_node('MatMul', ['hidden', 'w'], ['hidden_out'])
    path = write(folder / 'a.onnx', [node], weights=[weight])
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location='a.onnx.data', size_threshold=0
    )
    return path, folder / 'a.onnx.data'


def test_weights_beside_the_graph_are_found(tmp_path):
    path, data = with_weights_beside(tmp_path)
    assert data.stat().st_size == 64
    assert len(compile_file(path)) > 1000


def test_weights_that_are_missing_are_refused_with_the_name_of_their_file(tmp_path):
    path, data = with_weights_beside(tmp_path)
    data.unlink()
    assert data.name in refusal(path)


def test_weights_that_are_cut_off_are_refused(tmp_path):
    path, data = with_weights_beside(tmp_path)
    data.write_bytes(data.read_bytes()[:20])
    assert 'cannot parse it' in refusal(path)


# ---- full size ---------------------------------------------------------------------------------


def test_a_layer_of_llama_2_7b_at_605_tokens_builds_in_float16(tmp_path):
    config = OftConfig()
    assert (config.width, config.tokens) == (4096, 605)
    with torch.no_grad():
        layer = OftLayer(config)
        layer.fuse()  # as it is exported
        module = GatedLayer(layer, Controller(config.width)).eval()
    part = Part(module, (torch.zeros(1, 605, 4096),), ('hidden',), ('hidden_out', 'gate'))
    spec = write_onnx(to_half(part), tmp_path, 'layer_00.onnx', FileSettings())
    del part, module
    plan = builder().build('layer_00', tmp_path / spec.file, spec)
    weights = 2 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert (tmp_path / spec.data).stat().st_size >= weights
    assert weights <= len(plan) < 1.2 * weights
