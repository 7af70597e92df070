"""DeeR-style early exit as a baseline: leave where two neighbouring exits agree.

Source: DeeR-VLA, arXiv 2411.02359. Exits every two layers, at most half of the depth; exit k is
taken when its pose actions differ from those of the exit before by at most ``T_k`` (root mean
square, the gripper left out), or when it is the last. Thresholds follow from target shares
``ratio ** k``, exit by exit among the samples that are left. Where DeeR trains a head for every
exit, ours sends the state through the last layer to the one head there is: needs early-exit
training, and every exit that is tried counts a layer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, Observation, SkipPlan
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.exits import entered, rms, walked_pass
from dysl_vla_ros.policy import Pass, Policy

_EVERY = 2


def deer_exits(layers_total: int) -> tuple[int, ...]:
    """The layers at which a pass may leave.

    Raises:
        ConfigError: Too few layers for two exits.
    """
    exits = tuple(range(_EVERY, layers_total // 2 + 1, _EVERY))
    if len(exits) < 2:
        raise ConfigError('modes', 'deer', f'a bundle of 8 layers or more, not {layers_total}')
    return exits


def exit_steps(policy: Policy, observation: Observation) -> tuple[float, ...]:
    """How far each exit is from the one before; shape (exits - 1,), shallowest first."""
    found = list(_entered(policy, observation))
    moves = policy.manifest.action.dim - int(policy.manifest.action.gripper)
    return tuple(
        rms(after[:, :moves] - before[:, :moves])
        for (_, before), (_, after) in zip(found, found[1:], strict=False)
    )


def thresholds(steps: Sequence[Sequence[float]], ratio: float) -> tuple[float, ...]:
    """One threshold per exit but the first, which has nothing to be compared with.

    Args:
        steps: ``exit_steps`` of every sample, shape (samples, exits - 1).
        ratio: Share of the samples that leave at an exit, over that of the exit before.

    Returns:
        Shape (exits - 1,); the last is infinite. Minus infinity where none is to leave.
    """
    distances = np.array(steps)
    count, exits = distances.shape
    shares = ratio ** np.arange(exits, dtype=np.float64)
    shares /= shares.sum()
    left = np.ones(count, bool)
    found: list[float] = []
    for index in range(exits - 1):
        here = np.sort(distances[left, index])
        wanted = min(int(count * shares[index]), len(here))
        threshold = float(here[wanted - 1]) if wanted else float('-inf')
        found.append(threshold)
        left &= distances[:, index] > threshold
    return (*found, float('inf'))


class DeerPolicy:
    """Leaves at the first exit that agrees with the one before; serves one thread."""

    def __init__(self, policy: Policy, limits: Sequence[float]) -> None:
        """Wrap an opened policy.

        Args:
            policy: Opened.
            limits: ``thresholds``.
        """
        self._policy = policy
        self._limits = tuple(limits)
        self.manifest = policy.manifest
        self._moves = policy.manifest.action.dim - int(policy.manifest.action.gripper)

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the wrapped policy."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Whatever was asked for: walk from exit to exit until two agree."""
        begun = time.perf_counter()
        exits = _entered(self._policy, observation)
        first = time.perf_counter()
        before: FloatArray | None = None
        tried, moves = 0, self._moves
        while True:
            layer, actions = next(exits)
            tried += 1
            if before is not None:
                step = rms(actions[:, :moves] - before[:, :moves])
                if step <= self._limits[tried - 2]:  # the last of them is infinite
                    break
            before = actions
        total = self.manifest.layers_total
        return walked_pass(observation, (layer, actions), tried, total, (begun, first))

    def rerun(self, first: Pass) -> Pass:
        """Never asked for: no state is kept to resume from."""
        return self._policy.rerun(first)


def _entered(policy: Policy, observation: Observation) -> Iterator[tuple[int, FloatArray]]:
    """From exit to exit, as far as it is asked for, and no farther than the last exit."""
    exits = deer_exits(policy.engine.layout.layers_total)
    return islice(entered(policy, observation, exits), len(exits))
