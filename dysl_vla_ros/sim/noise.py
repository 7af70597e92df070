"""Disturbances of an expert episode, so that what is recorded covers deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray


@dataclass(frozen=True)
class Noise:
    """How an episode is disturbed; the recorded labels stay those of the clean expert.

    Attributes:
        step: Standard deviation of the random force-like drift of each action [m].
        turn: The same for rotation [rad].
        correlation: How much of the drift survives into the next action, 0..1.
        jump_rate: Chance per action that a larger drift of ``jump`` begins.
        jump: Size of such a drift, in all [m].
        slip_rate: Chance per action that a closing or holding gripper opens for a moment.
        start_rate: Chance that the episode starts from a random pose above the table.
    """

    step: float = 0.0007
    turn: float = 0.004
    correlation: float = 0.6
    jump_rate: float = 0.012
    jump: float = 0.03
    slip_rate: float = 0.003
    start_rate: float = 0.3

    def scaled(self, factor: float) -> Noise:
        """The same disturbances, weaker or stronger."""
        return Noise(
            self.step * factor, self.turn * factor, self.correlation, self.jump_rate * factor,
            self.jump, self.slip_rate * factor, self.start_rate * min(1.0, factor),
        )  # fmt: skip


class Disturbance:
    """Random drift with memory; the only thing here that is not a function of the state."""

    def __init__(self, noise: Noise, generator: np.random.Generator) -> None:
        self._noise = noise
        self._generator = generator
        self._drift = np.zeros(6)
        self._jump = np.zeros(3)
        self._jump_left = 0
        self._slip_left = 0

    def apply(self, action: FloatArray) -> FloatArray:
        """The action (7,) as it is executed."""
        noise, generator = self._noise, self._generator
        spread = np.array((noise.step,) * 3 + (0.5 * noise.turn,) * 2 + (noise.turn,))
        fresh = generator.normal(0.0, 1.0, 6) * spread
        self._drift = noise.correlation * self._drift + fresh
        draws = generator.random(2)
        direction = generator.normal(0.0, 1.0, 3)
        length = int(generator.integers(4, 9))
        if self._jump_left == 0 and draws[0] < noise.jump_rate:
            self._jump_left = length
            self._jump = direction / np.linalg.norm(direction) * noise.jump / length
        if self._slip_left == 0 and draws[1] < noise.slip_rate:
            self._slip_left = length
        played = action.copy()
        played[:6] += self._drift
        if self._jump_left > 0:
            self._jump_left -= 1
            played[:3] += self._jump
        if self._slip_left > 0:
            self._slip_left -= 1
            played[6] = 1.0 - played[6]
        return played
