"""No model: predictable actions, and a record of which parts ran.

For trying a robot's wiring (``fake_bundle``) and for tests, which can set every gate and have
the buffers poisoned after reuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.errors import EngineError


@dataclass(frozen=True)
class FakeHidden:
    """A buffer of the fake engine: the normalised actions, and a row that tells the path.

    Attributes:
        side: Which of the two buffers.
        values: Shape (horizon + 1, action_dim).
    """

    side: int
    values: FloatArray = field(repr=False)


class FakeEngine:
    """The engine protocol without a model; see ``engines.engine.Engine``.

    Attributes:
        calls: Every call in order: ``('encode',)``, ``('layer', 3)``, ``('score', 4)``, ...
        fingerprint: A number that depends on every layer and adapter before the last decode.
    """

    def __init__(
        self,
        layout: LayerLayout,
        horizon: int = 8,
        action_dim: int = 7,
        *,
        actions: Callable[[Mapping[str, NDArray[Any]]], FloatArray] | None = None,
        gates: Mapping[int, float] | None = None,
        bridge_error: float = 0.0,
        poison: bool = False,
    ) -> None:
        """Set up two buffers, as a device would.

        Args:
            layout: Depth and static layers.
            horizon: Actions per chunk.
            action_dim: Numbers per action.
            actions: Model inputs -> normalised actions (horizon, action_dim); default rest.
            gates: Dynamic layer -> skip score; 0 where not given.
            bridge_error: What each adapter adds to every action: what skipping costs.
            poison: Fill a buffer with NaN as soon as the next call has consumed it.
        """
        self._layout = layout
        self._shape = (horizon, action_dim)
        self._actions = actions or (lambda inputs: np.zeros(self._shape))
        self._gates = dict(gates or {})
        self._bridge_error = bridge_error
        self._poison = poison
        self._buffers = [np.zeros((horizon + 1, action_dim)) for _ in range(2)]
        self.calls: list[tuple[Any, ...]] = []
        self.fingerprint = float('nan')
        self.closed = False

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._layout

    @property
    def device(self) -> str:
        """In words, for diagnostics."""
        return 'fake engine (no model)'

    @property
    def layers_run(self) -> list[int]:
        """Layers in the order in which they ran."""
        return self.called('layer')

    def called(self, what: str) -> list[int]:
        """Layers for which a kind of call was made, in order."""
        return [call[1] for call in self.calls if call[0] == what and len(call) > 1]

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> FakeHidden:
        """The actions to come, written into the first buffer."""
        self.calls.append(('encode',))
        planned = np.asarray(self._actions(inputs), dtype=np.float64)
        if planned.shape != self._shape:
            raise EngineError(f'actions of shape {planned.shape}: expected {self._shape}')
        self._buffers[0][:-1] = planned
        self._buffers[0][-1] = 1.0
        return FakeHidden(0, self._buffers[0])

    def run_layer(self, layer: int, hidden: FakeHidden) -> FakeHidden:
        """Leaves the actions, marks the layer."""
        self.calls.append(('layer', layer))
        return self._step(hidden, layer + 1.0, 0.0)

    def skip_score(self, layer: int, hidden: FakeHidden) -> float:
        """The configured gate."""
        self.calls.append(('score', layer))
        return self._gates.get(layer, 0.0)

    def bridge(self, layer: int, hidden: FakeHidden) -> FakeHidden:
        """Adds the configured error, marks the adapter."""
        self.calls.append(('bridge', layer))
        return self._step(hidden, -layer - 1.0, self._bridge_error)

    def keep(self, hidden: FakeHidden) -> object:
        """A copy of the buffer."""
        self.calls.append(('keep',))
        return hidden.values.copy()

    def restore(self, kept: object) -> FakeHidden:
        """Copy back into the first buffer."""
        self.calls.append(('restore',))
        assert isinstance(kept, np.ndarray)
        self._buffers[0][:] = kept
        return FakeHidden(0, self._buffers[0])

    def decode(self, hidden: FakeHidden) -> FloatArray:
        """The actions of the buffer."""
        self.calls.append(('decode',))
        self.fingerprint = float(hidden.values[-1, 0])
        return hidden.values[:-1].copy()

    def synchronize(self) -> None:
        """Everything ran at once."""

    def close(self) -> None:
        """Nothing to release."""
        self.closed = True

    def _step(self, hidden: FakeHidden, mark: float, error: float) -> FakeHidden:
        source, target = self._buffers[hidden.side], self._buffers[1 - hidden.side]
        np.copyto(target, source)
        target[:-1] += error
        target[-1] = target[-1] * 0.5 + mark
        if self._poison:
            source.fill(np.nan)
        return FakeHidden(1 - hidden.side, target)
