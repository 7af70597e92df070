"""What was published: knots with cubics between them, then a straight brake to rest.

The newest plan is the node's promise of where the arm is at every instant, also when no further
message follows. The next one starts where this one says the arm is now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.core import safety, spline
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray

TAIL_POINTS = 2
APART_S = 1e-4
"""Nearer to its end a brake is made anew: a cubic so short is all rounding [s]."""
_ROUNDING_S = 2e-9
"""Times nearer to each other may be one time in a message [s]."""
_STANDS = 5e-6
"""No joint faster than this: the arm is told to stand [rad/s, m/s]."""


@dataclass(frozen=True)
class Knot:
    """The arm and the playback at one instant.

    Attributes:
        time: On the loop's clock [s].
        position: Shape (n,).
        velocity: Per second, shape (n,).
        progress: Actions played.
        speed: Growth of the progress [actions/s].
    """

    time: float
    position: FloatArray
    velocity: FloatArray
    progress: float
    speed: float

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves."""
        return self.speed == 0.0 and not np.any(np.abs(self.velocity) > 1e-9)


@dataclass(frozen=True)
class MotionPlan:
    """From the first knot on, for ever.

    Attributes:
        knots: In time, at least one.
        brake: Duration of the brake that begins at the last knot [s].
    """

    knots: tuple[Knot, ...]
    brake: float

    @property
    def rest_time(self) -> float:
        """When the arm rests if nothing follows."""
        return self.knots[-1].time + self.brake

    @property
    def end(self) -> Knot:
        """Where it rests; exactly at rest, whatever rounding says."""
        at = self._braking(self.knots[-1], self.rest_time)
        return Knot(self.rest_time, at.position, np.zeros_like(at.velocity), at.progress, 0.0)

    def is_brake(self, time: float) -> bool:
        """Whether nothing but a brake is left at a time, and enough of it to be told in points."""
        later = [knot for knot in self.knots[1:] if knot.time > time]
        ends = later[0].time if later else self.rest_time
        return ends - time > APART_S and (not later or (len(later) == 1 and later[0].at_rest))

    def at(self, time: float) -> Knot:
        """Where arm and playback are at a time, at the first knot's at least.

        The time of a clock that stands is a difference of large numbers: rounding alone can put
        it before the knot that it gave.
        """
        knots = self.knots
        time = max(time, knots[0].time)
        last = knots[-1]
        if time >= last.time:
            return self._braking(last, time)
        index = 0
        while knots[index + 1].time <= time:
            index += 1
        left, right = knots[index], knots[index + 1]
        duration, elapsed = right.time - left.time, time - left.time
        position, velocity = spline.sample(
            (left.position, left.velocity), (right.position, right.velocity), duration, elapsed
        )
        progress, speed = spline.sample(
            (np.array(left.progress), np.array(left.speed)),
            (np.array(right.progress), np.array(right.speed)),
            duration,
            elapsed,
        )
        return Knot(
            time,
            position,
            velocity,
            float(np.clip(progress, left.progress, right.progress)),
            max(float(speed), 0.0),
        )

    def _braking(self, last: Knot, time: float) -> Knot:
        elapsed = time - last.time
        position, velocity = safety.brake_sample(last.position, last.velocity, self.brake, elapsed)
        gone = min(elapsed, self.brake)
        return Knot(
            time,
            position,
            velocity,
            last.progress + last.speed * (gone - gone**2 / (2 * self.brake)),
            last.speed * (1 - gone / self.brake),
        )

    def window(self, least: float = 0.0) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What to publish at the time of the first knot.

        Args:
            least: Its end lies so far ahead at least, at rest [s]: a controller refuses a
                trajectory that has ended when it comes.

        Returns:
            Seconds after it (k,), positions (k, n), velocities (k, n): the knots, the first
            at 0, and the brake; the last row is at rest.
        """
        now, last = self.knots[0].time, self.knots[-1]
        shares = np.arange(1, TAIL_POINTS + 1) / TAIL_POINTS
        rows = [(knot.time, knot.position, knot.velocity) for knot in self.knots]
        for share in shares:
            position, velocity = safety.brake_sample(
                last.position, last.velocity, self.brake, float(share) * self.brake
            )
            rows.append((last.time + float(share) * self.brake, position, velocity))
        if rows[-1][0] - now < least:
            ended_at, place, _ = rows.pop()
            # Messages have whole nanoseconds, and a controller refuses two points of one time.
            apart = now + least - ended_at > _ROUNDING_S
            moments = (ended_at, now + least) if apart else (now + least,)
            rows += [(moment, place, np.zeros_like(place)) for moment in moments]
        times, positions, velocities = zip(*rows, strict=True)
        ended = np.array(velocities)
        ended[-1] = 0.0
        return np.array(times) - now, np.array(positions), ended


def resting(position: FloatArray, time: float, progress: float) -> MotionPlan:
    """The plan of an arm that stands."""
    knot = Knot(time, position, np.zeros_like(position), progress, 0.0)
    return MotionPlan((knot,), safety.SHORTEST_BRAKE_S)


def braking(state: Knot, limits: MotionLimits) -> MotionPlan:
    """Stop at once, straight on, as hard as the limits allow."""
    if np.abs(state.velocity).max() < _STANDS:
        return resting(state.position, state.time, state.progress)
    return MotionPlan((state,), safety.brake_time(state.velocity, limits))
