"""ONNX operators as torch functions, for graphs of static shape.

Each entry is given a node once, when the graph is loaded, and returns a function of the node's
tensors alone: what the node says about shapes is read then, from constants, because a captured
CUDA graph cannot ask the device for a number. Source: the ONNX operator specification, opset 18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dysl_vla_ros.errors import EngineError

Apply = Callable[..., Any]
"""Tensors of a node (None where an optional one is left out) -> its output or outputs."""

DTYPES = {
    1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16,
    11: torch.float64,
}  # fmt: skip
"""ONNX's type numbers."""


@dataclass(frozen=True)
class Node:
    """A node of the graph with what is known before it runs.

    Attributes:
        operator: ONNX name.
        attributes: Values by name.
        constants: Input position -> its value, where it is a constant of the graph.
        inputs: Number of inputs.
        outputs: Number of outputs.
    """

    operator: str
    attributes: Mapping[str, Any]
    constants: Mapping[int, Tensor]
    inputs: int
    outputs: int

    def integers(self, position: int) -> list[int]:
        """A constant input, or the attribute of older opsets, as a list.

        Raises:
            EngineError: It is only known at run time.
        """
        if position not in self.constants:
            raise EngineError(
                f'{self.operator}: input {position} is computed at run time: expected a constant, '
                'since graphs have static shapes'
            )
        return [int(value) for value in self.constants[position].reshape(-1).tolist()]

    def optional_integers(self, position: int, attribute: str) -> list[int] | None:
        """A constant input that may be absent, or be an attribute instead."""
        if position in self.constants or position < self.inputs:
            return self.integers(position)
        found = self.attributes.get(attribute)
        return None if found is None else [int(value) for value in found]


def build(node: Node) -> Apply:
    """The function of one node.

    Raises:
        EngineError: An operator that is not among those below.
    """
    if node.operator in _PLAIN:
        return _PLAIN[node.operator]
    if node.operator in _BUILDERS:
        return _BUILDERS[node.operator](node)
    known = ', '.join(sorted([*_PLAIN, *_BUILDERS]))
    raise EngineError(
        f'operator {node.operator}: the cuda back end does not know it; expected one of {known}'
    )


def _pow(node: Node) -> Apply:
    exponent = node.constants.get(1)
    if exponent is not None and exponent.numel() == 1 and float(exponent) == 2.0:
        return lambda x, _: x * x
    return lambda x, y: torch.pow(x, y).to(x.dtype)


def _cast(node: Node) -> Apply:
    kind = DTYPES.get(node.attributes['to'])
    if kind is None:
        raise EngineError(f'Cast to ONNX type {node.attributes["to"]}: expected {sorted(DTYPES)}')
    return lambda x: x.to(kind)


def _clip(node: Node) -> Apply:
    return lambda x, low=None, high=None: torch.clamp(x, low, high)


def _reshape(node: Node) -> Apply:
    shape, keep_zero = node.integers(1), bool(node.attributes.get('allowzero', 0))

    def apply(x: Tensor, _: Tensor) -> Tensor:
        sizes = [
            x.shape[i] if size == 0 and not keep_zero else size for i, size in enumerate(shape)
        ]
        return x.reshape(sizes)

    return apply


def _transpose(node: Node) -> Apply:
    order = node.attributes.get('perm')
    return lambda x: x.permute(order or tuple(range(x.ndim))[::-1])


def _unsqueeze(node: Node) -> Apply:
    axes = node.optional_integers(1, 'axes') or []

    def apply(x: Tensor, *_: Tensor) -> Tensor:
        for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return apply


def _squeeze(node: Node) -> Apply:
    axes = node.optional_integers(1, 'axes')
    return lambda x, *_: x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _flatten(node: Node) -> Apply:
    axis = node.attributes.get('axis', 1)
    return lambda x: x.reshape(x.shape[:axis].numel(), -1)


def _concat(node: Node) -> Apply:
    axis = node.attributes['axis']
    return lambda *parts: torch.cat(parts, dim=axis)


def _split(node: Node) -> Apply:
    axis, sizes = node.attributes.get('axis', 0), node.optional_integers(1, 'split')

    def apply(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        # Equal parts, the last one smaller where it does not divide.
        return x.split(sizes or -(-x.shape[axis] // node.outputs), dim=axis)

    return apply


def _slice(node: Node) -> Apply:
    starts, ends = node.integers(1), node.integers(2)
    axes = node.integers(3) if node.inputs > 3 else list(range(len(starts)))
    steps = node.integers(4) if node.inputs > 4 else [1] * len(starts)
    if min(steps) < 1:
        raise EngineError(f'Slice with steps {steps}: expected steps of at least 1')

    def apply(x: Tensor, *_: Tensor) -> Tensor:
        parts = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            parts[axis] = slice(start, end, step)
        return x[tuple(parts)]

    return apply


def _gather(node: Node) -> Apply:
    axis = node.attributes.get('axis', 0)

    def apply(x: Tensor, index: Tensor) -> Tensor:
        index = torch.where(index < 0, index + x.shape[axis], index)
        rows = x.index_select(axis, index.reshape(-1))
        place = axis % x.ndim
        return rows.reshape(*x.shape[:place], *index.shape, *x.shape[place + 1 :])

    return apply


def _expand(node: Node) -> Apply:
    shape = node.integers(1)
    return lambda x, _: x.expand(torch.broadcast_shapes(x.shape, shape))


def _reduction(function: Callable[..., Tensor]) -> Callable[[Node], Apply]:
    def builder(node: Node) -> Apply:
        axes = node.optional_integers(1, 'axes')
        keep = bool(node.attributes.get('keepdims', 1))
        if not axes and node.attributes.get('noop_with_empty_axes', 0):
            return lambda x, *_: x
        return lambda x, *_: function(x, dim=axes or list(range(x.ndim)), keepdim=keep)

    return builder


def _softmax(node: Node) -> Apply:
    axis = node.attributes.get('axis', -1)
    return lambda x: torch.softmax(x, dim=axis)


def _layer_norm(node: Node) -> Apply:
    axis, epsilon = node.attributes.get('axis', -1), node.attributes.get('epsilon', 1e-5)

    def apply(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.layer_norm(x, x.shape[axis:], scale, bias, epsilon)

    return apply


def _instance_norm(node: Node) -> Apply:
    epsilon = node.attributes.get('epsilon', 1e-5)
    return lambda x, scale, bias: functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _padding(node: Node) -> list[int]:
    """The same before and after, per axis."""
    mode = node.attributes.get('auto_pad', b'NOTSET')
    if mode not in (b'NOTSET', b'VALID'):
        raise EngineError(f'{node.operator}: auto_pad {mode!r}: expected NOTSET or VALID')
    pads = [int(pad) for pad in node.attributes.get('pads', (0, 0, 0, 0))]
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        raise EngineError(f'{node.operator}: pads {pads}: expected the same at both ends')
    return pads[:half]


def _convolution(node: Node) -> Apply:
    padding, get = _padding(node), node.attributes.get

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        one = [1] * (x.ndim - 2)
        return functional.conv2d(
            x, weight, bias, list(get('strides', one)), padding, list(get('dilations', one)),
            get('group', 1),
        )  # fmt: skip

    return apply


def _average_pool(node: Node) -> Apply:
    padding, kernel = _padding(node), list(node.attributes['kernel_shape'])
    strides = list(node.attributes.get('strides', [1] * len(kernel)))
    counts = bool(node.attributes.get('count_include_pad', 0))
    return lambda x: functional.avg_pool2d(x, kernel, strides, padding, count_include_pad=counts)


def _gemm(node: Node) -> Apply:
    get = node.attributes.get
    alpha, beta = float(get('alpha', 1.0)), float(get('beta', 1.0))

    def apply(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if get('transA', 0) else a
        b = b.t() if get('transB', 0) else b
        product = a @ b if alpha == 1.0 else alpha * (a @ b)
        return product if c is None else product + (c if beta == 1.0 else beta * c)

    return apply


def _constant_of_shape(node: Node) -> Apply:
    shape, value = node.integers(0), node.attributes.get('value')
    return lambda at: (
        torch.zeros(shape, device=at.device)
        if value is None
        else value.to(at.device).reshape(()).expand(shape)
    )


def _divide(x: Tensor, y: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    whole = not (x.is_floating_point() or y.is_floating_point())
    return torch.div(x, y, rounding_mode='trunc' if whole else None)


_PLAIN: dict[str, Apply] = {
    'Abs': torch.abs, 'Add': torch.add, 'And': torch.logical_and, 'Cos': torch.cos,
    'Div': _divide, 'Equal': torch.eq, 'Erf': torch.erf, 'Exp': torch.exp,
    'Greater': torch.gt, 'GreaterOrEqual': torch.ge, 'Identity': lambda x: x, 'Less': torch.lt,
    'LessOrEqual': torch.le, 'Log': torch.log, 'MatMul': torch.matmul, 'Mul': torch.mul,
    'Neg': torch.neg, 'Not': torch.logical_not, 'Or': torch.logical_or,
    'Reciprocal': torch.reciprocal, 'Relu': torch.relu, 'Sigmoid': torch.sigmoid,
    'Sin': torch.sin, 'Sqrt': torch.sqrt, 'Sub': torch.sub, 'Tanh': torch.tanh,
    'Where': torch.where,
}  # fmt: skip

_BUILDERS: dict[str, Callable[[Node], Apply]] = {
    'AveragePool': _average_pool, 'Cast': _cast, 'Clip': _clip, 'Concat': _concat,
    'ConstantOfShape': _constant_of_shape, 'Conv': _convolution, 'Expand': _expand,
    'Flatten': _flatten, 'Gather': _gather, 'Gemm': _gemm,
    'InstanceNormalization': _instance_norm, 'LayerNormalization': _layer_norm, 'Pow': _pow,
    'ReduceMax': _reduction(torch.amax), 'ReduceMean': _reduction(torch.mean),
    'ReduceSum': _reduction(torch.sum), 'Reshape': _reshape, 'Slice': _slice,
    'Softmax': _softmax, 'Split': _split, 'Squeeze': _squeeze, 'Transpose': _transpose,
    'Unsqueeze': _unsqueeze,
}  # fmt: skip
