"""Compute spent by phase, in depth and in time: shallow and seldom, or deep and often.

A pass costs layers, and passes come as often as they are asked for; what a robot can spend is
layers per second. Here a signal says before each pass whether the motion is fine or free; in free
motion passes leave early and the next one waits until little of the chunk is left, in fine motion
they run deep and come again soon. The simplest thing to beat is one exit at one interval: the
signal ``never``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, Observation, SkipPlan
from dysl_vla_ros.lab.evaluation.exits import entered, rms, walked_pass
from dysl_vla_ros.lab.evaluation.paces import Pace, Paces
from dysl_vla_ros.policy import Pass, Policy

_REMEMBERED = 2
"""Chunks for which the gripper's turn keeps the motion fine."""
_STILL, _FREED = 2, 4
"""Chunks in a row without motion that are a standstill; passes for which that is remembered."""


class PacedPolicy:
    """Chooses depth and interval by a signal; serves one thread."""

    def __init__(self, policy: Policy, paces: Paces, distance: Callable[[], float]) -> None:
        """Wrap an opened policy.

        Args:
            policy: Opened.
            paces: How.
            distance: To where the arm or the object must go next [m]; asked with that signal.
        """
        self._policy, self._paces, self._distance = policy, paces, distance
        self.manifest = policy.manifest
        self._lasting = policy.manifest.action.period_s * policy.manifest.action.horizon
        self._observed = float('-inf')
        self._fine = True
        self._turned = self._freeing = 0
        self._stood: list[FloatArray] = []

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the wrapped policy."""
        return self._policy.tokens(instruction)

    @property
    def plays(self) -> int:
        """Actions of the newest chunk to play before the next pass, in a world that waits."""
        return max(round(self.manifest.action.horizon * (1.0 - self._pace.left)), 1)

    def due(self, now: float) -> bool:
        """Whether so little of the newest chunk is left that the next pass may be asked for."""
        return 1.0 - (now - self._observed) / self._lasting <= self._pace.left + 1e-9

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Leave as the signal says; what was asked for is the signal of continuity."""
        self._observed = observation.stamp
        if self._paces.signal == 'exits':
            return self._by_exits(observation)
        self._fine = self._is_fine(observation, plan)
        exit_layer, layout = self._pace.exit_layer, self._policy.engine.layout
        wanted = layout.exit_plan(exit_layer) if exit_layer else layout.full_plan()
        found = self._policy.predict(observation, wanted)
        self._hear(found.normalised)
        return found

    def rerun(self, first: Pass) -> Pass:
        """Never asked for: no state is kept to resume from."""
        return self._policy.rerun(first)

    @property
    def _pace(self) -> Pace:
        return self._paces.fine if self._fine else self._paces.free

    def _is_fine(self, observation: Observation, plan: SkipPlan) -> bool:
        signal = self._paces.signal
        if signal == 'distance':
            return self._distance() < self._paces.limit
        if signal == 'still':
            return self._is_stuck(observation)
        segments = self._policy.engine.layout.segments
        allowed = sum(end - allow for (_, end), allow in zip(segments, plan.allow, strict=True))
        dense = 2 * allowed < sum(end - first for first, end in segments)
        return ((signal in ('continuity', 'either') and dense)
                or (signal in ('gripper', 'either') and self._turned > 0))  # fmt: skip

    def _is_stuck(self, observation: Observation) -> bool:
        """Whether the arm has stood still: then it stands where these passes want it to stay."""
        self._stood = [*self._stood[-_STILL:], np.asarray(observation.joints)]
        moved = np.abs(np.diff(self._stood, axis=0)).max(axis=1, initial=0.0)
        stands = len(moved) == _STILL and bool((moved < self._paces.limit).all())
        self._freeing = _FREED if stands else max(self._freeing - 1, 0)
        return self._freeing > 0

    def _hear(self, normalised: FloatArray) -> None:
        """Whether the gripper turns in this chunk."""
        if not self.manifest.action.gripper:
            return
        openings = normalised[:, -1] > 0
        turns = bool((openings != openings[0]).any())
        self._turned = _REMEMBERED if turns else max(self._turned - 1, 0)

    def _by_exits(self, observation: Observation) -> Pass:
        """Two exits are looked at; where they differ the same pass goes on to the deep one."""
        begun = time.perf_counter()
        free, fine = self._paces.free, self._paces.fine
        exits = [free.exit_layer - 1, free.exit_layer]
        deeper = [fine.exit_layer] if fine.exit_layer else []
        walked = entered(self._policy, observation, [*exits, *deeper])
        first = time.perf_counter()
        (_, before), found = next(walked), next(walked)
        self._fine = rms(found[1] - before) > self._paces.limit
        looked, total = len(exits), self.manifest.layers_total
        if self._fine:
            found = next(walked)
            looked += len(deeper)
        return walked_pass(observation, found, looked, total, (begun, first))
