"""The same policy, dense, played as others play chunks, one target per period: to compare.

blocking    a pass, then its whole chunk, then a pass: the arm stands while a pass is made
blend       as LeRobot's asynchronous client with its defaults: a pass is asked for when half of
            the chunk is left; of its answer the actions that were played meanwhile are dropped,
            and where it overlaps what is left, old target and new are averaged, 0.3 to 0.7
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec, arm_limits
from dysl_vla_ros.lab.evaluation.stepped_arm import SteppedArm
from dysl_vla_ros.lab.evaluation.tally import Tally, TimedPasses
from dysl_vla_ros.motion import MotionPlanner, plan_chunk
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.sim.world import World

ASK_AT = 0.5
"""Share of the chunk that is left when ``blend`` asks for the next."""
OLD = 0.3
"""Weight of the old target where two chunks overlap; the new one has the rest."""


@dataclass(frozen=True)
class _Answer:
    """Targets and openings, one row each, shape (horizon, n + 1), of actions from ``first`` on."""

    first: int
    rows: FloatArray
    arrives: float


def blended(left: FloatArray, first: int, answer: FloatArray, begun: int) -> FloatArray:
    """What is left to play once an answer has come.

    Args:
        left: Rows that are left, shape (k, n); the first is action number ``first``.
        first: Number of the next action.
        answer: Rows of the answer, shape (horizon, n).
        begun: Number of its first action.

    Returns:
        Rows from action ``first`` on; where the answer ends earlier, the old ones stay.
    """
    new = answer[max(first - begun, 0) :]
    both = min(len(left), len(new))
    mixed = OLD * left[:both] + (1.0 - OLD) * new[:both]
    return np.concatenate([mixed, new[both:], left[both:]])


def streamed_episode(
    world: World, policy: Policy, planner: MotionPlanner, config: NodeConfig, spec: EpisodeSpec,
    latency: float, blend: bool,
) -> EpisodeResult:  # fmt: skip
    """One episode; arguments as ``run_episode``.

    Args:
        world: Reused between episodes; reset here.
        policy: Opened.
        planner: Of the same bundle.
        config: Of the gripper and the limits.
        spec: Seed, family, split, instruction.
        latency: Of a pass [s].
        blend: ``blend``, otherwise ``blocking``.
    """
    manifest, limits = policy.manifest, arm_limits(config)
    period, horizon = manifest.action.period_s, manifest.action.horizon
    episode = world.reset(spec.seed, spec.family, spec.split)
    told = spec.instruction or episode.instruction
    arm, cost, limited = SteppedArm(world, config, period), Tally(), 0
    left: deque[FloatArray] = deque()
    pending: _Answer | None = None

    def ask() -> _Answer:
        nonlocal limited
        rows, chunk = np.empty((0, len(arm.commanded) + 1)), TimedPasses(policy)
        result = chunk.predict(arm.observe(policy, told), manifest.layout.full_plan())
        try:
            plan = plan_chunk(planner, result.normalised, arm.commanded, limits, period, True)
            rows = np.column_stack([plan.targets[1:], plan.actions[:, -1]])
            limited += len(rows) if plan.moved else 0
        except DyslError:
            pass  # nothing of it is played, as ours would not: it is asked for again
        cost.add(chunk)
        return _Answer(arm.actions, rows, world.time + latency)

    while world.time < spec.time_limit:
        if pending is None and len(left) <= (ASK_AT * horizon if blend else 0):
            pending = ask()
        if pending is not None and pending.arrives <= world.time + 1e-9:
            rest = np.array(left).reshape(-1, pending.rows.shape[1])
            left = deque(blended(rest, arm.actions, pending.rows, pending.first))
            pending = None
        if not left:
            arm.wait(period if pending is None else min(period, pending.arrives - world.time))
        else:
            row = left.popleft()
            arm.play(row[:-1], float(row[-1]))
        if arm.won:
            break
    return arm.result(spec, told, policy, len(cost.pass_seconds), cost, limited)
