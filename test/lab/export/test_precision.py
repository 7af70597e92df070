"""Where an FP16 graph computes in float32, seen in the files themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from small_checkpoint import example_inputs
from torch import nn

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.lab.export.onnx_files import FileSettings, write_onnx
from dysl_vla_ros.lab.export.parts import Part
from dysl_vla_ros.lab.export.precision import to_half
from dysl_vla_ros.lab.export.write_bundle import ExportSettings

NORM_OPERATORS = {'Pow', 'ReduceMean', 'Sqrt', 'Reciprocal', 'LayerNormalization',
                  'InstanceNormalization', 'GroupNormalization'}  # fmt: skip


def typed_nodes(path: Path):
    """(operator, types of its inputs, names of its outputs) of every node of a file."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    graph = model.graph
    types = {v.name: v.type.tensor_type.elem_type
             for v in (*graph.input, *graph.value_info, *graph.output)}  # fmt: skip
    types |= {w.name: w.data_type for w in graph.initializer}
    return [(node.op_type, [types[i] for i in node.input if i], list(node.output))
            for node in graph.node]  # fmt: skip


def segments(folder: Path):
    return open_bundle(folder).manifest.segments.items()


def test_norms_compute_in_float32_and_matrix_products_in_float16(fp16_bundle):
    norms = products = 0
    for name, spec in segments(fp16_bundle):
        for operator, types, _ in typed_nodes(fp16_bundle / spec.file):
            if operator in NORM_OPERATORS:
                assert types[0] == TensorProto.FLOAT, f'{name}: {operator}'
                norms += 1
            if operator == 'Conv' or (operator == 'MatMul' and not name.startswith('layer')):
                assert types[0] == TensorProto.FLOAT16, f'{name}: {operator}'
                products += 1
    assert norms > 40 and products > 10


def test_a_layer_computes_in_float16_but_for_its_gate(fp16_bundle):
    for name, spec in segments(fp16_bundle):
        if name.startswith('layer'):
            gated = any(output.name == 'gate' for output in spec.outputs)
            wide = [types for operator, types, _ in typed_nodes(fp16_bundle / spec.file)
                    if operator in ('MatMul', 'Gemm') and TensorProto.FLOAT in types]  # fmt: skip
            assert len(wide) == (2 if gated else 0), name


def test_only_patches_and_hidden_states_travel_as_halves(fp16_bundle):
    seen = {}
    for _, spec in segments(fp16_bundle):
        seen |= {tensor.name: tensor.dtype for tensor in (*spec.inputs, *spec.outputs)}
    assert seen == {
        'image': 'float32', 'wrist_image': 'float32', 'tokens': 'int64',
        'proprioception': 'float32', 'patches': 'float16', 'hidden': 'float16',
        'hidden_out': 'float16', 'gate': 'float32', 'actions': 'float32',
    }  # fmt: skip


def test_onnx_runtime_takes_the_inputs_of_an_fp32_bundle(fp16_bundle):
    engine = OnnxEngine(open_bundle(fp16_bundle))
    state = engine.read(engine.encode(example_inputs()))
    assert state.dtype.name == 'float32' and abs(state).max() > 0.1


class _OwnNorm(nn.Module):
    """A norm that to_half does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def hidden_part(module: nn.Module, outputs: tuple[str, ...] = ('hidden_out',)) -> Part:
    return Part(module, (torch.zeros(1, 3, 8),), ('hidden',), outputs)


def test_a_norm_between_halves_is_refused_with_its_place(tmp_path):
    part = to_half(hidden_part(nn.Sequential(nn.Linear(8, 8), _OwnNorm())))
    found = r'x\.onnx: .* on float16: .* NORMS in lab/export/precision'
    with pytest.raises(EngineError, match=found):
        write_onnx(part, tmp_path, 'x.onnx', FileSettings())


def test_the_same_norm_is_fine_in_float32(tmp_path):
    part = hidden_part(nn.Sequential(nn.Linear(8, 8), _OwnNorm()))
    assert write_onnx(part, tmp_path, 'x.onnx', FileSettings()).data == ''


def test_a_number_that_no_half_can_be_stays_what_it_is_with_half_weights(tmp_path):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with torch.no_grad():
        layers[1].weight[0, 0] = 70000.0
    part = hidden_part(layers)
    write_onnx(part, tmp_path, 'x.onnx', FileSettings(half_weights=True))
    session = onnxruntime.InferenceSession(tmp_path / 'x.onnx')
    given = np.ones((1, 3, 8), np.float32)
    (found,) = session.run(None, {'hidden': given})
    with torch.no_grad():
        wanted = layers(torch.from_numpy(given)).numpy()
    assert np.abs(found - wanted).max() <= 1e-2 * np.abs(wanted).max()
    kinds = [one.data_type for one in onnx.load(tmp_path / 'x.onnx').graph.initializer
             if np.prod(one.dims) >= 64]  # fmt: skip
    assert sorted(kinds) == [1, 10]


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match='half_weights = True: expected only with fp32'):
        ExportSettings('fp16', FileSettings(half_weights=True))
    with pytest.raises(ConfigError, match="precision = 'bf16'"):
        ExportSettings('bf16')  # type: ignore[arg-type]
