"""The last guard before the arm: finite, inside the limits, no faster, not ahead of the arm.

A software stop is not a safety-rated stop. Limits are those of the robot description; a
parameter may only tighten them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, frozen_array
from dysl_vla_ros.errors import ChunkError, ConfigError

_ROUNDING = 1e-9
MAX_TIME_SCALE = 5.0
"""Chunks that ask for more than this many times a velocity limit are refused."""
SHORTEST_BRAKE_S = 0.02


@dataclass(frozen=True)
class MotionLimits:
    """Per degree of freedom, in the order of ``names``.

    Attributes:
        names: Joint names.
        lower: Lowest position, shape (n,) [rad or m].
        upper: Highest position, shape (n,).
        velocity: Largest speed, shape (n,) [rad/s or m/s], more than 0.
        acceleration: Largest acceleration, speeding up and braking, one number or shape (n,)
            [rad/s^2 or m/s^2], more than 0; kept with shape (n,).
        max_lead: Largest distance of a command from the measurement, one number or shape (n,)
            [rad or m]; kept with shape (n,).
        rated: Speed of the robot description before a parameter tightened it, shape (n,): what
            the arm itself can do; None = ``velocity``.
        units: ``rad`` or ``m`` per joint; empty = all ``rad``.
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    max_lead: FloatArray
    rated: FloatArray | None = None
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the arrays and check them."""
        for part in ('acceleration', 'max_lead'):
            wide = np.asarray(getattr(self, part), np.float64)
            object.__setattr__(self, part, np.broadcast_to(wide, (len(self.names),)))
        object.__setattr__(self, 'rated', self.velocity if self.rated is None else self.rated)
        object.__setattr__(self, 'units', self.units or ('rad',) * len(self.names))
        for part in ('lower', 'upper', 'velocity', 'acceleration', 'max_lead', 'rated'):
            value = frozen_array(getattr(self, part))
            object.__setattr__(self, part, value)
            if value.shape != (len(self.names),) or np.isnan(value).any():
                raise ConfigError(f'limits.{part}', value, f'{len(self.names)} numbers')
        for index, name in enumerate(self.names):
            if not self.lower[index] < self.upper[index]:
                raise ConfigError(
                    f'limits.lower of {name}',
                    float(self.lower[index]),
                    f'less than the upper limit {self.upper[index]:g}',
                )
            for part in ('velocity', 'acceleration', 'max_lead', 'rated'):
                number = float(getattr(self, part)[index])
                if not number > 0:
                    raise ConfigError(f'limits.{part} of {name}', number, 'more than 0')

    @property
    def size(self) -> int:
        """Degrees of freedom."""
        return len(self.names)

    @property
    def endless(self) -> NDArray[np.bool_]:
        """Which joints have no limits: whole turns change nothing, shape (n,)."""
        return np.isinf(self.lower) & np.isinf(self.upper)

    def near(self, place: FloatArray, there: FloatArray) -> FloatArray:
        """The same place, endless joints by the whole turns that are nearest to another, (n,)."""
        turns = np.round((there - place) / (2 * np.pi))
        return np.asarray(place + 2 * np.pi * np.where(self.endless, turns, 0.0))

    def each(self, rad: float, metres: float) -> FloatArray:
        """Per joint the number that is meant for its unit, shape (n,)."""
        return np.array([metres if unit == 'm' else rad for unit in self.units])


def check_finite(values: FloatArray, what: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ChunkError: Naming the first bad index.
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise ChunkError(f'{what}{bad[0].tolist()} = {values[tuple(bad[0])]}: expected finite')


def clamp_positions(
    targets: FloatArray, limits: MotionLimits
) -> tuple[FloatArray, tuple[str, ...]]:
    """Targets moved inside the position limits, and which joints were moved.

    Args:
        targets: Shape (k, n).
        limits: The limits.

    Returns:
        Shape (k, n), and entries like ``'position:elbow_joint'``.
    """
    inside = np.clip(targets, limits.lower, limits.upper)
    changed = np.abs(inside - targets).max(axis=0) > _ROUNDING
    return inside, tuple(
        f'position:{name}' for name, is_changed in zip(limits.names, changed, strict=True)
        if is_changed
    )  # fmt: skip


def check_speed(targets: FloatArray, action_period: float, limits: MotionLimits) -> None:
    """Refuse a chunk that no policy of this arm meant.

    What merely exceeds the limits is played more slowly; the measure here is what the arm itself
    can do, not what a parameter leaves of it.

    Args:
        targets: Successive targets, shape (k, n), one action apart.
        action_period: Nominal duration of one action [s].
        limits: The limits.

    Raises:
        ChunkError: A step of more than ``MAX_TIME_SCALE`` times the rated speed; names the joint.
    """
    if len(targets) < 2:
        return
    assert limits.rated is not None
    ratios = np.abs(np.diff(targets, axis=0)) / action_period / limits.rated
    worst = float(ratios.max())
    if worst > MAX_TIME_SCALE:
        action, joint = np.unravel_index(int(ratios.argmax()), ratios.shape)
        raise ChunkError(
            f'action {action} moves {limits.names[joint]} at {worst:.1f} times its velocity limit '
            f'{limits.rated[joint]:g} {limits.units[joint]}/s: expected at most '
            f'{MAX_TIME_SCALE:g} times'
        )


def brake_time(velocity: FloatArray, limits: MotionLimits) -> float:
    """Time in which all joints stop together, each inside its acceleration [s].

    At least ``SHORTEST_BRAKE_S``, at rest too, so that the times of a message always grow.
    """
    return max(float(np.max(np.abs(velocity) / limits.acceleration)), SHORTEST_BRAKE_S)


def brake_sample(
    position: FloatArray, velocity: FloatArray, duration: float, elapsed: float
) -> tuple[FloatArray, FloatArray]:
    """Position and velocity during a straight brake: ``q(t) = q + v (t - t^2 / (2 T))``.

    Args:
        position: Where it starts, shape (n,).
        velocity: Speed there, shape (n,).
        duration: T, from ``brake_time`` [s].
        elapsed: Since its start, at least 0; beyond ``duration`` the arm rests [s].
    """
    gone = min(elapsed, duration)
    way = gone - gone**2 / (2 * duration)
    return position + velocity * way, velocity * (1 - gone / duration)


def stop_position(position: FloatArray, velocity: FloatArray, limits: MotionLimits) -> FloatArray:
    """Where a straight brake from here ends, shape (n,)."""
    return position + velocity * (0.5 * brake_time(velocity, limits))
