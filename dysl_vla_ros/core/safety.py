"""The last guard before the arm: finite, inside the limits, no faster, not ahead of the arm.

A software stop is not a safety-rated stop. Limits are those of the robot description; a
parameter may only tighten them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray, frozen_array
from dysl_vla_ros.errors import ChunkError, ConfigError

_ROUNDING = 1e-9
MAX_TIME_SCALE = 5.0
"""Chunks that ask for more than this many times a velocity limit are refused."""


@dataclass(frozen=True)
class MotionLimits:
    """Per degree of freedom, in the order of ``names``.

    Attributes:
        names: Joint names.
        lower: Lowest position, shape (n,) [rad or m].
        upper: Highest position, shape (n,).
        velocity: Largest speed, shape (n,) [rad/s or m/s], more than 0.
        acceleration: Deceleration of the braking tail [rad/s^2], more than 0.
        max_lead: Largest distance of a command from the measurement [rad].
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: float
    max_lead: float

    def __post_init__(self) -> None:
        """Freeze the arrays and check them."""
        for part in ('lower', 'upper', 'velocity'):
            value = frozen_array(getattr(self, part))
            object.__setattr__(self, part, value)
            if value.shape != (len(self.names),) or np.isnan(value).any():
                raise ConfigError(f'limits.{part}', value, f'{len(self.names)} numbers')
        for index, name in enumerate(self.names):
            if not self.lower[index] < self.upper[index]:
                raise ConfigError(f'limits.lower of {name}', float(self.lower[index]),
                                  f'less than the upper limit {self.upper[index]:g}')
            if not self.velocity[index] > 0:
                raise ConfigError(f'limits.velocity of {name}', float(self.velocity[index]),
                                  'more than 0')

    @property
    def size(self) -> int:
        """Degrees of freedom."""
        return len(self.names)


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


def time_scale(targets: FloatArray, action_period: float, limits: MotionLimits) -> float:
    """How much longer each action must last so that no joint exceeds its velocity limit.

    Args:
        targets: Successive targets, shape (k, n), one action apart.
        action_period: Nominal duration of one action [s].
        limits: The limits.

    Returns:
        Factor on the action period, within [1, ``MAX_TIME_SCALE``].

    Raises:
        ChunkError: A step so large that no policy of this arm meant it; names the joint.
    """
    if len(targets) < 2:
        return 1.0
    ratios = np.abs(np.diff(targets, axis=0)) / action_period / limits.velocity
    worst = float(ratios.max())
    if worst > MAX_TIME_SCALE:
        action, joint = np.unravel_index(int(ratios.argmax()), ratios.shape)
        raise ChunkError(
            f'action {action} moves {limits.names[joint]} at {worst:.1f} times its velocity limit '
            f'{limits.velocity[joint]:g} rad/s: expected at most {MAX_TIME_SCALE:g} times'
        )
    return max(1.0, worst)


def guard_step(
    previous: FloatArray, wanted: FloatArray, elapsed: float, limits: MotionLimits
) -> tuple[FloatArray, tuple[str, ...]]:
    """The last clamp of one tick: no joint moves farther than its limits allow.

    Args:
        previous: Position commanded at the last tick, shape (n,).
        wanted: Position to command now, shape (n,).
        elapsed: Time since the last tick [s].
        limits: The limits.

    Returns:
        The position to command, and entries like ``'velocity:elbow_joint'``.
    """
    reach = limits.velocity * elapsed
    step = np.clip(wanted - previous, -reach, reach)
    allowed = np.clip(previous + step, limits.lower, limits.upper)
    changed = np.abs(allowed - wanted) > _ROUNDING
    return allowed, tuple(
        f'velocity:{name}' for name, is_changed in zip(limits.names, changed, strict=True)
        if is_changed
    )  # fmt: skip


def lead_excess(commanded: FloatArray, measured: FloatArray, limits: MotionLimits) -> str:
    """A sentence when the command leads the arm too far (blocked, or not following), else ''.

    Args:
        commanded: Shape (n,) [rad].
        measured: Shape (n,) [rad].
        limits: The limits.
    """
    lead = np.abs(commanded - measured)
    worst = int(np.argmax(lead))
    if lead[worst] <= limits.max_lead:
        return ''
    return (
        f'{limits.names[worst]} is {lead[worst]:.3f} rad behind its command, limits.max_lead = '
        f'{limits.max_lead:g}: the arm is blocked or does not follow'
    )


def braking_tail(
    position: FloatArray, velocity: FloatArray, acceleration: float, points: int = 4
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Straight-line deceleration to rest, all joints stopping together.

    With ``t_b = max |v| / acceleration``: ``q(t) = q + v (t - t^2 / (2 t_b))``.

    Args:
        position: Where the tail starts, shape (n,).
        velocity: Speed there, shape (n,).
        acceleration: Of the fastest joint [rad/s^2].
        points: Number of rows.

    Returns:
        Times after the start (points,) [s], positions (points, n), velocities (points, n); the
        last row is at rest. At least 20 ms long, so that the times of a message at rest grow.
    """
    duration = max(float(np.max(np.abs(velocity))) / acceleration, 0.02)
    times = duration * np.arange(1, points + 1) / points
    left = 1.0 - times / duration
    positions = position + np.outer(times - times**2 / (2.0 * duration), velocity)
    return times, positions, np.outer(left, velocity)
