"""How far apart two engines are: numbers, what is allowed, and what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """How far an engine may be from the reference.

    Attributes:
        cosine: Least cosine between two states or chunks.
        relative: Largest difference of a number, as a share of the largest number of that state.
        actions: Largest difference of a normalised action after a whole pass.
        gate: Largest difference of a skip score.
    """

    cosine: float
    relative: float
    actions: float
    gate: float

    def __post_init__(self) -> None:
        """Refuse budgets that nothing or everything meets."""
        if not -1.0 < self.cosine <= 1.0:
            raise ConfigError('budget.cosine', self.cosine, 'within (-1, 1]')
        for name in ('relative', 'actions', 'gate'):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ConfigError(f'budget.{name}', getattr(self, name), 'a number from 0 on')


BUDGETS = {
    'fp32': Budget(cosine=0.99999, relative=1e-3, actions=1e-3, gate=1e-3),
    'fp16': Budget(cosine=0.9995, relative=2e-2, actions=2e-2, gate=2e-2),
}
"""By the precision of the bundle. A thousandth of the action range is far below what an arm
repeats; halves have a thousandth per operation, and some hundred follow each other."""


@dataclass(frozen=True)
class SegmentRow:
    """One segment, the worst over all observations.

    Attributes:
        name: ``encode`` (vision and embed), ``layer_07``, ``bridge_08`` or ``head``.
        cosine: Least.
        largest: Largest difference of one number.
        relative: That, as a share of the largest number.
        gate: Largest difference of the next layer's score; None where no gate is.
        within: Whether the budget holds.
    """

    name: str
    cosine: float
    largest: float
    relative: float
    gate: float | None
    within: bool


@dataclass(frozen=True)
class PassRow:
    """One way through the stack, the worst over all observations.

    Attributes:
        allow: Where each segment is jumped; its end where it is not.
        layers_run: Layers run.
        cosine: Least, of the actions.
        largest: Largest difference of a normalised action.
        within: Whether the budget holds.
        exit_layer: Of a fixed exit, for which ``allow`` says nothing; None of any other way.
    """

    allow: tuple[int, ...]
    layers_run: int
    cosine: float
    largest: float
    within: bool
    exit_layer: int | None = None


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        segments: Empty when the engine's states cannot be read.
        passes: Whole passes.
        resumed_equal: Whether every resumed re-run was the full pass bit for bit; None where
            nothing can be skipped.
        decisions: Scores asked for in passes with live controllers.
        decided_otherwise: Of these, decisions that came out differently. Scores beside the
            threshold may; it is no failure by itself.
        within: Whether everything holds.
    """

    segments: tuple[SegmentRow, ...]
    passes: tuple[PassRow, ...]
    resumed_equal: bool | None
    decisions: int
    decided_otherwise: int
    within: bool = field(init=False)

    def __post_init__(self) -> None:
        """Sum up."""
        segments = all(row.within for row in self.segments)
        passes = all(row.within for row in self.passes)
        object.__setattr__(self, 'within', segments and passes and self.resumed_equal is not False)


class Worst:
    """The worst of several comparisons."""

    def __init__(self) -> None:
        self.cosine, self.largest, self.relative = 1.0, 0.0, 0.0
        self.gate: float | None = None

    def add(self, value: NDArray[Any], wanted: NDArray[Any]) -> None:
        """Compare two arrays."""
        cosine, largest, relative = difference(value, wanted)
        # NaN must win: min() and max() would drop it.
        self.cosine = cosine if not cosine >= self.cosine else self.cosine
        self.largest = largest if not largest <= self.largest else self.largest
        self.relative = relative if not relative <= self.relative else self.relative

    def add_gate(self, value: float, wanted: float) -> None:
        """Compare two scores."""
        off = abs(value - wanted)
        self.gate = off if self.gate is None or not off <= self.gate else self.gate

    def row(self, name: str, budget: Budget) -> SegmentRow:
        """Judge a segment."""
        within = self.cosine >= budget.cosine and self.relative <= budget.relative
        within = within and (self.gate is None or self.gate <= budget.gate)
        return SegmentRow(name, self.cosine, self.largest, self.relative, self.gate, within)


def difference(value: NDArray[Any], wanted: NDArray[Any]) -> tuple[float, float, float]:
    """Cosine, largest difference, and that as a share of the largest wanted number."""
    one = np.asarray(value, dtype=np.float64).ravel()
    other = np.asarray(wanted, dtype=np.float64).ravel()
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    same = not one.any() and not other.any()
    cosine = 1.0 if same else float(one @ other) / lengths if lengths else 0.0
    largest = float(np.abs(one - other).max())
    scale = float(np.abs(other).max())
    return cosine, largest, largest / scale if scale else (0.0 if same else math.inf)
