"""What a controller makes of points with velocities: cubics, and the exact peak of their speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray


@dataclass(frozen=True)
class Curve:
    """Knots joined by cubics; at rest at the first before it, at the last after it.

    Attributes:
        times: Increasing [s], shape (k,).
        positions: Shape (k, n).
        velocities: Shape (k, n).
    """

    times: FloatArray
    positions: FloatArray
    velocities: FloatArray

    def at(self, instants: FloatArray) -> FloatArray:
        """Positions at ``instants``, shape (m,) -> (m, n)."""
        return self._evaluate(np.atleast_1d(instants))[0]

    def state(self, instant: float) -> tuple[FloatArray, FloatArray]:
        """Position and velocity at one instant, each of shape (n,)."""
        positions, velocities = self._evaluate(np.array([instant]))
        return positions[0], velocities[0]

    def peak_speed(self, since: float, until: float) -> FloatArray:
        """Highest speed of each joint between two instants, shape (n,), not sampled but solved."""
        peak = np.zeros(self.positions.shape[1])
        since, until = max(since, float(self.times[0])), min(until, float(self.times[-1]))
        if until <= since or len(self.times) < 2:
            return peak
        first = max(0, int(np.searchsorted(self.times, since, side='right')) - 1)
        last = min(len(self.times) - 1, int(np.searchsorted(self.times, until, side='left')))
        for index in range(first, last):
            span = self.times[index + 1] - self.times[index]
            v0, quadratic, cubic = self._segment(index)
            low = np.clip((since - self.times[index]) / span, 0.0, 1.0)
            high = np.clip((until - self.times[index]) / span, 0.0, 1.0)
            with np.errstate(divide='ignore', invalid='ignore'):
                turn = np.nan_to_num(-quadratic / (3.0 * cubic), posinf=1.0, neginf=0.0)
            for u in (low, high, np.clip(turn, low, high)):
                speed = np.abs(v0 + u * (2.0 * quadratic + 3.0 * u * cubic)) / span
                peak = np.maximum(peak, speed)
        return peak

    def _segment(self, index: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Coefficients of u, u^2 and u^3 for u = 0..1 from knot ``index`` to the next."""
        span = self.times[index + 1] - self.times[index]
        move = self.positions[index + 1] - self.positions[index]
        v0, v1 = self.velocities[index] * span, self.velocities[index + 1] * span
        return v0, 3.0 * move - 2.0 * v0 - v1, v0 + v1 - 2.0 * move

    def _evaluate(self, instants: FloatArray) -> tuple[FloatArray, FloatArray]:
        count = self.positions.shape[1]
        positions = np.empty((len(instants), count))
        velocities = np.zeros((len(instants), count))
        before, after = instants <= self.times[0], instants >= self.times[-1]
        positions[before], positions[after] = self.positions[0], self.positions[-1]
        at_start = instants == self.times[0]
        velocities[at_start] = self.velocities[0]
        places = np.searchsorted(self.times, instants, side='right') - 1
        for index in np.unique(places[~before & ~after]):
            here = (places == index) & ~before & ~after
            span = self.times[index + 1] - self.times[index]
            u = ((instants[here] - self.times[index]) / span)[:, None]
            v0, quadratic, cubic = self._segment(int(index))
            positions[here] = self.positions[index] + u * (v0 + u * (quadratic + u * cubic))
            velocities[here] = (v0 + u * (2.0 * quadratic + 3.0 * u * cubic)) / span
        return positions, velocities
