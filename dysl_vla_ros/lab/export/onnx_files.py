"""One torch module -> one ONNX file: fixed opset, static shapes, nothing of the machine in it.

Large weights go to a file beside the graph (protobuf ends at 2 GiB), tensor by tensor, so that
they are in memory once.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto

from dysl_vla_ros.bundle.manifest import SegmentSpec, TensorSpec
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.export.parts import Part
from dysl_vla_ros.targets import write_whole

OPSET = 18
"""The newest that TensorRT 10.3 (JetPack 6.2) parses completely."""
_STAYS_INSIDE = 1024
"""Bytes; tensors up to this size stay in the graph: shape inference reads some of them."""
_IN_FLOAT32 = frozenset({
    'GroupNormalization', 'InstanceNormalization', 'LayerNormalization', 'Pow', 'Reciprocal',
    'ReduceL2', 'ReduceMean', 'ReduceSum', 'ReduceSumSquare', 'Sqrt',
})  # fmt: skip
"""What norms are made of."""

_DTYPES: dict[int, str] = {
    int(TensorProto.FLOAT): 'float32',
    int(TensorProto.FLOAT16): 'float16',
    int(TensorProto.INT64): 'int64',
    int(TensorProto.BOOL): 'bool',
}


@dataclass(frozen=True)
class FileSettings:
    """How a graph becomes files.

    Attributes:
        half_weights: Store float32 weights as float16, widened by a Cast when loaded.
        external_from: Weights of this many bytes and more go to a file of their own.
    """

    half_weights: bool = False
    external_from: int = 32 << 20


def write_onnx(part: Part, folder: Path, file: str, settings: FileSettings) -> SegmentSpec:
    """Export, check and write one graph.

    Args:
        part: In evaluation mode.
        folder: The bundle.
        file: Path of the file inside it.
        settings: How.

    Raises:
        EngineError: The exporter wrote another opset, a shape that is not static, or, between
            halves, a norm or a gate that is not computed in float32.
    """
    model = _export(part)
    _check_islands(model, file)
    if settings.half_weights:
        _store_half(model)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ''
    if _large_bytes(model) >= max(settings.external_from, 1):
        data = f'{file}.data'
        ir.external_data.unload_from_model(
            model, path.parent, Path(data).name, size_threshold_bytes=_STAYS_INSIDE
        )
    proto = ir.serde.serialize_model(model)
    _forget_origin(proto)
    check_proto(proto, file)
    write_whole(path, proto.SerializeToString(deterministic=True))
    onnx.checker.check_model(os.fspath(path), full_check=True)
    return SegmentSpec(
        file=file,
        inputs=tuple(_spec(value, file) for value in proto.graph.input),
        outputs=tuple(_spec(value, file) for value in proto.graph.output),
        data=data,
    )


def check_proto(proto: onnx.ModelProto, file: str) -> None:
    """Refuse what TensorRT 10.3 or the bundle's contract does not take.

    Raises:
        EngineError: Another opset, another domain, or an input or output of unknown size.
    """
    opsets = {(entry.domain, entry.version) for entry in proto.opset_import}
    if opsets != {('', OPSET)}:
        raise EngineError(f'{file}: opset {sorted(opsets)}: expected {OPSET} and no other domain')
    for value in (*proto.graph.input, *proto.graph.output):
        _spec(value, file)


def _export(part: Part) -> ir.Model:
    # torch.export takes one tensor given twice for one input.
    arguments = tuple(value.clone() for value in part.arguments)
    exporter_log = logging.getLogger('torch.onnx')
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                part.module.eval(), arguments, dynamo=True, opset_version=OPSET,
                verbose=False, input_names=list(part.inputs), output_names=list(part.outputs),
                external_data=False,
            )  # fmt: skip
    finally:
        exporter_log.setLevel(level)
    assert program is not None  # dynamo=True always returns the program
    return program.model


def _check_islands(model: ir.Model, file: str) -> None:
    for node in model.graph:
        if node.op_type in _IN_FLOAT32 and node.inputs[0] is not None:
            kind = node.inputs[0].dtype
            if kind in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
                raise EngineError(
                    f'{file}: {node.op_type} on {kind.name.lower()}: expected float32; add its '
                    'module to NORMS in lab/export/precision.py'
                )
    for output in model.graph.outputs:
        if output.name == 'gate' and output.dtype != ir.DataType.FLOAT:
            raise EngineError(f'{file}: gate is {output.dtype}: expected float32')


def _large_bytes(model: ir.Model) -> int:
    """Bytes of the weights that may leave the graph."""
    weights = [value.const_value for value in model.graph.initializers.values()]
    return sum(w.nbytes for w in weights if w is not None and w.nbytes > _STAYS_INSIDE)


def _store_half(model: ir.Model, smallest: int = 64) -> None:
    """Replace float32 weights by float16 ones and a Cast, which the runtime folds at load.

    What holds a number that a half cannot be stays as it is.
    """
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        stored = value.const_value
        if stored is None or stored.dtype != ir.DataType.FLOAT or stored.size < smallest:
            continue
        wide = stored.numpy()
        with np.errstate(over='ignore'):
            narrow = wide.astype(np.float16)
        if (np.isinf(narrow) & ~np.isinf(wide)).any():
            continue
        half = ir.tensor(narrow, name=f'{name}_half')
        weight = ir.Value(
            name=half.name, shape=value.shape, type=ir.TensorType(half.dtype), const_value=half
        )
        cast = ir.node('Cast', [weight], {'to': ir.DataType.FLOAT}, name=f'widen_{name}')
        widened = cast.outputs[0]
        widened.type, widened.shape = value.type, value.shape
        del graph.initializers[name]
        widened.name = name
        ir.convenience.replace_all_uses_with(value, widened)
        graph.register_initializer(weight)
        graph.insert_before(graph[0], cast)


def _forget_origin(proto: onnx.ModelProto) -> None:
    """Drop source lines and paths that the exporter writes into every node."""
    graph: Any = proto.graph
    for owner in (proto, graph):
        del owner.metadata_props[:]
        owner.doc_string = ''
    del graph.value_info[:]
    del proto.functions[:]
    for entries in (graph.node, graph.input, graph.output, graph.initializer):
        for entry in entries:
            del entry.metadata_props[:]
            entry.doc_string = ''


def _spec(value: onnx.ValueInfoProto, file: str) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    if not all(shape):
        raise EngineError(f'{file}: {value.name} has the shape {shape}: expected static sizes')
    if kind.elem_type not in _DTYPES:
        found = TensorProto.DataType.Name(kind.elem_type)
        raise EngineError(
            f'{file}: {value.name} is {found}: expected one of {sorted(_DTYPES.values())}'
        )
    return TensorSpec(name=value.name, shape=shape, dtype=_DTYPES[kind.elem_type])
