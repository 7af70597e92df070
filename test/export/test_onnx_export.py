"""A bundle must compute what the torch model computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.bundle import (
    CalibrationSpec,
    Manifest,
    NormalisationSpec,
    manifest_from_dict,
    open_bundle,
)
from dysl_vla_ros.engines.engine import LayerLayout, forward
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.export.onnx_export import export_bundle
from dysl_vla_ros.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from dysl_vla_ros.model.policy_network import PolicyNetwork
from dysl_vla_ros.model.shapes import CameraShape, PolicyConfig, Statistics
from dysl_vla_ros.model.skipping import SkipModules
from dysl_vla_ros.model.torch_engine import TorchEngine
from dysl_vla_ros.training.words import build_tokenizer

LAYERS, STATIC = 5, (0, 3, 4)


def small_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(['pick up the red cube'])
    config = PolicyConfig(
        vocabulary=tokenizer.get_vocab_size(), layers=LAYERS, width=32, head_dim=16,
        cameras=(CameraShape('image', 32, 32), CameraShape('wrist_image', 16, 16)),
        stem_channels=(8, 8, 8), auxiliary_layer=2, instruction_tokens=6,
    )  # fmt: skip
    unit = NormalisationSpec(low=(-1.0,) * 7, high=(1.0,) * 7, mask=(True,) * 7)
    skipping = SkipModules(LayerLayout(LAYERS, STATIC), config.width)
    for parameter in skipping.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Checkpoint(
        config, Statistics(unit, unit), tokenizer.to_str(), PolicyNetwork(config), skipping,
        CalibrationSpec(eta=0.2, window=5, threshold=0.3, hysteresis=0.1, weights=(1.0,) * 7),
        {'seed': 3},
    )  # fmt: skip


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path, Manifest]:
    torch.set_num_threads(1)
    checkpoint = small_checkpoint()
    folder = tmp_path_factory.mktemp('bundles') / 'small'
    return checkpoint, folder, export_bundle(checkpoint, folder, 'small', half_weights=False)


def sessions(folder: Path) -> Callable[[str, dict[str, np.ndarray]], list[np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    manifest = open_bundle(folder).manifest
    opened = {
        name: onnxruntime.InferenceSession(
            str(folder / spec.file), options, providers=['CPUExecutionProvider']
        )
        for name, spec in manifest.segments.items()
    }
    return lambda name, inputs: opened[name].run(None, inputs)


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        'image': rng.normal(size=(1, 3, 32, 32)).astype(np.float32),
        'wrist_image': rng.normal(size=(1, 3, 16, 16)).astype(np.float32),
        'tokens': np.array([[2, 3, 4, 5, 0, 0]], dtype=np.int64),
        'proprioception': rng.normal(size=(1, 7)).astype(np.float32),
    }


def onnx_pass(folder: Path, path: list[str]) -> np.ndarray:
    run, given = sessions(folder), inputs()
    patches = run('vision', {k: given[k] for k in ('image', 'wrist_image')})[0]
    hidden = run('embed', {'patches': patches, 'tokens': given['tokens'],
                           'proprioception': given['proprioception']})[0]  # fmt: skip
    for name in path:
        hidden = run(name, {'hidden': hidden})[0]
    return run('head', {'hidden': hidden})[0][0]


@pytest.mark.parametrize(
    ('allow', 'path'),
    [
        ((3, 4), ['layer_00', 'layer_01', 'layer_02', 'layer_03', 'layer_04']),
        ((1, 4), ['layer_00', 'bridge_01', 'layer_03', 'layer_04']),
        ((2, 4), ['layer_00', 'layer_01', 'bridge_02', 'layer_03', 'layer_04']),
    ],
)
def test_the_chain_of_graphs_computes_what_torch_computes(
    exported: tuple[Checkpoint, Path, Manifest], allow: tuple[int, ...], path: list[str]
) -> None:
    checkpoint, folder, _ = exported
    assert checkpoint.skipping is not None
    engine = TorchEngine(checkpoint.network, checkpoint.skipping)
    hidden, trace = forward(engine, engine.encode(inputs()), SkipPlan(allow, 'open'))
    assert len(trace.layers_run) == sum(name.startswith('layer') for name in path)
    np.testing.assert_allclose(onnx_pass(folder, path), engine.decode(hidden), atol=1e-4)


def test_the_gate_of_a_layer_is_the_score_of_the_next_controller(
    exported: tuple[Checkpoint, Path, Manifest],
) -> None:
    checkpoint, folder, manifest = exported
    assert checkpoint.skipping is not None
    engine = TorchEngine(checkpoint.network, checkpoint.skipping)
    hidden = engine.encode(inputs())
    after, gate = sessions(folder)('layer_00', {'hidden': hidden.numpy()})
    expected = engine.skip_score(1, engine.run_layer(0, hidden))
    assert gate[0] == pytest.approx(expected, abs=1e-5)
    gated = [n for n, s in manifest.segments.items() if any(o.name == 'gate' for o in s.outputs)]
    assert gated == ['layer_00', 'layer_01']


def test_the_bundle_opens_and_says_what_was_exported(
    exported: tuple[Checkpoint, Path, Manifest],
) -> None:
    _, folder, manifest = exported
    opened = open_bundle(folder).manifest
    assert opened == manifest_from_dict(json.loads((folder / 'manifest.json').read_text()))
    assert opened.static_layers == STATIC
    assert opened.calibration.eta == 0.2
    assert opened.card['seed'] == 3
    assert manifest.segments['vision'].inputs[0].shape == (1, 3, 32, 32)


def test_every_file_states_opset_18_and_nothing_of_the_machine(
    exported: tuple[Checkpoint, Path, Manifest],
) -> None:
    _, folder, manifest = exported
    for spec in manifest.segments.values():
        blob = (folder / spec.file).read_bytes()
        model = onnx.load_from_string(blob)
        assert [(o.domain, o.version) for o in model.opset_import] == [('', 18)]
        assert b'.py' not in blob and b'site-packages' not in blob


def test_half_weights_change_the_size_and_not_a_half_model(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / 'policy.safetensors', small_checkpoint())
    checkpoint = load_checkpoint(tmp_path / 'policy.safetensors')
    assert checkpoint.skipping is not None
    export_bundle(checkpoint, tmp_path / 'half', 'half', half_weights=True)
    engine = TorchEngine(checkpoint.network, checkpoint.skipping)
    hidden, _ = forward(engine, engine.encode(inputs()), engine.layout.full_plan())
    path = [f'layer_{index:02d}' for index in range(LAYERS)]
    np.testing.assert_allclose(
        onnx_pass(tmp_path / 'half', path), engine.decode(hidden), atol=1e-4
    )
    model = onnx.load(tmp_path / 'half' / 'segments' / 'layer_00.onnx')
    large = [w for w in model.graph.initializer if np.prod(w.dims) >= 64 and w.data_type == 1]
    assert not large


def test_an_undistilled_checkpoint_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoint = small_checkpoint()
    dense = Checkpoint(checkpoint.config, checkpoint.statistics, checkpoint.tokenizer,
                       checkpoint.network)  # fmt: skip
    with pytest.raises(ConfigError, match='dysl distill'):
        export_bundle(dense, tmp_path / 'bundle', 'dense')
    assert not list(tmp_path.iterdir())
