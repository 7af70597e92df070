"""A gate trained on regret, offline, beside fixed exits on the same states.

It predicts how wrong an exit's actions are, and leaves where they are right enough.

A controller that copies a hidden vote knows nothing of what leaving costs. This one is fitted to
the cost itself: per exit, the error against dense is regressed (ridge, logarithms) on what a robot
has at that moment for the price of an exit: how far this exit is from the one before, how unsteady
its chunk is (continuity inside it), and what its gripper does. About half of the states calibrate,
the others, of other episodes, are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.exits import Exits, rms

HARMFUL = 0.25
"""Root mean square beyond which leaving loses episodes: the oracle within it does, on the bundled
tasks."""
_SMALL = 1e-4
_RIDGE = 1e-2
FEWEST = 20
"""States that a gate is fitted to."""


@dataclass(frozen=True)
class Outcome:
    """What a way of leaving does on states that it was not fitted to.

    Attributes:
        name: ``fixed 8``, or ``gate`` with its threshold.
        layers: Mean, each exit that was tried counted with its pass through the last layer.
        layers_free: Mean, as if to look cost nothing: what better features could reach at most.
        error_mean: Root mean square to dense.
        error_p95: Of the same.
        harmful: Share of the states with an error above ``HARMFUL``.
    """

    name: str
    layers: float
    layers_free: float
    error_mean: float
    error_p95: float
    harmful: float


class RegretGate:
    """One regression per exit but the first, which has no exit before it."""

    def __init__(self, states: Sequence[Exits], exits: Sequence[int], moves: int) -> None:
        """Fit.

        Args:
            states: To calibrate on.
            exits: Rising; at least two.
            moves: Action dimensions before the gripper's.

        Raises:
            ConfigError: Too few states or exits.
        """
        if len(states) < FEWEST:
            raise ConfigError('gate', len(states), f'at least {FEWEST} states to calibrate on')
        if len(exits) < 2:
            raise ConfigError('exit_layer', list(exits), 'two exits or more: the gate compares')
        if any(after <= before for before, after in zip(exits, exits[1:], strict=False)):
            raise ConfigError(
                'exit_layer', list(exits), 'rising ones: a pass goes by them in turn'
            )
        self.exits, self._moves = tuple(exits), moves
        self._weights: dict[int, FloatArray] = {}
        for before, after in zip(exits, exits[1:], strict=False):
            rows = np.stack([self._features(one, before, after) for one in states])
            errors = np.array([rms(one.early[after] - one.dense) for one in states])
            square = rows.T @ rows + _RIDGE * np.eye(rows.shape[1])
            fitted = np.linalg.solve(square, rows.T @ np.log(errors + _SMALL))
            self._weights[after] = fitted.astype(np.float64)

    def predicted(self, state: Exits, before: int, after: int) -> float:
        """The error that it expects of leaving at ``after``."""
        features = self._features(state, before, after)
        return float(np.exp(features @ self._weights[after]))

    def leave(self, state: Exits, threshold: float) -> tuple[int, int]:
        """Where it leaves, and how many exits it tried on the way; the last one at the latest."""
        for tried, (before, after) in enumerate(zip(self.exits, self.exits[1:], strict=False), 2):
            if self.predicted(state, before, after) <= threshold:
                return after, tried
        return self.exits[-1], len(self.exits)

    def _features(self, state: Exits, before: int, after: int) -> FloatArray:
        now, moves = state.early[after], self._moves
        apart = rms(now[:, :moves] - state.early[before][:, :moves])
        steps = np.linalg.norm(np.diff(now, axis=0), axis=1)
        gripper = now[:, moves:]
        swing = float(np.ptp(gripper)) if gripper.size else 0.0
        return np.array([1.0, np.log(apart + _SMALL), np.log(steps.mean() + _SMALL), swing])


def halves(episodes: Sequence[int]) -> int:
    """Where the states that are judged begin: between two episodes, next to the middle.

    Args:
        episodes: Of each state, in their order.

    Raises:
        ConfigError: They are of one episode.
    """
    cuts = [at for at in range(1, len(episodes)) if episodes[at] != episodes[at - 1]]
    if not cuts:
        raise ConfigError('gate', len(episodes), 'states of two episodes or more, to calibrate on '
                          'and to judge on: a .npz tells them by episode (n,), stamp (n,) or '
                          'other words')  # fmt: skip
    return min(cuts, key=lambda at: abs(2 * at - len(episodes)))


def compare(
    states: Sequence[Exits], episodes: Sequence[int], exits: Sequence[int], moves: int,
    thresholds: Sequence[float],
) -> list[Outcome]:  # fmt: skip
    """Fixed exits and the gate at several thresholds, on the states of the later episodes.

    Args:
        states: In the order in which they came.
        episodes: Of each, the number of its episode.
        exits: Rising.
        moves: Action dimensions before the gripper's.
        thresholds: Predicted errors at which the gate leaves.

    Raises:
        ConfigError: Too few states, episodes or exits.
    """
    half = halves(episodes)
    gate, judged = RegretGate(states[:half], exits, moves), states[half:]
    found = []
    for exit_layer in exits:
        left = [(exit_layer, 1)] * len(judged)
        found.append(_outcome(f'fixed {exit_layer}', judged, left))
    for threshold in thresholds:
        left = [gate.leave(one, threshold) for one in judged]
        found.append(_outcome(f'gate {threshold:g}', judged, left))
    return found


def verdict(found: Sequence[Outcome]) -> str:
    """Whether some gate is at least as near to dense as a fixed exit, for fewer layers.

    A gate that any fixed exit beats, with at most its layers and at most its error, is ahead of
    none: who may choose an exit would choose that one.
    """
    fixed = [one for one in found if one.name.startswith('fixed')]
    gates = [one for one in found if one.name.startswith('gate')]

    def beaten(gate: Outcome, layers: float) -> bool:
        return any(one.layers <= layers + 1e-9 and one.error_mean <= gate.error_mean
                   for one in fixed)  # fmt: skip

    def ahead(layers: str) -> list[str]:
        return [
            f'{gate.name} before {one.name}' for gate in gates for one in fixed
            if getattr(gate, layers) < one.layers - 1e-9 and gate.error_mean <= one.error_mean
            and gate.harmful <= one.harmful and not beaten(gate, getattr(gate, layers))
        ]  # fmt: skip

    paid, free = ahead('layers'), ahead('layers_free')
    if paid:
        return 'ahead of a fixed exit: ' + ', '.join(paid)
    if free:
        return ('no gate is ahead of a fixed exit: looking costs more than it saves; were it '
                'free, ' + ', '.join(free))  # fmt: skip
    return 'no gate is ahead of a fixed exit, not even if looking were free'


def _outcome(name: str, states: Sequence[Exits], left: Sequence[tuple[int, int]]) -> Outcome:
    errors: NDArray[Any] = np.array([
        rms(one.early[layer] - one.dense) for one, (layer, _) in zip(states, left, strict=True)
    ])  # fmt: skip
    return Outcome(
        name,
        layers=float(np.mean([layer + tried for layer, tried in left])),
        layers_free=float(np.mean([layer + 1 for layer, _ in left])),
        error_mean=float(errors.mean()),
        error_p95=float(np.quantile(errors, 0.95)),
        harmful=float((errors > HARMFUL).mean()),
    )
