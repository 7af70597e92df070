from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle, sha256_of
from dysl_vla_ros.bundle.onnx_wire import external_locations, opset_version
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import BundleError, EngineError


def weight(name, location=None):
    values = np.arange(6, dtype=np.float32)
    tensor = numpy_helper.from_array(values, name)
    if location is not None:
        set_external_data(tensor, location)
        tensor.ClearField('raw_data')
        tensor.data_location = TensorProto.EXTERNAL
    return tensor


def graph_of(nodes, initializers):
    outputs = [helper.make_tensor_value_info('y', TensorProto.FLOAT, [6])]
    return helper.make_graph(nodes, 'g', [], outputs, initializers)


def write(path, nodes, initializers=()):
    path.write_bytes(helper.make_model(graph_of(nodes, list(initializers))).SerializeToString())
    return path


def test_every_place_that_can_hold_external_weights_is_found(tmp_path):
    constant = helper.make_node('Constant', [], ['c'], value=weight('', 'in_an_attribute'))
    inner = graph_of([helper.make_node('Identity', ['w'], ['y'])], [weight('w', 'in_a_branch')])
    branch = helper.make_node('If', ['c'], ['y'], then_branch=inner, else_branch=inner)
    path = write(
        tmp_path / 'x.onnx',
        [constant, branch],
        [weight('a', 'data.bin'), weight('b', '../../etc/passwd'), weight('inside')],
    )
    assert external_locations(path) == {
        'data.bin', '../../etc/passwd', 'in_an_attribute', 'in_a_branch'
    }  # fmt: skip


def test_a_graph_that_holds_its_weights_has_none(tmp_path):
    node = helper.make_node('Identity', ['a'], ['y'])
    assert external_locations(write(tmp_path / 'x.onnx', [node], [weight('a')])) == frozenset()


@pytest.mark.parametrize('keep', [0, 1, 17, -3])
def test_what_is_not_onnx_is_refused_by_name(tmp_path, keep):
    whole = write(tmp_path / 'x.onnx', [helper.make_node('Identity', ['a'], ['y'])], [weight('a')])
    data = whole.read_bytes()
    (tmp_path / 'cut.onnx').write_bytes(data[:keep])
    with pytest.raises(BundleError, match=r'cut\.onnx'):
        external_locations(tmp_path / 'cut.onnx')


def number(value):
    """A number as protobuf writes it."""
    found = b''
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def inside(field, data, above=0):
    """A message in a field, whose key has bits that no field needs."""
    return number((field << 3 | 2) + above) + number(len(data)) + data


@pytest.mark.parametrize('above', [1 << 32, 1 << 40, 1 << 63])
def test_a_key_that_other_readers_cut_to_32_bits_hides_no_weights(tmp_path, above):
    entry = inside(1, b'location') + inside(2, b'unlisted.bin')
    plain, hidden = (inside(7, inside(5, inside(8, b'w') + inside(13, entry, bits)))
                     for bits in (0, above))  # fmt: skip
    (tmp_path / 'x.onnx').write_bytes(plain)
    assert external_locations(tmp_path / 'x.onnx') == {'unlisted.bin'}
    (tmp_path / 'x.onnx').write_bytes(hidden)
    with pytest.raises(BundleError, match=r'x\.onnx: not an ONNX file: key .* expected at most'):
        external_locations(tmp_path / 'x.onnx')


def test_graphs_inside_graphs_without_end_are_refused(tmp_path):
    data = b''
    for _ in range(400):  # a graph in an attribute of a node of a graph
        data = inside(1, inside(5, inside(6, data)))
    (tmp_path / 'x.onnx').write_bytes(inside(7, data))
    with pytest.raises(BundleError, match=r'x\.onnx: .* expected at most 100 levels'):
        external_locations(tmp_path / 'x.onnx')


def external_layer(folder, location, listed):
    """Move the weights of layer 3 out of its graph and seal the manifest again."""
    write_tiny_bundle(folder, layers=5, static_layers=(0, 2, 4), width=16)
    path = folder / 'segments/layer_03.onnx'
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location='layer_03.data',
              size_threshold=256)  # fmt: skip
    if location != 'layer_03.data':
        path.write_bytes(path.read_bytes().replace(b'layer_03.data', location.encode()))
    document = json.loads((folder / 'manifest.json').read_text())
    spec = document['segments']['layer_03']
    names = ['segments/layer_03.onnx']
    if listed:
        spec['data'] = 'segments/layer_03.data'
        names.append(spec['data'])
    for name in names:
        entry = {'sha256': sha256_of(folder / name), 'bytes': (folder / name).stat().st_size}
        document['files'][name] = entry
    (folder / 'manifest.json').write_text(json.dumps(document))
    return folder


def test_a_segment_with_external_weights_runs(tmp_path):
    inside = write_tiny_bundle(tmp_path / 'a', layers=5, static_layers=(0, 2, 4), width=16)
    outside = external_layer(tmp_path / 'b', 'layer_03.data', listed=True)
    states = []
    for folder in (inside, outside):
        engine = OnnxEngine(open_bundle(folder))
        spec = engine._inputs
        rng = np.random.default_rng(0)
        hidden = engine.encode({s.name: (rng.random(s.shape) * 2).astype(s.dtype) for s in spec})
        for layer in range(5):
            hidden = engine.run_layer(layer, hidden)
        states.append(engine.read(hidden))
    assert np.array_equal(*states)


def test_altered_external_weights_are_found_by_their_checksum(tmp_path):
    folder = external_layer(tmp_path / 'b', 'layer_03.data', listed=True)
    data = folder / 'segments/layer_03.data'
    data.write_bytes(b'\x00' + data.read_bytes()[1:])
    with pytest.raises(BundleError, match=r'segments/layer_03\.data: SHA-256 .* altered'):
        open_bundle(folder)


@pytest.mark.parametrize(
    ('location', 'listed'),
    [('layer_03.data', False), ('../stranger.d', True), ('layer_04.data', True)],
)
def test_weights_that_no_checksum_covers_are_refused(tmp_path, location, listed):
    folder = external_layer(tmp_path / 'b', location, listed)
    with pytest.raises(EngineError, match=r'layer_03\.onnx: weights in .*: expected'):
        OnnxEngine(open_bundle(folder))


@pytest.mark.parametrize('version', [9, 18, 300])
def test_the_opset_is_that_of_the_default_domain(tmp_path, version):
    model = onnx.ModelProto(ir_version=8)
    model.opset_import.add(domain='com.example', version=7)
    model.opset_import.add(domain='', version=version)
    path = tmp_path / 'a.onnx'
    path.write_bytes(model.SerializeToString())
    assert opset_version(path) == version


def test_a_file_without_a_default_domain_has_no_opset(tmp_path):
    model = onnx.ModelProto(ir_version=8)
    model.opset_import.add(domain='com.example', version=7)
    path = tmp_path / 'a.onnx'
    path.write_bytes(model.SerializeToString())
    assert opset_version(path) == 0
