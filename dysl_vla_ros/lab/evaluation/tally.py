"""What the passes of an episode cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.policy import Pass


@dataclass
class Tally:
    """Summed up over an episode.

    Attributes:
        layers: Executed, re-runs included.
        controllers: Evaluated.
        reruns: Passes run again in full.
        pass_seconds: Of each accepted chunk, re-runs included [s].
        backbone_seconds: The backbone's part of them [s].
    """

    layers: int = 0
    controllers: int = 0
    reruns: int = 0
    pass_seconds: list[float] = field(default_factory=list)
    backbone_seconds: list[float] = field(default_factory=list)

    def spent(self, layers: int, controllers: int) -> None:
        """Note what ran, whether or not its chunk was accepted."""
        self.layers += layers
        self.controllers += controllers

    def accepted(self, seconds: float, backbone: float) -> None:
        """Note how long an accepted chunk took."""
        self.pass_seconds.append(seconds)
        self.backbone_seconds.append(backbone)

    def add(self, chunk: TimedPasses) -> None:
        """Note the passes of a chunk that was accepted."""
        self.spent(chunk.layers, chunk.controllers)
        self.reruns += len(chunk.passes) - 1
        self.accepted(chunk.seconds, chunk.backbone)


class TimedPasses:
    """The passes of one chunk: the first, and where it was run again the full one.

    Attributes:
        passes: In their order.
        seconds: Wall time of all of them [s].
    """

    def __init__(self, policy: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        """Args: what is asked, and what measures."""
        self.passes: list[Pass] = []
        self.seconds = 0.0
        self._policy, self._clock = policy, clock

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As ``Policy.predict``."""
        return self._timed(lambda: self._policy.predict(observation, plan))

    def rerun(self, first: Pass) -> Pass:
        """As ``Policy.rerun``."""
        return self._timed(lambda: self._policy.rerun(first))

    @property
    def layers(self) -> int:
        """Executed in all of them."""
        return sum(len(one.trace.layers_run) for one in self.passes)

    @property
    def controllers(self) -> int:
        """Evaluated in the first: a full pass asks none."""
        return len(self.passes[0].trace.scores)

    @property
    def backbone(self) -> float:
        """The backbone's part of the time [s]."""
        return sum(one.stage_seconds.get('backbone', 0.0) for one in self.passes)

    def _timed(self, run: Callable[[], Pass]) -> Pass:
        begun = self._clock()
        result = run()
        self.seconds += self._clock() - begun
        self.passes.append(result)
        return result
