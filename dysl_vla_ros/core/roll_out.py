"""From where the arm is, along the path, as fast as every limit allows: the next knots.

One step of the roll-out asks for the fastest playback whose cubic, as a controller will run it,
keeps position, velocity and acceleration of every joint, and from whose end the arm could still
stop inside them. What lies between arm and path (the seam of a new chunk, a stop beside the
path, the way back after a push) is a *fade*: a cubic in time that takes offset and velocity to
zero, as long as the limits need. Where no step is allowed the roll-out ends, and the plan brakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dysl_vla_ros.core import safety, spline
from dysl_vla_ros.core.motion_plan import Knot, MotionPlan
from dysl_vla_ros.core.path import Path
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray

SHORTEST_STEP_S = 0.02
"""Knots lie one command period apart, or this: a command is a place on the cubic between two."""
_EPS = 1e-9
_SPEEDS = np.array([1.0, 0.96, 0.9, 0.8, 0.68, 0.55, 0.4, 0.25, 0.1, 0.0])
"""Shares of the wanted playback speed that are tried, in this order;"""
_SLOWING = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
"""then shares of the way back to the present speed."""
_FADE_SHARES = (0.25, 0.6)
"""Of velocity and acceleration limit, for a fade; the second when the first gives no step."""
_HALVINGS = 40
_PRECISION = 0.01
"""Of a speed that a path allows: a way may be walked a thousandth as fast as wanted."""
_LANDING = 0.05
"""Actions: so near to the end of a path it is reached in one step, if the limits allow."""
_OFF_PATH = 1e-4
_OFF_SPEED = 1e-2

Allowed = Callable[[FloatArray], bool]


@dataclass(frozen=True)
class Fade:
    """What is added to the path until the arm is on it.

    Attributes:
        begin: When it begins [s].
        length: Seconds until it is over, more than 0.
        offset: Arm minus path at its begin, shape (n,).
        slope: Velocity of the arm minus that along the path, shape (n,).
    """

    begin: float
    length: float
    offset: FloatArray
    slope: FloatArray

    def at(self, time: float) -> tuple[FloatArray, FloatArray]:
        """Offset and its velocity at a time."""
        zero = np.zeros_like(self.offset)
        elapsed = max(time - self.begin, 0.0)
        if elapsed >= self.length:
            return zero, zero
        return spline.sample((self.offset, self.slope), (zero, zero), self.length, elapsed)


@dataclass(frozen=True)
class Demand:
    """How the path shall be walked.

    Attributes:
        top: Wanted playback speed [actions/s].
        ramp: How fast playback may speed up [actions/s^2].
        look_ahead: How far the knots should reach [s].
        fade: Shortest time in which a seam fades [s].
        rest: From the first knot on, the arm must be able to rest within this [s].
        step: Between two knots [s].
        lead: Command minus measurement per joint, shape (n,); None when it does not count.
        lead_speed: Speed bound of a joint that walks farther ahead of the arm, shape (n,).
    """

    top: float
    ramp: float
    look_ahead: float
    fade: float
    rest: float
    step: float
    lead: FloatArray | None = None
    lead_speed: FloatArray | None = None


class RollOut:
    """Makes plans under fixed limits; keeps no state between calls."""

    def __init__(self, limits: MotionLimits, allowed: Allowed | None = None) -> None:
        """Args: the limits, and whether joints (n,) may be commanded at all (a workspace)."""
        self.limits = limits
        self._allowed = allowed

    def plan(
        self, state: Knot, path: Path, fade: Fade | None, demand: Demand
    ) -> tuple[MotionPlan, Fade]:
        """Knots from ``state`` on.

        Args:
            state: Where the arm is now.
            path: Where it should go.
            fade: The fade in force; None (a new path) begins one.
            demand: How fast.

        Returns:
            The plan, whose first knot is ``state``, and the fade now in force.
        """
        bounds = (
            np.minimum(self.limits.lower, state.position) - _EPS,
            np.maximum(self.limits.upper, state.position) + _EPS,
        )
        brakes = max(demand.rest - demand.step, demand.step)
        speeds = np.minimum(self.limits.velocity, self.limits.acceleration * brakes)
        if fade is None or self._off(state, path, fade):
            state, fade = self._begin_fade(state, path, demand, _FADE_SHARES[0])
        knots, in_force = [state], fade
        while knots[-1].time - state.time < demand.look_ahead - _EPS:
            here = knots[-1]
            if here.at_rest and here.progress >= path.end and _over(fade, here.time):
                break
            following = self._step(here, path, fade, demand, bounds, speeds)
            for share in _FADE_SHARES if following is None else ():
                here, fade = self._begin_fade(here, path, demand, share)
                following = self._step(here, path, fade, demand, bounds, speeds)
                if following is not None:
                    knots[-1] = here
                    break
            if len(knots) == 1:
                in_force = fade
            if following is None:
                break
            knots.append(following)
        return self._ending(knots, demand), in_force

    def may_stop(self, state: Knot) -> bool:
        """Whether a straight brake from here stays inside the position limits."""
        end = safety.stop_position(state.position, state.velocity, self.limits)
        low = np.minimum(self.limits.lower, state.position) - _EPS
        high = np.maximum(self.limits.upper, state.position) + _EPS
        return bool(((end >= low) & (end <= high)).all()) and self._is_allowed(end)

    def _ending(self, knots: Sequence[Knot], demand: Demand) -> MotionPlan:
        """Drop the knots from which the arm would rest too late."""
        count = len(knots)
        while count > 1:
            last = knots[count - 1]
            brake = safety.brake_time(last.velocity, self.limits)
            if last.time - knots[0].time + brake <= demand.rest + _EPS:
                break
            count -= 1
        kept = tuple(knots[:count])
        return MotionPlan(kept, safety.brake_time(kept[-1].velocity, self.limits))

    def _off(self, state: Knot, path: Path, fade: Fade) -> bool:
        position, slope = path.sample(np.array([state.progress]))
        offset, drift = fade.at(state.time)
        return bool(
            np.abs(position[0] + offset - state.position).max() > _OFF_PATH
            or np.abs(slope[0] * state.speed + drift - state.velocity).max() > _OFF_SPEED
        )

    def _begin_fade(
        self, state: Knot, path: Path, demand: Demand, share: float
    ) -> tuple[Knot, Fade]:
        """A fade from the arm's state, and the playback speed that fits its velocity best."""
        position, slope = path.sample(np.array([state.progress]))
        weights = 1.0 / self.limits.acceleration**2
        steepness = float(np.sum(weights * slope[0] ** 2))
        speed = 0.0
        if steepness > 0 and state.progress < path.end:
            fitting = float(np.sum(weights * slope[0] * state.velocity)) / steepness
            speed = min(max(fitting, 0.0), demand.top, path.top_speed(state.progress))
        offset = state.position - position[0]
        drift = state.velocity - slope[0] * speed
        strength = share * self.limits.acceleration
        by_acceleration = (
            4 * np.abs(drift) + np.sqrt(16 * drift**2 + 24 * strength * np.abs(offset))
        ) / (2 * strength)
        by_velocity = 1.5 * np.abs(offset) / (share * self.limits.velocity)
        length = max(demand.fade, float(by_acceleration.max()), float(by_velocity.max()))
        length = max(length, demand.step)
        return replace(state, speed=speed), Fade(state.time, length, offset, drift)

    def _step(
        self,
        here: Knot,
        path: Path,
        fade: Fade,
        demand: Demand,
        bounds: tuple[FloatArray, FloatArray],
        speeds: FloatArray,
    ) -> Knot | None:
        """The next knot; None when no playback speed is allowed."""
        step = demand.step
        _, slope = path.sample(np.array([here.progress]))
        ramp = min(demand.ramp, self._steepest_ramp(slope[0]))
        wanted = min(demand.top, here.speed + ramp * step)
        wanted = min(wanted, _away_speed(slope[0], demand))
        wanted = _reachable(here, path, wanted, step)
        # Where the arm cannot slow down to what is wanted, the slowest that it can.
        after = np.append(wanted * _SPEEDS, wanted + max(here.speed - wanted, 0.0) * _SLOWING)
        progress = here.progress + 0.5 * (here.speed + after) * step
        if path.end - here.progress <= max(here.speed * step, _LANDING):
            after, progress = np.append(0.0, after), np.append(path.end, progress)
        after = np.where(progress >= path.end, 0.0, after)
        progress = np.clip(progress, here.progress, max(path.end, here.progress))
        time = here.time + step
        position, slope = path.sample(progress)
        offset, drift = fade.at(time)
        position = position + offset
        velocity = slope * after[:, None] + drift
        good = self._good(here, position, velocity, bounds, speeds, step)
        for index in np.flatnonzero(good):
            knot = Knot(
                time, position[index], velocity[index], float(progress[index]), float(after[index])
            )
            end = safety.stop_position(knot.position, knot.velocity, self.limits)
            if self._is_allowed(knot.position) and self._is_allowed(end):
                return knot
        return None

    def _good(
        self,
        here: Knot,
        position: FloatArray,
        velocity: FloatArray,
        bounds: tuple[FloatArray, FloatArray],
        speeds: FloatArray,
        step: float,
    ) -> FloatArray:
        """Which candidates, rows of shape (m, n), keep every limit on the way and after it."""
        start, begin = here.position, here.velocity
        a0, a1 = spline.end_accelerations(start, begin, position, velocity, step)
        peak = spline.peak_speed(begin, velocity, a0, a1, step)
        low, high = spline.extent(start, begin, position, velocity, step)
        brake = np.max(np.abs(velocity) / self.limits.acceleration, axis=1, keepdims=True)
        end = position + velocity * (0.5 * np.maximum(brake, safety.SHORTEST_BRAKE_S))
        slack = 1.0 + _EPS
        fine = (
            (np.maximum(np.abs(a0), np.abs(a1)) <= self.limits.acceleration * slack)
            & (peak <= np.maximum(speeds, np.abs(begin)) * slack)
            & (peak <= self.limits.velocity * slack)
            & (np.minimum(low, end) >= bounds[0])
            & (np.maximum(high, end) <= bounds[1])
        )
        return np.asarray(fine.all(axis=1))

    def _steepest_ramp(self, slope: FloatArray) -> float:
        """How fast playback can speed up [actions/s^2]: beyond it every try would fail."""
        steepest = float(np.max(np.abs(slope) / self.limits.acceleration))
        return 1.0 / steepest if steepest > 0 else math.inf

    def _is_allowed(self, joints: FloatArray) -> bool:
        return self._allowed is None or self._allowed(joints)


def _away_speed(slope: FloatArray, demand: Demand) -> float:
    """Bound on the playback speed while a joint leads the measured arm."""
    if demand.lead is None or demand.lead_speed is None:
        return math.inf
    away = slope * np.sign(demand.lead) > 1e-12  # a joint that comes back is not bounded
    if not away.any():
        return math.inf
    return float(np.min(demand.lead_speed[away] / np.abs(slope[away])))


def _over(fade: Fade, time: float) -> bool:
    return time >= fade.begin + fade.length


def _reachable(here: Knot, path: Path, wanted: float, step: float) -> float:
    """Largest speed up to ``wanted`` that the path allows where a step at it ends."""

    def is_allowed(speed: float) -> bool:
        end = here.progress + 0.5 * (here.speed + speed) * step
        return speed <= path.top_speed(end)

    if is_allowed(wanted):
        return wanted
    low, high = 0.0, wanted
    for _ in range(_HALVINGS):
        if high - low <= _PRECISION * low:
            break
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_allowed(middle) else (low, middle)
    return low
