"""When to skip: allow points before a pass, and whether to run it again after it.

Source: DySL-VLA, arXiv 2602.22896, pre-skip prediction and post-skip verification. The sign of
the rule is ours: the printed formula moves the allow points against its own explanation. The
contract: falling continuity never adds live controllers and, beyond ``eta``, removes some;
rising continuity never removes any. The rule as it is printed is there to be compared with.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from dysl_vla_ros.core.continuity import ContinuityHistory, DropDetector, DropState
from dysl_vla_ros.data_types import (
    SKIP_THRESHOLD,
    FloatArray,
    MotionSince,
    SkipMode,
    SkipPlan,
    frozen_array,
    plain_words,
)

_HEARD = 1000
"""Displacements kept for a recorder that never asks: those of a minute."""


@dataclass(frozen=True)
class SkipSettings:
    """Calibrated numbers and choices of the skip policy.

    Attributes:
        rule: ``ceil`` reacts to changes of continuity, ``level`` to where it lies; ``printed``
            is ``ceil`` with the paper's sign, which breaks the contract.
        eta: Continuity change that moves the allow points by one layer, more than 0.
        window: k of the continuity.
        threshold: Fall of continuity that counts as a drop.
        hysteresis: Recovery that ends a drop.
        weights: Weight per action dimension, shape (action_dim,).
        level_low: Level rule: dense at and below this continuity.
        level_high: Level rule: all controllers live at and above this continuity.
        tau: A live controller opens iff its score is greater.
        rerun: Whether a drop in a skipped chunk asks for a full pass.
        max_consecutive: Re-runs in a row after which passes are full at once.
        stay_full_chunks: Full passes after the last chunk with a drop.
        exit_layer: Where passes of mode ``fixed`` leave for the last layer; 0 = none is known.
        exits: Mode ``by_instruction``: plain words -> such a layer, 0 = dense; other words leave
            at ``exit_layer``.
    """

    rule: Literal['ceil', 'level', 'printed']
    eta: float
    window: int
    threshold: float
    hysteresis: float
    weights: FloatArray
    level_low: float = -1.0
    level_high: float = 0.0
    tau: float = SKIP_THRESHOLD
    rerun: bool = True
    max_consecutive: int = 2
    stay_full_chunks: int = 1
    exit_layer: int = 0
    exits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What post-skip verification found in a chunk.

    Attributes:
        continuity: C after each action that is still to be executed; None where unknown.
        drop_index: First action, counted in those, that begins a drop; None when none does.
        rerun: Whether the observation must be run again without skipping.
        since: What was heard of the motion since the plan, or the verdict, before.
    """

    continuity: tuple[float | None, ...]
    drop_index: int | None
    rerun: bool
    since: MotionSince = ()


class SkipPolicy:
    """Keeps the allow points and the executed continuity between passes."""

    def __init__(self, segments: tuple[tuple[int, int], ...], settings: SkipSettings) -> None:
        """Start dense.

        Args:
            segments: (first layer, end) per segment, ``end`` being the next static layer.
            settings: Calibrated numbers.
        """
        self.segments = segments
        self.settings = settings
        self._history = ContinuityHistory(settings.window, frozen_array(settings.weights))
        self._detector = DropDetector(settings.threshold, settings.hysteresis, settings.window)
        self._drop = DropState()
        self._allow = self._dense()
        self._full_passes_due = 0
        self._reruns_in_a_row = 0
        self._heard: deque[FloatArray | None] = deque(maxlen=_HEARD)

    @property
    def continuity(self) -> float | None:
        """C of the executed actions; None while fewer than two are known."""
        return self._history.last()

    @property
    def critical(self) -> bool:
        """Whether the motion is in a drop, or one is known to lie ahead."""
        return self._drop.in_drop or self._full_passes_due > 0

    def restart(self) -> None:
        """Forget the motion and go back to dense: after a hold, a stop, a new instruction."""
        self._history.clear()
        self._heard.clear()
        self._heard.append(None)
        self._drop = DropState()
        self._allow = self._dense()
        self._full_passes_due = 0
        self._reruns_in_a_row = 0

    def played(self, displacement: FloatArray) -> None:
        """Note one executed action; the guidance rule is applied once for each."""
        before = self._history.last()
        after = self._history.append(displacement)
        self._heard.append(frozen_array(displacement))
        self._drop = self._detector.step(self._drop, after)
        if after is None:
            return
        if self.settings.rule == 'level':
            self._allow = self._by_level(after)
        elif before is not None:
            shift = math.ceil((after - before) / self.settings.eta)
            if self.settings.rule == 'printed':
                shift = -shift
            self._allow = tuple(
                min(max(allow - shift, first), end)
                for allow, (first, end) in zip(self._allow, self.segments, strict=True)
            )

    def plan(self, mode: SkipMode, instruction: str = '') -> SkipPlan:
        """Which layers the next pass may skip.

        Args:
            mode: Of skipping.
            instruction: That the pass is told; counts in mode ``by_instruction`` alone.
        """
        return replace(self._plan(mode, instruction), since=self._take_heard())

    def _plan(self, mode: SkipMode, instruction: str) -> SkipPlan:
        if mode == 'full':
            return SkipPlan(self._dense())
        if mode == 'fixed':
            return SkipPlan(self._dense(), exit_layer=self.settings.exit_layer)
        if mode == 'by_instruction':
            own = self.settings
            layer = own.exits.get(plain_words(instruction), own.exit_layer)
            return SkipPlan(self._dense(), exit_layer=layer or None)
        if mode == 'max_skip':
            return self._live(tuple(first for first, _ in self.segments))
        if self.continuity is None or self.critical:
            return SkipPlan(self._dense())
        return self._live(self._allow)

    def verify(self, chunk: FloatArray, skipped: bool) -> Verdict:
        """Look for the first drop in what is about to be executed.

        Args:
            chunk: Displacements still to be executed, shape (n, action_dim).
            skipped: Whether layers were skipped to predict them and a full pass can resume.
        """
        values = self._history.extended_by(chunk)
        drop_index = self._detector.first_drop(self._drop, values)
        rerun = (
            self.settings.rerun
            and skipped
            and drop_index is not None
            and self._reruns_in_a_row < self.settings.max_consecutive
        )
        return Verdict(tuple(values), drop_index, rerun, self._take_heard())

    def accepted(self, verdict: Verdict, was_rerun: bool) -> None:
        """Note the chunk that will be executed."""
        if verdict.drop_index is not None:
            self._full_passes_due = self.settings.stay_full_chunks
        else:
            self._full_passes_due = max(0, self._full_passes_due - 1)
        if was_rerun:
            self._reruns_in_a_row += 1
        elif verdict.drop_index is None:
            self._reruns_in_a_row = 0
        if self._reruns_in_a_row >= self.settings.max_consecutive:
            self._full_passes_due = max(self._full_passes_due, 1)

    def _take_heard(self) -> MotionSince:
        heard = tuple(self._heard)
        self._heard.clear()
        return heard

    def _live(self, allow: tuple[int, ...]) -> SkipPlan:
        return SkipPlan(allow, threshold=self.settings.tau)

    def _dense(self) -> tuple[int, ...]:
        return tuple(end for _, end in self.segments)

    def _by_level(self, value: float) -> tuple[int, ...]:
        low, high = self.settings.level_low, self.settings.level_high
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return tuple(end - math.floor(share * (end - first)) for first, end in self.segments)
