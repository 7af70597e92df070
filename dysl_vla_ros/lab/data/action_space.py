"""Whether actions are absolute or increments, by what the state does after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.lab.data.correlation import correlation

_STILL = 0.02
"""A number that moves by less, as a share of the one that moves most, stands still."""
_SURE, _APART = 0.9, 0.05
"""Correlation that shows what an action is, and by how much it is above the other one."""
_LEAST = 12
"""Frames."""


@dataclass(frozen=True)
class Follows:
    """How the state follows the actions.

    Attributes:
        absolute: How far actions are from the next state [standard deviations of the state].
        increments: How far from the next step, likewise.
        near: Per number, correlation with the next state and how many times as large.
        steps: The same with the next step.
        apart: Per number, median of what an action is above the next state, as both are.
    """

    absolute: float
    increments: float
    near: tuple[tuple[float, float], ...]
    steps: tuple[tuple[float, float], ...]
    apart: tuple[float, ...]

    def slopes(self, absolute: bool) -> tuple[float, ...]:
        """How many times as large each action is as what it causes; 0.0 where that is not sure.

        Negative where the state goes the other way. Where actions are clearly positions, though
        they were taken for increments, it is as such.
        """
        found = []
        for (near, slope), (step, steep) in zip(self.near, self.steps, strict=True):
            if abs(near) > _SURE and abs(near) > abs(step) + _APART:
                found.append(slope)
            elif not absolute and abs(step) > _SURE and abs(step) > abs(near) + _APART:
                found.append(steep)
            else:
                found.append(0.0)
        return tuple(found)


def follow(
    states: Sequence[NDArray[np.floating[Any]]], actions: Sequence[NDArray[np.floating[Any]]]
) -> Follows:
    """Compare actions with what the state does after them.

    Args:
        states: Of each episode, (frames, numbers).
        actions: The same numbers.
    """
    scale = np.concatenate(states).std(axis=0)
    scale = np.maximum(scale, max(_STILL * float(scale.max()), 1e-6))
    said = np.concatenate([part[:-1] for part in actions]).astype(np.float64)
    after = np.concatenate([part[1:] for part in states]).astype(np.float64)
    steps = np.concatenate([np.diff(part, axis=0) for part in states]).astype(np.float64)
    errors = [float(np.median((np.abs(said - found) / scale).mean(axis=1))) if len(said) else 0.0
              for found in (after, steps)]  # fmt: skip
    apart = np.median(said - after, axis=0) if len(said) else np.zeros(scale.shape)
    return Follows(errors[0], errors[1], _lines(said, after), _lines(said, steps),
                   tuple(apart.tolist()))  # fmt: skip


def _lines(
    said: NDArray[np.float64], found: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Correlation and slope of each column."""
    lines = []
    for one, other in zip(said.T, found.T, strict=True):
        together = correlation(one, other) if len(one) >= _LEAST else 0.0
        slope = together * float(one.std() / other.std()) if together else 0.0
        lines.append((together, slope))
    return tuple(lines)


def guess_space(follows: Follows | None, kind: str, told: list[str]) -> ActionSpace:
    """Absolute or increments, by what comes after an action.

    Args:
        follows: How the state follows; None where actions are not the same numbers.
        kind: ``joint`` or ``eef``.
        told: What is guessed is added to it.
    """
    if follows is None:
        told.append('actions of other numbers than the state: increments of the end effector '
                    '(--action-space says otherwise)')  # fmt: skip
        return 'eef_delta'
    absolute = follows.absolute <= follows.increments
    told.append(
        f'actions are {"absolute" if absolute else "increments"}: they differ by '
        f'{follows.absolute:.2g} from the next state and by {follows.increments:.2g} '
        'from the next step, in standard deviations (--action-space says otherwise)'
    )
    if kind == 'eef':
        return 'eef_pose' if absolute else 'eef_delta'
    return 'joint_position' if absolute else 'joint_delta'
