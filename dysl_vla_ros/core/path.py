"""The targets of one chunk as a curve over the playback progress, and how fast it may be walked.

The curve knows no time. How fast its progress may grow follows from the joints' limits: along
the curve, velocity is slope times speed, and acceleration is curvature times speed squared plus
slope times the change of speed. ``speed_limits`` turns both into one bound per place, walked
backwards from the end, where the arm must stand (Bobrow, Dubowsky and Gibson, "Time-optimal
control of robotic manipulators along specified paths", 1985, on a grid).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray, frozen_array

GRID = 8
"""Places per action at which the speed is bounded."""
SHARE = 0.75
"""Of the acceleration limit, for the path itself; the rest is for the fade at a seam."""
ACROSS = 0.4
"""Of the acceleration limit, for following a bend: the speed can always be changed in it."""
_TINY = 1e-12


@dataclass(frozen=True)
class Path:
    """A C1 curve over the progress.

    Attributes:
        start: Progress at the chunk's observation.
        targets: Absolute targets, shape (horizon + 1, n); row 0 is the reference.
        tangents: d target / d action at each row, shape (horizon + 1, n).
        displacements: Normalised displacement per action, shape (horizon, action_dim).
        gripper: Opening per action, shape (horizon,), or (horizon, arms) where there are several;
            None without a gripper.
        end: Progress at which playback must stop (less than the whole chunk for a prefix).
        limits: Largest progress speed squared at each place of the grid [(actions/s)^2].
    """

    start: float
    targets: FloatArray
    tangents: FloatArray
    displacements: FloatArray
    gripper: FloatArray | None
    end: float
    limits: FloatArray

    @property
    def horizon(self) -> int:
        """Actions of the chunk, 0 for a place."""
        return len(self.displacements)

    def sample(self, progress: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Positions and d position / d action at places of shape (m,), each (m, n)."""
        place = np.clip(progress - self.start, 0.0, self.end - self.start)
        index = np.minimum(place.astype(int), len(self.targets) - 2)
        u = (place - index)[:, None]
        return _hermite(
            self.targets[index],
            self.targets[index + 1],
            self.tangents[index],
            self.tangents[index + 1],
            u,
        )

    def top_speed(self, progress: float) -> float:
        """Fastest that the progress may grow at a place, joints' limits alone [actions/s]."""
        place = (progress - self.start) * GRID
        if place >= len(self.limits) - 1:
            return 0.0
        index = max(int(place), 0)
        share = min(max(place - index, 0.0), 1.0)
        low, high = self.limits[index], self.limits[index + 1]
        return math.sqrt(max(low + share * (high - low), 0.0))

    def action_at(self, progress: float) -> int:
        """Index of the action played at a progress."""
        return min(max(int(progress - self.start), 0), max(self.horizon - 1, 0))


def still(position: FloatArray, progress: float) -> Path:
    """A path that is one place: where the arm rests."""
    rows = frozen_array(np.stack([position, position]))
    return Path(
        start=progress,
        targets=rows,
        tangents=frozen_array(np.zeros_like(rows)),
        displacements=frozen_array(np.zeros((0, 1))),
        gripper=None,
        end=progress,
        limits=frozen_array([0.0]),
    )


def chunk_path(
    start: float,
    end: float,
    targets: FloatArray,
    displacements: FloatArray,
    gripper: FloatArray | None,
    limits: MotionLimits,
) -> Path:
    """The path of a chunk.

    Args:
        start: Progress at the chunk's observation.
        end: Progress at which playback must stop, more than ``start``.
        targets: Shape (horizon + 1, n); row 0 is the reference at the observation.
        displacements: Shape (horizon, action_dim), normalised.
        gripper: Shape (horizon,) or (horizon, arms), or None.
        limits: Of the joints.
    """
    tangents = slopes(targets)
    return Path(
        start=start,
        targets=frozen_array(targets),
        tangents=frozen_array(tangents),
        displacements=frozen_array(displacements),
        gripper=None if gripper is None else frozen_array(gripper),
        end=end,
        limits=frozen_array(speed_limits(targets, tangents, end - start, limits)),
    )


def speed_limits(
    targets: FloatArray, tangents: FloatArray, length: float, limits: MotionLimits
) -> FloatArray:
    """Largest progress speed squared at every place of a grid, ``GRID`` places per action.

    Args:
        targets: Shape (horizon + 1, n).
        tangents: The same shape.
        length: Actions that are played; the speed at its end is 0.
        limits: Of the joints.

    Returns:
        Shape (k,) [(actions/s)^2]; the last place lies at or just behind ``length``.
    """
    cells = max(1, math.ceil(length * GRID - 1e-9))
    u = np.arange(GRID + 1) / GRID
    left, right = targets[:-1, None], targets[1:, None]
    before, after = tangents[:-1, None], tangents[1:, None]
    column = u[None, :, None]
    slope = np.abs(_slope(left, right, before, after, column))
    bend = np.abs(
        (12 * column - 6) * (left - right) + (6 * column - 4) * before + (6 * column - 2) * after
    )
    # Per cell the larger of both ends; the bend jumps between actions, never inside one.
    steepest = np.maximum(slope[:, :-1], slope[:, 1:]).reshape(-1, targets.shape[1])[:cells]
    sharpest = np.maximum(bend[:, :-1], bend[:, 1:]).reshape(-1, targets.shape[1])[:cells]
    by_velocity = np.min(limits.velocity / np.maximum(steepest, _TINY), axis=1) ** 2
    by_bend = np.min(ACROSS * limits.acceleration / np.maximum(sharpest, _TINY), axis=1)
    cell = np.minimum(by_velocity, by_bend)
    bound = np.append(cell, np.inf)
    bound[1:-1] = np.minimum(cell[:-1], cell[1:])
    bound[-1] = 0.0
    # The last cell may be cut short by the end of the path.
    width = np.full(cells, 1.0 / GRID)
    width[-1] *= min(1.0, max(length * GRID - (cells - 1), 1e-3))
    for index in range(cells - 1, -1, -1):
        spare = SHARE * limits.acceleration - sharpest[index] * bound[index + 1]
        change = float(np.min(spare / np.maximum(steepest[index], _TINY)))
        bound[index] = min(bound[index], bound[index + 1] + 2.0 * float(width[index]) * change)
    return bound


def slopes(targets: FloatArray) -> FloatArray:
    """Slopes of a curve that never leaves the interval between two targets.

    Source: Fritsch and Butland, "A method for constructing local monotone piecewise cubic
    interpolants" (1984), for equal spacing: the harmonic mean of the neighbouring steps, and 0
    where their signs differ. A plan that stops therefore stops without overshoot.
    """
    steps = np.diff(targets, axis=0)
    left, right = steps[:-1], steps[1:]
    same_sign = left * right > 0
    mean = np.divide(2 * left * right, left + right, where=same_sign, out=np.zeros_like(left))
    return np.concatenate([steps[:1], mean, steps[-1:]])


def _hermite(
    left: FloatArray,
    right: FloatArray,
    before: FloatArray,
    after: FloatArray,
    u: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Cubic Hermite value and slope at ``u`` in [0, 1]."""
    u2, u3 = u * u, u * u * u
    value = (
        (2 * u3 - 3 * u2 + 1) * left
        + (u3 - 2 * u2 + u) * before
        + (3 * u2 - 2 * u3) * right
        + (u3 - u2) * after
    )
    return value, _slope(left, right, before, after, u)


def _slope(
    left: FloatArray,
    right: FloatArray,
    before: FloatArray,
    after: FloatArray,
    u: FloatArray,
) -> FloatArray:
    slope: FloatArray = (
        (6 * u * u - 6 * u) * (left - right)
        + (3 * u * u - 4 * u + 1) * before
        + (3 * u * u - 2 * u) * after
    )
    return slope
