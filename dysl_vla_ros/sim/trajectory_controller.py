"""Trajectories as ros2_controllers' joint_trajectory_controller executes them, in numpy.

Its semantics, as the node relies on them: a new trajectory replaces the old one at once; stamp
0 starts it now; until its first point the arm moves on a cubic spline from the state at
acceptance, measured or desired by option; between points it follows cubic splines through
positions and velocities; after the last point it holds that point at rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError, InputError


@dataclass(frozen=True)
class _Active:
    """Knots of the trajectory being followed; the first one is where it started."""

    times: FloatArray
    positions: FloatArray
    velocities: FloatArray


class TrajectoryController:
    """Follows joint trajectories; see the module's text for the semantics.

    Args:
        joint_names: Its joints, in the order of every array that it returns.
        interpolate_from_desired_state: Start a new trajectory from the last desired state
            instead of the measured one; the measured one trails by the drive's lag.
    """

    def __init__(
        self, joint_names: Sequence[str], interpolate_from_desired_state: bool = True
    ) -> None:
        if not joint_names or len(set(joint_names)) != len(joint_names):
            raise ConfigError('joint_names', tuple(joint_names), 'at least one name, none twice')
        self.joint_names = tuple(joint_names)
        self.interpolate_from_desired_state = interpolate_from_desired_state
        self._active: _Active | None = None

    def reset(self, now: float, positions: FloatArray) -> None:
        """Forget every trajectory and hold ``positions``, shape (n,), from ``now`` on."""
        held = np.array(positions, dtype=np.float64)[None]
        self._active = _Active(np.array([now]), held, np.zeros_like(held))

    def accept(
        self,
        times: FloatArray,
        positions: FloatArray,
        velocities: FloatArray,
        now: float,
        measured: tuple[FloatArray, FloatArray],
        stamp: float = 0.0,
        joint_names: Sequence[str] | None = None,
    ) -> None:
        """Follow a new trajectory from ``now`` on.

        Args:
            times: Seconds after the start of the trajectory, increasing, shape (k,).
            positions: Shape (k, n) [rad].
            velocities: Shape (k, n) [rad/s].
            now: Time of arrival [s].
            measured: Joint positions (n,) and velocities (n,) at ``now``.
            stamp: When the trajectory starts [s]; 0 means now.
            joint_names: Column order, if it is not this controller's own.

        Raises:
            InputError: If the trajectory is one that the real controller would reject.
        """
        times, positions, velocities = (
            np.array(values, dtype=np.float64) for values in (times, positions, velocities)
        )
        if joint_names is not None:
            order = self._order(joint_names)
            positions, velocities = positions[..., order], velocities[..., order]
        start = now if stamp == 0.0 else stamp
        self._check(times, positions, velocities)
        if start + times[-1] < now:
            raise InputError(
                f'header.stamp = {stamp} s: the trajectory ended {now - start - times[-1]:.3f} s '
                f'ago; expected an end in the future, or stamp 0 to start at once'
            )
        if self.interpolate_from_desired_state and self._active is not None:
            before = self.sample(now)
        else:
            before = measured
        knots = start + times
        later = knots > now
        if later.all():
            first = np.array([now])
            knots = np.concatenate((first, knots))
            positions = np.vstack((before[0], positions))
            velocities = np.vstack((before[1], velocities))
        self._active = _Active(knots, positions, velocities)

    def sample(self, now: float) -> tuple[FloatArray, FloatArray]:
        """Desired positions and velocities at ``now``, each of shape (n,)."""
        active = self._active
        if active is None:
            raise InputError('sample: nothing to follow; expected reset() or accept() before it')
        index = int(np.searchsorted(active.times, now, side='right')) - 1
        if index >= len(active.times) - 1:
            return active.positions[-1], np.zeros(len(self.joint_names))
        index = max(index, 0)
        span = active.times[index + 1] - active.times[index]
        u = max(0.0, (now - active.times[index]) / span)
        start, end = active.positions[index], active.positions[index + 1]
        v0, v1 = active.velocities[index] * span, active.velocities[index + 1] * span
        # Cubic Hermite polynomial in u = 0..1, with velocities per segment.
        quadratic = 3.0 * (end - start) - 2.0 * v0 - v1
        cubic = 2.0 * (start - end) + v0 + v1
        position = start + u * (v0 + u * (quadratic + u * cubic))
        velocity = (v0 + u * (2.0 * quadratic + 3.0 * u * cubic)) / span
        return position, velocity

    def finished(self, now: float) -> bool:
        """Whether the arm holds the last point of everything it was sent."""
        return self._active is None or now >= self._active.times[-1]

    def _order(self, joint_names: Sequence[str]) -> list[int]:
        if sorted(joint_names) != sorted(self.joint_names):
            raise InputError(
                f'joint_names = {list(joint_names)}: expected exactly {list(self.joint_names)}'
            )
        return [list(joint_names).index(name) for name in self.joint_names]

    def _check(self, times: FloatArray, positions: FloatArray, velocities: FloatArray) -> None:
        shape = (len(times), len(self.joint_names))
        if times.ndim != 1 or len(times) == 0:
            raise InputError(f'points: shape {times.shape}; expected at least one point')
        for name, values in (('positions', positions), ('velocities', velocities)):
            if values.shape != shape:
                raise InputError(f'{name}: shape {values.shape}; expected {shape}')
            if not np.isfinite(values).all():
                raise InputError(f'{name}: not finite; expected finite numbers')
        if not np.isfinite(times).all() or times[0] < 0.0 or (np.diff(times) <= 0.0).any():
            raise InputError(
                f'time_from_start = {times.tolist()}: expected strictly increasing seconds >= 0'
            )
        if np.abs(velocities[-1]).max() > 1e-6:
            raise InputError(
                f'velocities of the last point = {velocities[-1].tolist()}: expected zero, '
                f'so that the arm is at rest if nothing follows'
            )
