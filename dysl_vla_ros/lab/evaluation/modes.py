"""How a mode changes the policy: as deployed, or with every skip plan replaced (baselines)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.policy import Pass, Policy

Mode = Literal['full', 'auto', 'max_skip', 'static_only', 'random', 'closed', 'no_rerun']
MODES: tuple[Mode, ...] = get_args(Mode)
DESCRIPTIONS: dict[Mode, str] = {
    'full': 'every layer of every pass',
    'auto': 'as deployed: guidance before the pass, verification after it',
    'max_skip': 'every controller live in every pass, no guidance, no verification',
    'static_only': 'every segment jumped at once',
    'random': 'jumps at random places, the same mean depth as auto',
    'closed': 'every controller evaluated, none obeyed: what the controllers cost',
    'no_rerun': 'auto without the verification after the pass',
}


class PlannedPolicy:
    """A policy whose skip plan is chosen here instead of by the skip policy."""

    def __init__(self, policy: Policy, choose: Callable[[], SkipPlan]) -> None:
        """Wrap an opened policy."""
        self._policy = policy
        self._choose = choose
        self.manifest = policy.manifest

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the wrapped policy."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Ignore the plan that was asked for."""
        return self._policy.predict(observation, self._choose())

    def rerun(self, first: Pass) -> Pass:
        """As the wrapped policy."""
        return self._policy.rerun(first)


def mode_policy(policy: Policy, mode: Mode, depth: float, seed: int) -> Any:
    """The policy of a mode: as it is, or with every plan replaced.

    Args:
        policy: Opened.
        mode: Which.
        depth: Mean share of the dynamic layers that ``random`` runs.
        seed: Of ``random``.
    """
    layout = policy.manifest.layout
    if mode == 'static_only':
        plan = SkipPlan(layout.open_plan().allow, 'open')
        return PlannedPolicy(policy, lambda: plan)
    if mode == 'closed':
        return PlannedPolicy(policy, layout.watched_plan)
    if mode == 'random':
        generator = np.random.default_rng(seed)

        def choose() -> SkipPlan:
            # A Beta distribution with this mean; 0 and 1 are its limits.
            mean = min(max(depth, 1e-3), 1 - 1e-3)
            shares = generator.beta(2 * mean, 2 * (1 - mean), len(layout.segments))
            allow = tuple(
                first + round(float(share) * (end - first))
                for share, (first, end) in zip(shares, layout.segments, strict=True)
            )
            return SkipPlan(allow, 'open')

        return PlannedPolicy(policy, choose)
    return policy


def mode_config(config: NodeConfig, mode: Mode) -> NodeConfig:
    """The control loop's parameters for a mode; baselines have no post-skip verification."""
    if mode in ('static_only', 'random', 'max_skip', 'closed', 'no_rerun'):
        config = replace(config, rerun=replace(config.rerun, enabled=False))
    skip_mode = mode if mode in ('full', 'max_skip') else 'auto'
    return replace(config, skip=replace(config.skip, mode=skip_mode))
