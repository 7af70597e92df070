"""One torch module -> one ONNX file: fixed opset, static shapes, nothing of the machine in it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dysl_vla_ros.engines.bundle import SegmentSpec, TensorSpec
from dysl_vla_ros.errors import EngineError

OPSET = 18
"""The newest that TensorRT 10.3 (JetPack 6.2) parses completely."""

_DTYPES: dict[int, str] = {
    int(TensorProto.FLOAT): 'float32',
    int(TensorProto.INT64): 'int64',
    int(TensorProto.FLOAT16): 'float16',
}


def write_onnx(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    folder: Path,
    file: str,
    half_weights: bool,
) -> SegmentSpec:
    """Export, check and write one graph.

    Args:
        module: In evaluation mode.
        arguments: Example inputs; their shapes become the graph's.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        folder: The bundle.
        file: Path of the file inside it.
        half_weights: Store float32 weights as float16, widened by a Cast when loaded.

    Raises:
        EngineError: The exporter wrote another opset, or a shape that is not static.
    """
    model = _export(module, arguments, inputs, outputs)
    _forget_origin(model)
    if half_weights:
        _store_half(model)
    opsets = {(entry.domain, entry.version) for entry in model.opset_import}
    if opsets != {('', OPSET)}:
        raise EngineError(f'{file}: opset {sorted(opsets)}: expected {OPSET} and no other domain')
    onnx.checker.check_model(model, full_check=True)
    spec = SegmentSpec(
        file=file,
        inputs=tuple(_spec(value, file) for value in model.graph.input),
        outputs=tuple(_spec(value, file) for value in model.graph.output),
    )
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return spec


def _export(
    module: nn.Module, arguments: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    exporter_log = logging.getLogger('torch.onnx')
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                module.eval(), arguments, dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(inputs), output_names=list(outputs), external_data=False,
            )  # fmt: skip
    finally:
        exporter_log.setLevel(level)
    assert program is not None  # dynamo=True always returns the program
    model: onnx.ModelProto = program.model_proto
    return model


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop source lines and paths that the exporter writes into every node."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ''
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    del model.functions[:]
    for part in (model.graph.node, model.graph.input, model.graph.output,
                 model.graph.initializer):  # fmt: skip
        for entry in part:
            del entry.metadata_props[:]
            entry.doc_string = ''


def _store_half(model: onnx.ModelProto, smallest: int = 64) -> None:
    """Replace float32 weights by float16 ones and a Cast, which the runtime folds at load."""
    kept, casts = [], []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < smallest:
            kept.append(weight)
            continue
        half = f'{weight.name}_half'
        kept.append(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(helper.make_node('Cast', [half], [weight.name], f'widen_{weight.name}',
                                      to=TensorProto.FLOAT))  # fmt: skip
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def _spec(value: onnx.ValueInfoProto, file: str) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    if not all(shape):
        raise EngineError(f'{file}: {value.name} has the shape {shape}: expected static sizes')
    return TensorSpec(name=value.name, shape=shape, dtype=_DTYPES[kind.elem_type])
