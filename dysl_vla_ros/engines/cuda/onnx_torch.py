"""An exported ONNX graph as a torch function.

The Python loop over nodes runs only while a CUDA graph is captured, so its speed does not matter;
what it launches is what the graph replays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from dysl_vla_ros.engines.cuda.onnx_attention import join_attention
from dysl_vla_ros.engines.cuda.onnx_steps import Step, needed
from dysl_vla_ros.engines.cuda.onnx_torch_ops import Node, build
from dysl_vla_ros.engines.cuda.pieces import Compiled, Masked, Piece, Together, cut, run_pieces
from dysl_vla_ros.errors import EngineError


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
            model = onnx.load(str(path), load_external_data=False)
            weights = {one.name: _weight(one, path.parent, device)
                       for one in model.graph.initializer}  # fmt: skip
        except Exception as error:  # onnx and protobuf raise many kinds
            raise EngineError(f'{path.name}: cannot be read: {error}') from error
        self._name = path.name
        self._device = device
        self._constants: dict[str, Tensor] = weights
        self._inputs = tuple(
            value.name for value in model.graph.input if value.name not in self._constants
        )
        self._steps: list[Step] = []
        with torch.no_grad():
            for node in model.graph.node:
                self._add(node)
        outputs = [value.name for value in model.graph.output]
        self._steps = join_attention(self._steps, self._constants, outputs)
        self._plans: dict[tuple[frozenset[str], tuple[str, ...]], tuple[Piece, ...]] = {}
        self._drop_unread(outputs)

    def __call__(
        self,
        given: Mapping[str, Tensor],
        wanted: Sequence[str],
        compiled: Mapping[str, Compiled] | None = None,
        together: Together | None = None,
        padding: int | None = None,
    ) -> tuple[Tensor, ...]:
        """Compute some values from others, running only the nodes that this needs.

        Args:
            given: Values by name: inputs of the graph, or any value inside it.
            wanted: Names of the values to return.
            compiled: See ``pieces.run_pieces``, as the rest.
            together: Default: one after the other.
            padding: Keys that a masked attention leaves out at the front.

        Raises:
            EngineError: A wanted value depends on an input that is not given.
        """
        pieces = self.pieces(tuple(given), wanted)
        return run_pieces(
            pieces, given, wanted, self._constants, compiled or {}, together or one_by_one, padding
        )

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """Weights and whatever else was folded, by name."""
        return self._constants

    def pieces(self, given: Sequence[str], wanted: Sequence[str]) -> tuple[Piece, ...]:
        """How some values are computed from others.

        Raises:
            EngineError: A wanted value depends on an input that is not given.
        """
        key = frozenset(given), tuple(wanted)
        if key not in self._plans:
            steps, read = needed(self._steps, *key)
            missing = sorted(read - key[0] - set(self._constants))
            if missing:
                raise EngineError(
                    f'{self._name}: {", ".join(wanted)} depends on {", ".join(missing)}: expected '
                    f'nothing but {", ".join(sorted(given))}; export the bundle again'
                )
            self._plans[key] = cut(steps, given, wanted, self._constants)
        return self._plans[key]

    def mask_of(self, given: Sequence[str], wanted: Sequence[str]) -> str:
        """Name of what a masked attention adds to its scores; '' where none is masked."""
        masks = [piece.step.reads[3] for piece in self.pieces(given, wanted)
                 if isinstance(piece, Masked)]  # fmt: skip
        return masks[0] if masks else ''

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
        self._steps.append(Step(apply, tuple(node.input), tuple(node.output), described))

    def _drop_unread(self, outputs: Sequence[str]) -> None:
        """Free constants that only folding read, such as weights before they were widened."""
        read = {name for step in self._steps for name in step.reads} | set(outputs)
        self._constants = {k: v for k, v in self._constants.items() if k in read}


def one_by_one(bodies: Sequence[Callable[[], None]]) -> None:
    """Run bodies in turn."""
    for body in bodies:
        body()


def _weight(proto: TensorProto, folder: Path, device: torch.device) -> Tensor:
    """A weight of the graph; one beside it is copied once, from the mapped file to the device."""
    if proto.data_location != TensorProto.EXTERNAL:
        return _tensor(proto, device)
    place = {entry.key: entry.value for entry in proto.external_data}
    kind = helper.tensor_dtype_to_np_dtype(proto.data_type)
    # Copy-on-write: torch asks for memory that may be written.
    mapped = np.memmap(
        folder / place['location'], kind, 'c', int(place.get('offset', 0)), tuple(proto.dims)
    )
    return torch.from_numpy(mapped).to(device, copy=True)


def _tensor(proto: TensorProto, device: torch.device) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy()).to(device)


def _attribute(item: Any) -> Any:
    value = helper.get_attribute_value(item)
    return _tensor(value, torch.device('cpu')) if isinstance(value, TensorProto) else value
