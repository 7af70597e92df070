"""What the graphs of a bundle must compute and read, counted in the graphs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.evaluation.roofline import Part

STAGES = ('encode', 'backbone', 'decode')


def stage_parts(bundle: Bundle) -> dict[str, tuple[Part, ...]]:
    """The products of every stage, segment by segment; the backbone is its layers.

    Raises:
        EngineError: onnx is not installed, or a graph cannot be read.
    """
    found: dict[str, list[Part]] = {stage: [] for stage in STAGES}
    for name in bundle.manifest.segments:
        if name in ('vision', 'embed'):
            found['encode'].append(graph_part(bundle, name))
        elif name == 'head':
            found['decode'].append(graph_part(bundle, name))
        elif name.startswith('layer_'):
            found['backbone'].append(graph_part(bundle, name))
    return {stage: tuple(parts) for stage, parts in found.items()}


def graph_part(bundle: Bundle, name: str) -> Part:
    """Multiply-adds of one segment, and the numbers in the matrices that they read.

    Raises:
        EngineError: onnx is not installed, or the graph cannot be read.
    """
    try:
        import onnx
    except ImportError as error:
        raise EngineError(f'floors need onnx ({error}): pip install onnx') from None
    path = bundle.graph(name)
    try:
        model = onnx.load(str(path), load_external_data=False)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # onnx and protobuf raise many kinds
        raise EngineError(f'{path.name}: cannot be read: {error}') from error
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.output, *inferred.value_info)
    }
    constant = {weight.name for weight in inferred.initializer}
    shapes |= {weight.name: list(weight.dims) for weight in inferred.initializer}
    weights = products = 0.0
    for node in inferred.node:
        if node.op_type in ('Cast', 'Transpose', 'Identity') and node.input[0] in constant:
            constant.add(node.output[0])
        count = _products(node, shapes)
        if not count:
            continue
        products += count
        weights += sum(
            prod(shapes[name]) for name in node.input[:2] if name in constant and name in shapes
        )
    return Part(weights, products)


def _products(node: Any, shapes: Mapping[str, list[int]]) -> float:
    """Multiply-adds of one node; 0 where it is no product, or its shape is not known."""
    made = shapes.get(node.output[0])
    first, second = (shapes.get(name) for name in (*node.input[:2], '', '')[:2])
    if not made or first is None or second is None:
        return 0.0
    if node.op_type == 'MatMul':
        return float(prod(made) * first[-1])
    if node.op_type == 'Gemm':
        turned = any(one.name == 'transA' and one.i for one in node.attribute)
        return float(prod(made) * first[0 if turned else 1])
    if node.op_type == 'Conv':
        return float(prod(made) * prod(second[1:]))
    return 0.0
