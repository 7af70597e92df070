"""An exported ONNX graph as a torch function.

The Python loop over nodes runs only while a CUDA graph is captured, so its speed does not matter;
what it launches is what the graph replays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from dysl_vla_ros.engines.cuda.onnx_torch_ops import Apply, Node, build
from dysl_vla_ros.errors import EngineError


@dataclass(frozen=True)
class _Step:
    """One node: what it reads and writes, and what no later step reads any more."""

    apply: Apply
    reads: tuple[str, ...]
    writes: tuple[str, ...]


class OnnxFunction:
    """A graph on one device; constants are folded when it is loaded."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load a graph.

        Args:
            path: Of the ONNX file, from ``Bundle.graph``, which checks where its weights lie.
            device: Where its weights go and its inputs lie.

        Raises:
            EngineError: It cannot be read, or has an operator that is not known.
        """
        try:
            model = onnx.load(str(path))
        except Exception as error:  # onnx and protobuf raise many kinds
            raise EngineError(f'{path.name}: cannot be read: {error}') from error
        self._name = path.name
        self._device = device
        self._constants: dict[str, Tensor] = {}
        for weight in model.graph.initializer:
            self._constants[weight.name] = _tensor(weight, device)
        self._inputs = tuple(
            value.name for value in model.graph.input if value.name not in self._constants
        )
        self._steps: list[_Step] = []
        with torch.no_grad():
            for node in model.graph.node:
                self._add(node)
        self._plans: dict[tuple[frozenset[str], tuple[str, ...]], list[_Step]] = {}
        self._drop_unread([value.name for value in model.graph.output])

    def __call__(self, given: Mapping[str, Tensor], wanted: Sequence[str]) -> tuple[Tensor, ...]:
        """Compute some values from others, running only the nodes that this needs.

        Args:
            given: Values by name: inputs of the graph, or any value inside it.
            wanted: Names of the values to return.

        Raises:
            EngineError: A wanted value depends on an input that is not given.
        """
        key = frozenset(given), tuple(wanted)
        steps = self._plans.get(key)
        if steps is None:
            steps = self._plans[key] = self._plan(*key)
        last = {name: index for index, step in enumerate(steps) for name in step.reads}
        values = dict(given)
        for index, step in enumerate(steps):
            outputs = step.apply(*(self._value(name, values) for name in step.reads))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            values.update(zip(step.writes, outputs, strict=False))
            for name in step.reads:  # what nobody reads again makes room in the graph's memory
                if last[name] == index and name in values and name not in wanted:
                    del values[name]
        return tuple(_known(self._value(name, values)) for name in wanted)

    def _add(self, node: Any) -> None:
        """Fold a node of constants, or append it as a step."""
        attributes = {item.name: _attribute(item) for item in node.attribute}
        if node.op_type == 'Constant':
            (value,) = attributes.values()
            known = value if isinstance(value, Tensor) else torch.tensor(value)
            self._constants[node.output[0]] = known.to(self._device)
            return
        constants = {
            position: self._constants[name]
            for position, name in enumerate(node.input)
            if name in self._constants
        }
        try:
            described = Node(
                node.op_type, attributes, constants, len(node.input), len(node.output)
            )
            apply = build(described)
        except EngineError as error:
            raise EngineError(f'{self._name}: {error}') from None
        if len(constants) == len(node.input):
            outputs = apply(*constants.values())
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            self._constants.update(zip(node.output, outputs, strict=False))
            return
        self._steps.append(_Step(apply, tuple(node.input), tuple(node.output)))

    def _drop_unread(self, outputs: Sequence[str]) -> None:
        """Free constants that only folding read, such as weights before they were widened."""
        read = {name for step in self._steps for name in step.reads} | set(outputs)
        self._constants = {k: v for k, v in self._constants.items() if k in read}

    def _plan(self, given: frozenset[str], wanted: tuple[str, ...]) -> list[_Step]:
        needed = set(wanted)
        chosen = []
        for step in reversed(self._steps):
            if needed & (set(step.writes) - given):
                chosen.append(step)
                needed |= set(step.reads)
        made = {name for step in chosen for name in step.writes}
        missing = sorted(needed - given - made - set(self._constants) - {''})
        if missing:
            raise EngineError(
                f'{self._name}: {", ".join(wanted)} depends on {", ".join(missing)}: expected '
                f'nothing but {", ".join(sorted(given))}; export the bundle again'
            )
        return chosen[::-1]

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor | None:
        if not name:  # an optional input that is left out
            return None
        return values[name] if name in values else self._constants[name]


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _tensor(proto: TensorProto, device: torch.device) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy()).to(device)


def _attribute(item: Any) -> Any:
    value = helper.get_attribute_value(item)
    return _tensor(value, torch.device('cpu')) if isinstance(value, TensorProto) else value
