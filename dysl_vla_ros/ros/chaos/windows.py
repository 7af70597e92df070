"""One published trajectory as numbers, on the clock of the one who watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.ros.chaos.curves import Curve

FOREIGN = 'chaos'
"""``header.frame_id`` of trajectories that the second commander of a trial publishes."""


@dataclass(frozen=True)
class Window:
    """A trajectory as it arrived.

    Attributes:
        arrival: When it arrived [s], steady clock.
        start: What ``time_from_start`` counts from [s]: its stamp on the steady clock, or the
            arrival where the stamp is 0.
        names: Joints of the columns.
        times: ``time_from_start`` [s], shape (k,).
        positions: Shape (k, n).
        velocities: Shape (k, n).
        foreign: Whether the second commander of a trial sent it.
        defect: What makes it unreadable, or ''; then the arrays are empty.
    """

    arrival: float
    start: float
    names: tuple[str, ...]
    times: FloatArray
    positions: FloatArray
    velocities: FloatArray
    foreign: bool = False
    defect: str = ''

    @property
    def first_instant(self) -> float:
        """When its first point stands [s]."""
        return self.start + float(self.times[0])

    @property
    def end(self) -> float:
        """When it has been played [s]."""
        return self.start + float(self.times[-1])

    @property
    def taken_at(self) -> float:
        """From when a controller follows it: a first point at time 0 is not hurried to."""
        return max(self.arrival, self.start) if self.times[0] == 0.0 else self.arrival

    @property
    def curve(self) -> Curve:
        """Its own knots, without what leads to the first one."""
        return Curve(self.start + self.times, self.positions, self.velocities)


def read_window(message: Any, arrival: float, wall: float) -> Window:
    """A ``trajectory_msgs/JointTrajectory`` as numbers.

    Args:
        message: The message.
        arrival: Steady clock at its arrival [s].
        wall: ROS clock at the same instant [s].
    """
    names = tuple(message.joint_names)
    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
    start = arrival if stamp == 0.0 else arrival + stamp - wall
    foreign = message.header.frame_id == FOREIGN
    defect = ''
    if not message.points:
        defect = 'a trajectory without points'
    for point in message.points:
        for field in ('positions', 'velocities'):
            count = len(getattr(point, field))
            if count != len(names):
                defect = f'a point with {count} {field} for {len(names)} joints'
    if defect:
        nothing = np.zeros((0, len(names)))
        return Window(arrival, start, names, np.zeros(0), nothing, nothing, foreign, defect)
    return Window(
        arrival,
        start,
        names,
        np.array([p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec
                  for p in message.points]),
        np.array([p.positions for p in message.points], dtype=np.float64),
        np.array([p.velocities for p in message.points], dtype=np.float64),
        foreign,
    )  # fmt: skip
