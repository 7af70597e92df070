"""How smooth a run of actions is: at most 0; closer to 0 is smoother.

Source: DySL-VLA, arXiv 2602.22896: ``C_t = -(1/k) * sum ||A_j - A_{j-1}||_2`` over the last
``k`` steps, with ``k = 5``. ``A`` is always a per-step displacement in the model's normalised
space, so that fast free motion is not mistaken for a critical action.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray


def continuity(displacements: FloatArray, window: int, weights: FloatArray) -> float | None:
    """C after the last of ``displacements``.

    Args:
        displacements: Shape (n, action_dim), normalised; only the last ``window + 1`` count.
        window: k, differences averaged; with fewer known, those are averaged.
        weights: Shape (action_dim,), factor on each dimension's difference.

    Returns:
        C, at most 0; None while fewer than two displacements are known.
    """
    if len(displacements) < 2:
        return None
    steps = np.diff(displacements[-(window + 1) :], axis=0) * weights
    return -float(np.mean(np.linalg.norm(steps, axis=1)))


class ContinuityHistory:
    """The displacements executed last, as many as one window needs."""

    def __init__(self, window: int, weights: FloatArray) -> None:
        """Start with nothing executed; arguments as in ``continuity``."""
        self.window = window
        self.weights = weights
        self._executed: deque[FloatArray] = deque(maxlen=window + 1)

    def append(self, displacement: FloatArray) -> float | None:
        """Add one executed displacement, shape (action_dim,); return C after it."""
        self._executed.append(np.asarray(displacement, dtype=np.float64))
        return self.last()

    def last(self) -> float | None:
        """C of what was executed; None while fewer than two are known."""
        return continuity(self._array(), self.window, self.weights)

    def extended_by(self, chunk: FloatArray) -> list[float | None]:
        """C after each action of a chunk that would follow what was executed.

        Args:
            chunk: Shape (n, action_dim); the first difference crosses the seam.
        """
        known = len(self._executed)
        joined = np.array([*self._executed, *chunk], dtype=np.float64)
        return [
            continuity(joined[: known + index + 1], self.window, self.weights)
            for index in range(len(chunk))
        ]

    def clear(self) -> None:
        """Forget everything: after a hold, a stop or a new instruction."""
        self._executed.clear()

    def _array(self) -> FloatArray:
        return np.array(self._executed, dtype=np.float64)


@dataclass(frozen=True)
class DropState:
    """Where a drop detector stands after some continuity value.

    Attributes:
        recent: Values of the last window, newest last: the level a drop falls from.
        leave_level: While in a drop, the value above which it ends; None outside a drop.
    """

    recent: tuple[float, ...] = ()
    leave_level: float | None = None

    @property
    def in_drop(self) -> bool:
        """Whether the phase is critical."""
        return self.leave_level is not None


@dataclass(frozen=True)
class DropDetector:
    """Finds falls of continuity, with hysteresis.

    A drop begins where C lies more than ``threshold`` below the highest value of the last
    ``window`` steps. It ends once C is back within ``threshold - hysteresis`` of that value.

    Attributes:
        threshold: Fall that begins a drop, more than 0.
        hysteresis: Recovery beyond the drop level that ends it, within [0, threshold].
        window: Steps over which the level is taken.
    """

    threshold: float
    hysteresis: float
    window: int

    def step(self, state: DropState, value: float | None) -> DropState:
        """The state after one more continuity value; unknown values change nothing."""
        if value is None:
            return state
        recent = (*state.recent, value)[-self.window :]
        if state.leave_level is not None:
            return DropState(recent, None if value > state.leave_level else state.leave_level)
        level = max(state.recent, default=value)
        if value < level - self.threshold:
            return DropState(recent, level - self.threshold + self.hysteresis)
        return DropState(recent, None)

    def first_drop(self, state: DropState, values: list[float | None]) -> int | None:
        """Index of the first value that *begins* a drop; None when none does."""
        for index, value in enumerate(values):
            following = self.step(state, value)
            if following.in_drop and not state.in_drop:
                return index
            state = following
        return None
