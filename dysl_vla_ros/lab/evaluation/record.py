"""What a bundle did in closed loop, chunk by chunk: the source of a calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.lab.evaluation.episodes import arm_planner, run_episode
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.simulated_arm import check_simulated
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass, Policy, open_policy
from dysl_vla_ros.sim.world import World


@dataclass(frozen=True)
class RecordedEpisode:
    """One episode: the accepted chunks, the actions played in all, and how it ended."""

    accepted: tuple[Delivery, ...]
    actions: int
    success: bool


class ScoredPolicy:
    """A policy whose passes know the score of every controller, also of those not asked.

    Each observation is run twice: with every controller evaluated and none obeyed, for the scores,
    and as asked for, which is the pass that moves the arm.
    """

    def __init__(self, policy: Policy) -> None:
        """Wrap an opened policy."""
        self._policy = policy
        self.manifest = policy.manifest
        self._watch = policy.manifest.layout.watched_plan()

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the wrapped policy."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """The pass that was asked for, with all scores."""
        scores = self._policy.predict(observation, self._watch).trace.scores
        asked = self._policy.predict(observation, plan)
        known = {**scores, **asked.trace.scores}
        return replace(asked, trace=replace(asked.trace, scores=known))

    def rerun(self, first: Pass) -> Pass:
        """As the wrapped policy, with the scores of the first pass."""
        again = self._policy.rerun(first)
        return replace(again, trace=replace(again.trace, scores=first.trace.scores))


def record_episodes(options: EvaluateOptions, first: int = 0) -> Iterator[RecordedEpisode]:
    """Play the episodes of ``options`` in mode ``auto``, one after the other.

    Every pass knows all scores, so an observation costs two passes; measured latencies count both.

    Args:
        options: What to play.
        first: Episodes at the beginning that are left out, since they were played before.

    Yields:
        One recording per episode, in the order of ``options.specs()``.
    """
    specs = options.specs()[first:]
    if not specs:
        return
    config = replace(options.config, skip=replace(options.config.skip, mode='auto'))
    policy: Any = ScoredPolicy(open_policy(replace(config.engine, path=options.bundle)))
    check_simulated('BUNDLE', options.bundle, policy.manifest)
    planner = arm_planner(policy.manifest.action, config)
    world = World()
    for spec in specs:
        accepted: list[Delivery] = []

        def keep(delivery: Delivery, accepted: list[Delivery] = accepted) -> None:
            if delivery.accepted:
                accepted.append(delivery)

        result = run_episode(world, policy, planner, config, spec, latency=options.latency,
                             on_delivery=keep)  # fmt: skip
        yield RecordedEpisode(tuple(accepted), result.actions, result.success)
