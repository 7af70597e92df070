"""Every exit of a pass beside the dense one: what leaving early would have done, and an oracle.

An exit costs a layer and the head, so a pass with all of them is twice as slow: this measures,
it does not deploy. What an oracle is charged is the depth of the exit that it plays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, Jump, LayerTrace, Observation, SkipPlan
from dysl_vla_ros.engines.engine import Engine, Hidden, forward
from dysl_vla_ros.lab.evaluation.episodes import SeenState
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.sim.judge import LIFTED
from dysl_vla_ros.sim.world import World


@dataclass(frozen=True)
class Exits:
    """One observation's actions at every depth.

    Attributes:
        dense: Normalised actions of the full pass, shape (horizon, action_dim).
        early: Exit layer -> normalised actions, the same shape.
    """

    dense: FloatArray
    early: dict[int, FloatArray]

    def errors(self) -> tuple[float, ...]:
        """Root mean square of the difference to dense, per exit, shallowest first."""
        return tuple(rms(actions - self.dense) for actions in self.early.values())

    def within(self, tolerance: float) -> int | None:
        """The shallowest exit whose error is within a tolerance; None where only dense is."""
        for exit_layer, actions in self.early.items():
            if rms(actions - self.dense) <= tolerance:
                return exit_layer
        return None


def rms(difference: FloatArray) -> float:
    """Root mean square over actions and dimensions, the gripper's included."""
    return float(np.sqrt(np.mean(np.square(difference))))


def all_exits(policy: Policy, observation: Observation) -> Exits:
    """The dense pass of an observation, and every exit on its way.

    Raises:
        InputError: The observation does not fit.
        EngineError: The back end failed.
    """
    engine = policy.engine
    policy.learn(observation.instruction)
    hidden = engine.encode(policy.prepare(observation))
    early = dict(walk(engine, hidden, engine.layout.exit_layers))
    return Exits(early.pop(engine.layout.layers_total), early)


def walk(engine: Engine, hidden: Hidden, exits: Iterable[int]) -> Iterator[tuple[int, FloatArray]]:
    """Leave at one exit after the other, and after the last layer; only as far as it is asked.

    Args:
        engine: Whose layers run.
        hidden: From ``encode``.
        exits: Rising.

    Yields:
        Exit layer, at last ``layers_total``, and its normalised actions (horizon, action_dim).
    """
    layout, done = engine.layout, 0
    for exit_layer in exits:
        for layer in range(done, exit_layer):
            hidden = engine.run_layer(layer, hidden)
        kept, done = engine.keep(hidden), exit_layer
        left, _ = forward(engine, hidden, layout.exit_plan(exit_layer), start_layer=exit_layer)
        actions = engine.decode(left)
        hidden = engine.restore(kept)
        yield exit_layer, actions
    for layer in range(done, layout.layers_total):
        hidden = engine.run_layer(layer, hidden)
    yield layout.layers_total, engine.decode(hidden)


def entered(
    policy: Policy, observation: Observation, exits: Iterable[int]
) -> Iterator[tuple[int, FloatArray]]:
    """Encode an observation; then ``walk``, as far as it is asked for."""
    engine = policy.engine
    policy.learn(observation.instruction)
    hidden = engine.encode(policy.prepare(observation))
    engine.synchronize()
    return walk(engine, hidden, exits)


def walked_pass(
    observation: Observation, found: tuple[int, FloatArray], looked: int, total: int,
    times: tuple[float, float],
) -> Pass:  # fmt: skip
    """The pass that a walk ended with.

    Args:
        observation: Of which.
        found: Exit layer, or ``total``, and its actions.
        looked: Exits that were looked at: each is counted with its pass through the last layer.
        total: Depth of the backbone.
        times: When it began, and when the first layer did [s of ``time.perf_counter``].
    """
    layer, actions = found
    begun, first = times
    return Pass(
        stamp=observation.stamp,
        instruction=observation.instruction,
        normalised=actions,
        mode='skipped',
        trace=LayerTrace(
            (*range(layer), *(total - 1,) * looked), total,
            jumps=(Jump(layer, total - 1),) if layer < total else (),
        ),
        stage_seconds={'encode': first - begun, 'backbone': time.perf_counter() - first},
    )  # fmt: skip


class OraclePolicy:
    """Plays the shallowest exit within a tolerance of dense, which it computes too.

    Attributes:
        seen: One entry per pass: where the arm was, and how wrong each exit would have been.
    """

    def __init__(
        self, policy: Policy, tolerance: float, where: Callable[[], tuple[str, float]]
    ) -> None:
        """Wrap an opened policy.

        Args:
            policy: Opened.
            tolerance: As ``Row.tolerance``; 0 always plays dense.
            where: Phase and distance to the goal [m] at the observation.
        """
        self._policy = policy
        self._tolerance = tolerance
        self._where = where
        self.manifest = policy.manifest
        self.seen: list[SeenState] = []

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the wrapped policy."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """All exits, whatever was asked for; the trace is that of the exit which is played."""
        found = all_exits(self._policy, observation)
        phase, distance = self._where()
        self.seen.append(SeenState(phase, distance, found.errors()))
        total = self.manifest.layers_total
        chosen = found.within(self._tolerance) if self._tolerance > 0 else None
        if chosen is None:
            trace = LayerTrace(tuple(range(total)), total)
        else:
            run, jump = (*range(chosen), total - 1), Jump(chosen, total - 1)
            trace = LayerTrace(run, total, jumps=(jump,))
        return Pass(
            stamp=observation.stamp,
            instruction=observation.instruction,
            normalised=found.dense if chosen is None else found.early[chosen],
            mode='full' if chosen is None else 'skipped',
            trace=trace,
        )

    def rerun(self, first: Pass) -> Pass:
        """Never asked for: no state is kept to resume from."""
        return self._policy.rerun(first)


def goal_distance(world: World) -> float:
    """From where things are to where they must go next [m]; privileged.

    Until the object is held, that of the gripper to it; then that of the object to its place on
    the table, or of its height to where it counts as picked up.
    """
    goal = world.episode.goal
    position = world.object_positions[goal.target]
    if goal.family == 'push' or world.held_object() != goal.target:
        return float(np.linalg.norm(world.grasp_position - position))
    if goal.family == 'pick':
        return max(0.0, world.episode.target.position[2] + LIFTED - float(position[2]))
    there = world.episode.bin_position
    if goal.reference is not None:
        there = world.object_positions[goal.reference][:2]
    return float(np.linalg.norm(position[:2] - np.asarray(there)))
