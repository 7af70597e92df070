"""What must hold for every window that is ever published, and an arm that lags as real ones do."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.core import spline

TOLERANCE = 1e-6
LAG_S = 0.1


class LaggingArm:
    """An ideal controller follows the newest window; the joints trail it by a first-order lag."""

    def __init__(self, position, lag=LAG_S):
        self.position = np.array(position, dtype=float)
        self.lag = lag
        self.time = 0.0
        self._window = None

    def command(self, command):
        self._window = (
            command.stamp, command.window_times, command.window_positions,
            command.window_velocities,
        )  # fmt: skip

    @property
    def desired(self):
        """Where the controller wants the joints now."""
        if self._window is None:
            return self.position
        return on_window(*self._window, self.time)[0]

    def advance(self, now, parts=8):
        step = (now - self.time) / parts
        share = 1.0 if self.lag == 0 else min(1.0, step / self.lag)
        wanted = None
        if self._window is not None:
            wanted = positions_on(*self._window, self.time + step * np.arange(1, parts + 1))
        for index in range(parts):
            desired = self.position if wanted is None else wanted[index]
            self.position = self.position + share * (desired - self.position)
        self.time = now

    def push(self, offset):
        """Moved by hand: the controller goes on from where it was put."""
        self.position = self.position + offset
        self._window = None


def on_window(stamp, times, positions, velocities, now):
    """Position and velocity that an ideal controller has of a window at a time."""
    elapsed = now - stamp
    if elapsed >= times[-1]:
        return positions[-1], np.zeros_like(positions[-1])
    index = max(int(np.searchsorted(times, elapsed, side='right')) - 1, 0)
    return spline.sample(
        (positions[index], velocities[index]),
        (positions[index + 1], velocities[index + 1]),
        times[index + 1] - times[index],
        max(elapsed - times[index], 0.0),
    )


def positions_on(stamp, times, positions, velocities, instants):
    """Positions (m, n) that an ideal controller has of a window at each of m times."""
    if len(times) == 1:
        return np.repeat(positions, len(instants), axis=0)
    elapsed = np.clip(instants - stamp, 0.0, times[-1])
    index = np.clip(np.searchsorted(times, elapsed, side='right') - 1, 0, len(times) - 2)
    found, _ = spline.sample(
        (positions[index], velocities[index]),
        (positions[index + 1], velocities[index + 1]),
        (times[index + 1] - times[index])[:, None],
        (elapsed - times[index])[:, None],
    )
    return found


class WindowChecks:
    """Judges window after window; ``seen`` counts them."""

    def __init__(self, limits, rest=0.5, clock_error=0.0):
        """``clock_error``: seconds by which stamps of messages may be off [s]."""
        self.limits = limits
        self.rest = rest
        self.clock_error = clock_error
        self.seen = 0
        self.peak = 0.0
        self._last = None
        self._start = None

    def restart(self):
        """Nothing was published for a while: the next window begins anew."""
        self._last = None

    def check(self, command, limits=None):
        limits = self.limits if limits is None else limits
        times, positions, velocities = (
            command.window_times, command.window_positions, command.window_velocities,
        )  # fmt: skip
        assert np.isfinite(positions).all()
        assert np.isfinite(velocities).all()
        assert times[0] == 0.0
        assert (np.diff(times) > 0).all(), times
        assert times[-1] <= self.rest + TOLERANCE, times
        assert not velocities[-1].any()
        assert np.array_equal(positions[0], command.positions)
        if self._last is None:
            self._start = positions[0]
        low = np.minimum(limits.lower, self._start) - TOLERANCE
        high = np.maximum(limits.upper, self._start) + TOLERANCE
        p0, p1, v0, v1 = positions[:-1], positions[1:], velocities[:-1], velocities[1:]
        duration = np.diff(times)[:, None]
        a0, a1 = spline.end_accelerations(p0, v0, p1, v1, duration)
        peak = spline.peak_speed(v0, v1, a0, a1, duration)
        self.peak = max(self.peak, float((peak / limits.velocity).max(initial=0.0)))
        assert (peak <= limits.velocity * (1 + TOLERANCE) + TOLERANCE).all(), peak
        hardest = np.maximum(np.abs(a0), np.abs(a1))
        rounding = 1e-5 if not self.clock_error else 1e-2  # times in whole nanoseconds
        assert (hardest <= limits.acceleration * (1 + TOLERANCE) + rounding).all(), (
            hardest, times)  # fmt: skip
        bottom, top = spline.extent(p0, v0, p1, v1, duration)
        assert ((positions >= low) & (positions <= high)).all(), (positions, low, high)
        assert (bottom >= low - 1e-3).all() and (top <= high + 1e-3).all()
        if self._last is not None:
            told, speed = on_window(*self._last, command.stamp)
            near = TOLERANCE + limits.velocity * self.clock_error
            assert (np.abs(positions[0] - told) <= near).all(), (positions[0], told)
            near = 1e-5 + 2 * limits.acceleration * self.clock_error
            assert (np.abs(velocities[0] - speed) <= near).all(), (velocities[0], speed)
        self._last = (command.stamp, times, positions, velocities)
        self.seen += 1


class MessageChecks:
    """The same for JointTrajectory messages; keeps what is wrong instead of raising."""

    def __init__(self, limits, rest=0.5):
        self.checks = WindowChecks(limits, rest, clock_error=1e-3)
        self.names = limits.names
        self.wrong = []
        self._stamp = 0.0

    def on_message(self, message):
        from types import SimpleNamespace

        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        order = [list(message.joint_names).index(name) for name in self.names]
        rows = [
            np.array([getattr(point, field) for point in message.points])[:, order]
            for field in ('positions', 'velocities')
        ]
        times = np.array(
            [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
        )
        if stamp - self._stamp > self.checks.rest:
            self.checks.restart()
        self._stamp = stamp
        command = SimpleNamespace(
            stamp=stamp, positions=rows[0][0], window_times=times, window_positions=rows[0],
            window_velocities=rows[1],
        )  # fmt: skip
        try:
            self.checks.check(command)
        except AssertionError as error:
            self.wrong.append(str(error)[:300])
