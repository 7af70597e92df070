"""Attention that an exporter took apart, put together again.

ONNX at opset 18 has no attention: it is written as two products with a softmax between, for which
the device would write and read back every score. Found here by its shape, it becomes torch's
``scaled_dot_product_attention``, whose kernels keep the scores on the chip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from dysl_vla_ros.engines.cuda.onnx_steps import Step
from dysl_vla_ros.engines.cuda.onnx_torch_ops import Node

ATTENTION = 'Attention'
_MASKED = 4
"""Inputs of an attention with a bias: queries, keys, values, and the bias."""


def join_attention(
    steps: Sequence[Step], constants: Mapping[str, Tensor], outputs: Sequence[str]
) -> list[Step]:
    """Replace the last product of every attention by the whole of it.

    What it made needless stays in the list, where no plan picks it any more.

    Args:
        steps: Of a graph, in order.
        constants: Its constants by name.
        outputs: Names that are read outside.
    """
    made = {name: step for step in steps for name in step.writes}
    read = Counter(name for step in steps for name in step.reads)
    read.update(outputs)
    return [_joined(step, made, read, constants) or step for step in steps]


def is_masked(step: Step) -> bool:
    """Whether a step is an attention that some keys are hidden from."""
    return step.node.operator == ATTENTION and len(step.reads) == _MASKED


def attend(step: Step, given: Sequence[Tensor], padding: int | None) -> Tensor:
    """Run a masked attention.

    Args:
        step: See ``is_masked``.
        given: What it reads.
        padding: The first so many keys are those that the bias hides, and no other: they are left
            out instead, which gives the same sums and needs no bias. None: not known.
    """
    if padding is None:
        found: Tensor = step.apply(*given)
    else:
        query, key, value = given[:3]
        found = step.apply(query, key[..., padding:, :], value[..., padding:, :])
    return found


def _joined(
    last: Step, made: Mapping[str, Step], read: Counter[str], constants: Mapping[str, Tensor]
) -> Step | None:
    """The attention that ends with this product, if it is one."""
    if last.node.operator != 'MatMul':
        return None
    softmax = made.get(last.reads[0])
    if softmax is None or softmax.node.operator != 'Softmax' or read[last.reads[0]] > 1:
        return None
    if softmax.node.attributes.get('axis', -1) != -1 or read[softmax.reads[0]] > 1:
        return None
    scores, bias = made.get(softmax.reads[0]), None
    if scores is not None and scores.node.operator == 'Add':
        products = [n for n in scores.reads if _is(made.get(n), 'MatMul') and read[n] == 1]
        if len(products) != 1:
            return None
        (bias,) = (n for n in scores.reads if n != products[0])
        scores = made[products[0]]
    if scores is None or scores.node.operator != 'MatMul':
        return None
    query, left = _unscaled(scores.reads[0], made, constants)
    turned, right = _unscaled(scores.reads[1], made, constants)
    key, shape = _turned_back(turned, made)
    reads = (query, key, last.reads[1], *(() if bias is None else (bias,)))
    attributes = {'scale': left * right, 'key': shape}
    node = Node(ATTENTION, attributes, {}, len(reads), 1)
    return Step(_attention(left * right, shape), reads, last.writes, node)


def _attention(scale: float, shape: tuple[int, ...] | None) -> Callable[..., Tensor]:
    def apply(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        key = key.transpose(-1, -2) if shape is None else key.reshape(_with_rows(shape, key))
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=scale
        )

    return apply


def _with_rows(shape: tuple[int, ...], key: Tensor) -> tuple[int, ...]:
    """The shape with as many keys as there are: some may have been left out."""
    return (*shape[:-2], key.shape[-2], shape[-1])


def _is(step: Step | None, operator: str) -> bool:
    return step is not None and step.node.operator == operator


def _unscaled(
    name: str, made: Mapping[str, Step], constants: Mapping[str, Tensor]
) -> tuple[str, float]:
    """What a constant factor was multiplied with, and the factor."""
    step = made.get(name)
    if step is not None and step.node.operator == 'Mul':
        for mine, other in (step.reads, step.reads[::-1]):
            factor = constants.get(other)
            if factor is not None and factor.numel() == 1:
                return mine, float(factor)
    return name, 1.0


def _turned_back(name: str, made: Mapping[str, Step]) -> tuple[str, tuple[int, ...] | None]:
    """The keys before their last two axes were swapped, and their shape.

    Torch's exporter swaps them with one axis for batch and heads: reshape, transpose, reshape.
    The shape is None where the keys stay swapped.
    """
    outer = made.get(name)
    turn = made.get(outer.reads[0]) if outer is not None else None
    inner = made.get(turn.reads[0]) if turn is not None else None
    if outer is None or turn is None or inner is None:
        return name, None
    if [s.node.operator for s in (outer, turn, inner)] != ['Reshape', 'Transpose', 'Reshape']:
        return name, None
    if tuple(turn.node.attributes.get('perm') or ()) != (0, 2, 1):
        return name, None
    after, before = outer.node.integers(1), inner.node.integers(1)
    if min(after) < 1 or after[-2:] != before[-2:][::-1]:
        return name, None
    return inner.reads[0], (*after[:-2], after[-1], after[-2])
