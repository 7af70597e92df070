"""A bundle gives back the checkpoint that it was exported from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_checkpoint import make_checkpoint

from dysl_vla_ros.bundle.folder import file_entry, open_bundle, write_manifest
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.export.onnx_export import export_bundle
from dysl_vla_ros.lab.export.restored import restored
from dysl_vla_ros.lab.model.checkpoint import Checkpoint

BUNDLED = Path(__file__).parents[3] / 'resource/models/tabletop'
DYNAMIC = [layer for layer in range(20) if layer not in (0, 3, 4, 19)]


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Of all that is exported."""
    assert checkpoint.skipping is not None
    both = {**checkpoint.network.state_dict(), **checkpoint.skipping.state_dict()}
    return {name: tensor for name, tensor in both.items() if not name.startswith('auxiliary.')}


@pytest.fixture(scope='module')
def trained():
    """No two weights alike: an exporter writes alike ones, of an untrained network, once."""
    found = make_checkpoint()
    with torch.no_grad():
        for parameter in (*found.network.parameters(), *found.skipping.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


@pytest.fixture(scope='module')
def bundle(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp('restored') / 'bundle'
    export_bundle(trained, folder, 'small', half_weights=False)
    return folder


def test_every_weight_comes_back_as_it_was(trained, bundle):
    found = restored(bundle)
    before, after = weights(trained), weights(found)
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert found.config == trained.config and found.tokenizer == trained.tokenizer
    assert found.statistics == trained.statistics and found.robot == trained.robot
    assert found.calibration == open_bundle(bundle).manifest.calibration


def test_of_weights_stored_in_halves_the_halves_come_back(trained, tmp_path):
    export_bundle(trained, tmp_path / 'bundle', 'small')
    before, after = weights(trained), weights(restored(tmp_path / 'bundle'))
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_the_bundled_policy_acts_as_its_graphs_do():
    opened = open_bundle(BUNDLED)
    found, engine = restored(BUNDLED), OnnxEngine(opened)
    assert found.robot is None
    assert found.skipping.layout.static_layers == opened.manifest.static_layers
    chance = np.random.default_rng(5)
    values = {
        'image': chance.uniform(-1, 1, (1, 3, 96, 96)).astype(np.float32),
        'tokens': np.arange(12)[None],
        'proprioception': chance.uniform(-1, 1, (1, 7)).astype(np.float32),
    }
    hidden = engine.encode(values)
    given = {name: torch.from_numpy(value) for name, value in values.items()}
    with torch.no_grad():
        state = found.network.encode((given['image'],), given['tokens'], given['proprioception'])
        for layer in range(20):
            gate = found.skipping.controller(layer)(state) if layer in DYNAMIC else None
            assert gate is None or engine.skip_score(layer, hidden) == pytest.approx(
                float(gate), abs=2e-3
            )
            state, hidden = found.network.layer(layer, state), engine.run_layer(layer, hidden)
        bridged = found.network.head(found.skipping.adapter(18)(state))
        acted = found.network.head(state)
    np.testing.assert_allclose(engine.decode(hidden), acted[0], atol=2e-4)
    bridge = engine.decode(engine.bridge(18, hidden))
    np.testing.assert_allclose(bridge, bridged[0], atol=2e-4)


def test_a_graph_without_one_of_the_weights_is_refused_by_its_name(bundle, tmp_path):
    folder = tmp_path / 'bundle'
    shutil.copytree(bundle, folder)
    manifest = open_bundle(folder).manifest
    spec = manifest.segments['layer_00']
    graph = onnx.load(folder / spec.file)
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 2 and tensor.dims[0] == 2 * tensor.dims[1]:  # down
            cut = onnx.numpy_helper.to_array(tensor)[1:]
            tensor.CopyFrom(onnx.numpy_helper.from_array(cut, tensor.name))
    onnx.save(graph, folder / spec.file)
    files = {**manifest.files, spec.file: file_entry(folder / spec.file)}
    write_manifest(folder, replace(manifest, files=files))
    with pytest.raises(BundleError, match=r'layer_00: nothing in the graph is (layer\.)?down'):
        restored(folder)


def test_a_bundle_in_fp16_is_refused(fp16_bundle):
    with pytest.raises(BundleError, match='precision'):
        restored(fp16_bundle)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'family': 'openvla_oft'}, "family = 'openvla_oft': expected 'dysl_small'"),
        ({'card': {}}, 'card.network = None'),
        ({'card': {'network': {'layers': 20}}}, r"card.network = \{'layers': 20\}"),
    ],
)
def test_a_bundle_of_which_the_shape_is_not_known_is_refused(bundle, tmp_path, change, message):
    folder = tmp_path / 'bundle'
    shutil.copytree(bundle, folder)
    write_manifest(folder, replace(open_bundle(folder).manifest, **change))
    with pytest.raises(BundleError, match=message):
        restored(folder)
