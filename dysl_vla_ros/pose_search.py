"""Joints for a pose, near where the arm is and inside its limits: damped, bounded least squares.

Levenberg and Marquardt's search, each step of which is bounded (``bounded_step``): a joint at its
limit leaves the motion to the others, instead of ending it. An arm with joints to spare also
moves them away from their limits, at most ``_POSTURE`` as far as the pose itself asks for, so
that it does not drift into its limits over many poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pinocchio as pin  # type: ignore[import-untyped]

from dysl_vla_ros.bounded_step import bounded_step
from dysl_vla_ros.data_types import FloatArray

Orientation = Literal['full', 'nearest', 'free']
"""Of the wanted orientation: all of it; as much as the joints reach; none."""

MAX_STEPS = 40
_DAMPING = 1e-6
_MAX_STEP = 0.3
"""No joint goes farther in one step [rad or m]."""
_EXACT_M, _EXACT_RAD = 1e-6, 1e-5
"""Where the search ends;"""
ENOUGH_M, ENOUGH_RAD = 1e-4, 1e-3
"""what is accepted where it gets no closer: no arm of this kind repeats a pose better."""
_STILL = 1e-7
_NEAR_LIMIT, _OFF = 0.9, 0.15
"""Beyond this share of its half range a joint begins a second search so far inside [rad or m]."""
_SLOW, _PATIENCE = 0.8, 4
"""So many steps in a row that leave so much of the squared distance end the search."""
_TURN_WEIGHT_M = 0.01
"""With ``nearest`` a radian counts as much as this many metres: the position comes first."""
_POSTURE = 0.5
_POSTURE_LARGEST = 0.05

Place = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]


class PoseSearch:
    """Searches for one arm; keeps no state between calls."""

    def __init__(self, place: Place, lower: FloatArray, upper: FloatArray) -> None:
        """Args: position, rotation and Jacobian of the tip at joints; bounds of the joints."""
        self._place = place
        self._lower = lower
        self._upper = upper
        bounded = np.isfinite(lower) & np.isfinite(upper)
        self._middle = np.zeros_like(lower)
        self._half = np.full_like(lower, np.inf)
        self._middle[bounded] = 0.5 * (lower[bounded] + upper[bounded])
        self._half[bounded] = 0.5 * (upper[bounded] - lower[bounded])

    def search(
        self,
        seed: FloatArray,
        position: FloatArray,
        rotation: FloatArray,
        orientation: Orientation,
    ) -> FloatArray:
        """The joints nearest to a pose, shape (n,), inside the bounds.

        Args:
            seed: Where the search begins, shape (n,) [rad or m].
            position: Wanted, shape (3,) [m].
            rotation: Wanted, shape (3, 3).
            orientation: How much of ``rotation`` is wanted.
        """
        weights = np.ones(6)
        if orientation == 'free':
            weights[3:] = 0.0
        elif orientation == 'nearest':
            weights[3:] = _TURN_WEIGHT_M
        joints = self._descend(seed, position, rotation, weights, orientation != 'nearest')
        if orientation == 'nearest':
            # What the orientation pulled the position away by, which is little, is taken back.
            weights[3:] = 0.0
            joints = self._descend(joints, position, rotation, weights, False)
        return joints

    def seeds(self, seed: FloatArray) -> Iterator[FloatArray]:
        """The seed, then one near it: joints that stand at their limits are taken off them."""
        yield seed
        ratio = (np.clip(seed, self._lower, self._upper) - self._middle) / self._half
        off = np.sign(ratio) * np.minimum(_OFF, 0.25 * self._half)
        at_limit = np.abs(ratio) > _NEAR_LIMIT
        if at_limit.any():
            yield np.where(at_limit, seed - off, seed)

    def _descend(
        self,
        seed: FloatArray,
        position: FloatArray,
        rotation: FloatArray,
        weights: FloatArray,
        spread: bool,
    ) -> FloatArray:
        rows = weights > 0
        scale = weights[rows]
        joints = np.clip(seed, self._lower, self._upper)
        error, jacobian = self._look(joints, position, rotation)
        cost = _cost(error[rows] * scale)
        damping = _DAMPING
        slow = 0
        spread = spread and len(joints) > int(rows.sum())
        for _ in range(MAX_STEPS):
            if _exact(error * rows):
                break
            low = np.maximum(self._lower - joints, -_MAX_STEP)
            high = np.minimum(self._upper - joints, _MAX_STEP)
            weighted, left = jacobian[rows] * scale[:, None], error[rows] * scale
            step = bounded_step(weighted, left, damping * _mean(scale), low, high)
            if spread:
                step = self._spread(joints, weighted, step, low, high)
                spread = False
            if np.abs(step).max() < _STILL:
                break
            there = joints + step
            error_there, jacobian_there = self._look(there, position, rotation)
            cost_there = _cost(error_there[rows] * scale)
            slow = slow + 1 if cost_there > _SLOW * cost else 0
            if cost_there < cost:
                joints, error, jacobian, cost = there, error_there, jacobian_there, cost_there
                damping = max(damping * 0.1, _DAMPING)
            else:
                damping *= 10.0
            if slow == _PATIENCE:
                break
        return joints

    def _look(
        self, joints: FloatArray, position: FloatArray, rotation: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        there, turned, jacobian = self._place(joints)
        error = np.empty(6)
        error[:3] = position - there
        error[3:] = pin.log3(rotation @ turned.T)
        return error, jacobian

    def _spread(
        self,
        joints: FloatArray,
        jacobian: FloatArray,
        step: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> FloatArray:
        """The step, and beside it what leads joints from their limits and leaves the tip."""
        ratio = (joints - self._middle) / self._half
        wish = -(ratio**3)
        damped = jacobian @ jacobian.T
        damped[np.diag_indices(len(damped))] += 1e-4
        wish -= jacobian.T @ np.linalg.solve(damped, jacobian @ wish)
        size = float(np.abs(wish).max())
        if size < 1e-9:
            return step
        most = min(_POSTURE * float(np.abs(step).max()), _POSTURE_LARGEST)
        wish *= most * min(1.0, 10 * size) / size
        return np.asarray(np.clip(step + wish, low, high))


def _mean(scale: FloatArray) -> float:
    return float(scale.min()) ** 2


def _cost(error: FloatArray) -> float:
    return float(error @ error)


def _exact(error: FloatArray) -> bool:
    metres, radians = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
    return bool(metres < _EXACT_M and radians < _EXACT_RAD)
