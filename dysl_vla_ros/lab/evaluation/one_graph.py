"""All layers of a bundle in one ONNX graph: what cutting the backbone into graphs costs.

Skipping needs a graph per layer; nobody needs the joined one. It is timed beside the chain, with
the same gates as outputs, so that the price of the cuts is a measured number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.engines.onnxruntime.session import (
    first_line,
    load_graph,
    session_options,
)
from dysl_vla_ros.errors import EngineError

_LARGEST = 1_500_000_000
"""Of all layers [bytes]: a graph with its weights is one message, of less than 2 GB."""
_CLOSE = 1e-3


class OneGraph:
    """One session with every layer, bound once."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Join and load.

        Args:
            bundle: Verified.
            threads: CPU threads, as the chain has.

        Raises:
            EngineError: The layers cannot be joined; says why.
        """
        try:
            self._session = load_graph(_joined(bundle).SerializeToString(),
                                       session_options(threads))  # fmt: skip
        except EngineError:
            raise
        except Exception as error:  # onnx and ONNX Runtime raise many kinds
            raise EngineError(f'the layers cannot be joined: {first_line(error)}') from error
        state = bundle.manifest.segments[_name(0)].inputs[0]
        self._hidden = np.zeros(state.shape, np.dtype(state.dtype))
        self._last = np.zeros_like(self._hidden)
        self._binding = self._session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, self._session.get_inputs()[0].name, self._hidden),
            (self._binding.bind_output, self._session.get_outputs()[-1].name, self._last),
        ):
            bind(name, 'cpu', 0, array.dtype.type, array.shape, array.ctypes.data)
        for gate in self._session.get_outputs()[:-1]:
            self._binding.bind_output(gate.name, 'cpu')

    def begin(self, hidden: NDArray[Any]) -> None:
        """Set the state that enters the first layer."""
        np.copyto(self._hidden, hidden, casting='same_kind')

    def run(self) -> NDArray[Any]:
        """Run every layer; the state after the last, overwritten by the next run."""
        self._session.run_with_iobinding(self._binding)
        return self._last

    def check(self, wanted: NDArray[Any]) -> None:
        """Refuse to be compared with a chain that computes something else.

        Args:
            wanted: The chain's state after the last layer.

        Raises:
            EngineError: They differ by more than a thousandth of the largest value.
        """
        off = float(np.max(np.abs(self.run() - wanted)))
        if not off <= _CLOSE * float(np.max(np.abs(wanted))):
            raise EngineError(f'the joined layers differ from the chain by {off:.3g}')


def _name(layer: int) -> str:
    return f'layer_{layer:02d}'


def _joined(bundle: Bundle) -> Any:
    import onnx
    from onnx import compose

    manifest = bundle.manifest
    names = [_name(layer) for layer in range(manifest.layout.layers_total)]
    size = sum(entry.bytes for file, entry in manifest.files.items()
               if any(name in file for name in names))  # fmt: skip
    if size > _LARGEST:
        raise EngineError(f'layers of {size / 1e9:.1f} GB do not fit into one ONNX file')
    if any(len(manifest.segments[name].inputs) > 1 for name in names):
        raise EngineError('its layers read a mask beside the state')
    whole: Any = None
    gates: list[str] = []
    for number, name in enumerate(names):
        part = compose.add_prefix(onnx.load(str(bundle.graph(name))), f'{name}/')
        gates += [found.name for found in part.graph.output if found.name.endswith('/gate')]
        if whole is None:
            whole = part
        else:
            before, state = f'{names[number - 1]}/hidden_out', f'{name}/hidden'
            whole = compose.merge_models(whole, part, [(before, state)],
                                         outputs=[*gates, f'{name}/hidden_out'])  # fmt: skip
    return whole
