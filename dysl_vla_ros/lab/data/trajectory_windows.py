"""Trajectories that overlap in time -> where they say that the arm should be.

A streaming commander sends many windows a second: what comes next, and how the arm would come to
rest if nothing more were said. Its last points are never reached. A newer window replaces the rest
of an older one; where it has no point at its beginning, a controller goes there from where the
older one leads at that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.number_rows import NumberRows

_S = 1_000_000_000
_MANY = 4
"""Windows with another after them, before they are taken for a stream."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """One trajectory.

    Attributes:
        start: When its time 0 is [ns].
        times: Of its points, ascending [s], (k,).
        positions: (k, joints) [rad or m].
        velocities: (k, joints); None where they are not given.
    """

    start: int
    times: Array
    positions: Array
    velocities: Array | None

    def at(self, seconds: Array) -> tuple[Array, Array]:
        """Positions and velocities (m, joints) at times since its start [s], (m,).

        Cubic where velocities are given, else linear; at rest after its last point.
        """
        size = len(self.times)
        if size == 1:
            held = np.repeat(self.positions, len(seconds), axis=0)
            return held, np.zeros_like(held)
        left = np.clip(np.searchsorted(self.times, seconds, side='right') - 1, 0, size - 2)
        length = (self.times[left + 1] - self.times[left])[:, None]
        u = np.clip((seconds - self.times[left])[:, None] / length, 0.0, 1.0)
        begin, end = self.positions[left], self.positions[left + 1]
        inside = (seconds >= self.times[0]) & (seconds <= self.times[-1])
        if self.velocities is None:
            return begin + u * (end - begin), np.where(inside[:, None], (end - begin) / length, 0)
        v0, v1 = length * self.velocities[left], length * self.velocities[left + 1]
        # Hermite's polynomial, by the powers of u.
        c2, c3 = 3 * (end - begin) - 2 * v0 - v1, 2 * (begin - end) + v0 + v1
        speed = (v0 + u * (2 * c2 + 3 * u * c3)) / length
        return begin + u * (v0 + u * (c2 + u * c3)), np.where(inside[:, None], speed, 0)


Drivers = Mapping[tuple[str, ...], tuple[Window, ...]]
"""Names of joints, as messages have them -> their windows, in the order of time."""


@dataclass(frozen=True)
class Windows:
    """All trajectories of a topic.

    Attributes:
        drivers: Their windows, as they were sent.
        refused: How many trajectories cannot be followed: points without positions, or not finite,
            or whose times do not ascend.
    """

    drivers: Drivers
    refused: int

    def streamed(self) -> bool | None:
        """Whether most of them are replaced before they end; None where they are too few."""
        replaced = [
            after.start < window.start + window.times[-1] * _S
            for windows in self.drivers.values()
            for window, after in zip(windows, windows[1:], strict=False)
            if len(window.times) > 1
        ]
        return None if len(replaced) < _MANY else sum(replaced) * 2 > len(replaced)

    def joined(self) -> Drivers:
        """Each with a point at its time 0: where the one before leads then."""
        found = {}
        for names, windows in self.drivers.items():
            own = list(windows[:1])
            for window in windows[1:]:
                own.append(_joined(own[-1], window))
            found[names] = tuple(own)
        return found

    def told(self) -> str:
        """How many there are, how long and how far apart, for people."""
        all_of = [window for windows in self.drivers.values() for window in windows]
        apart = np.concatenate([np.diff([window.start for window in windows]) / _S
                                for windows in self.drivers.values()])  # fmt: skip
        length = np.median([window.times[-1] for window in all_of])
        return f'{len(all_of)} windows of {length:.2f} s, {np.median(apart):.3f} s apart'


@dataclass(frozen=True)
class StreamedRows:
    """Where the newest window says that the arm should be a little later.

    Attributes:
        rows: The same topic by its last points: which of its numbers are known, and when.
        drivers: Windows of the topic, joined.
        ahead: How much later [s].
    """

    rows: NumberRows
    drivers: Drivers
    ahead: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers."""
        return self.rows.names

    def at(self, times: NDArray[np.int64], silent: int) -> tuple[Array, NDArray[np.bool_]]:
        """Positions at ``ahead`` after each time [ns], of the window in force then; where known.

        Args:
            times: Ascending [ns], (m,).
            silent: As in ``NumberRows.at`` [ns].

        Returns:
            (m, numbers) and (m,).
        """
        values, known = self.rows.at(times, silent)
        values = values.copy()
        since = np.full(values.shape, np.iinfo(np.int64).min)
        for own, windows in self.drivers.items():
            found, begun = _followed(windows, times, self.ahead)
            for column, name in enumerate(own or self.names):
                if name in self.names:
                    place = self.names.index(name)
                    newer = begun > since[:, place]
                    values[newer, place] = found[newer, column]
                    since[newer, place] = begun[newer]
        return values, known & (since > np.iinfo(np.int64).min).all(axis=1)


def windows_of(entries: Sequence[tuple[int, Any]]) -> Windows:
    """Trajectory messages as windows; what cannot be followed is counted.

    Args:
        entries: When each begins [ns], in order, and ``trajectory_msgs/JointTrajectory``.
    """
    found: dict[tuple[str, ...], list[Window]] = {}
    refused = 0
    for start, message in entries:
        window = _window(start, message)
        if window is None:
            refused += 1
            continue
        own = found.setdefault(tuple(message.joint_names), [])
        if own and own[-1].positions.shape[1] != window.positions.shape[1]:
            refused += 1
            continue
        own.append(window)
    return Windows({names: tuple(windows) for names, windows in found.items()}, refused)


def _window(start: int, message: Any) -> Window | None:
    points = list(message.points)
    size = len(message.joint_names) or (len(points[0].positions) if points else 0)
    if not size or any(len(point.positions) != size for point in points):
        return None
    positions = np.array([point.positions for point in points], np.float64).reshape(-1, size)
    times = np.array([point.time_from_start.sec + point.time_from_start.nanosec / _S
                      for point in points], np.float64)  # fmt: skip
    if not len(times) or not np.isfinite(positions).all() or not (np.diff(times) > 0).all():
        return None
    velocities = None
    if all(len(point.velocities) == size for point in points):
        velocities = np.array([point.velocities for point in points], np.float64)
        velocities = velocities if np.isfinite(velocities).all() else None
    return Window(start, times, positions, velocities)


def _joined(before: Window, window: Window) -> Window:
    """The window with a point at its time 0, where the one before leads then."""
    if window.times[0] <= 0:
        return window
    position, velocity = before.at(np.array([(window.start - before.start) / _S]))
    velocities = window.velocities
    if velocities is not None:
        velocities = np.concatenate([velocity, velocities])
    return Window(window.start, np.concatenate([[0.0], window.times]),
                  np.concatenate([position, window.positions]), velocities)  # fmt: skip


def _followed(
    windows: Sequence[Window], times: NDArray[np.int64], ahead: float
) -> tuple[Array, NDArray[np.int64]]:
    """Positions (m, joints), and when the window of each began [ns]; before the first: least."""
    starts = np.array([window.start for window in windows], np.int64)
    places = np.searchsorted(starts, times, side='right') - 1
    found = np.zeros((len(times), windows[0].positions.shape[1]))
    for run in np.split(np.arange(len(times)), np.flatnonzero(np.diff(places)) + 1):
        if len(run) and (place := int(places[run[0]])) >= 0:
            found[run] = windows[place].at((times[run] - starts[place]) / _S + ahead)[0]
    begun = np.where(places >= 0, starts[np.maximum(places, 0)], np.iinfo(np.int64).min)
    return found, begun
