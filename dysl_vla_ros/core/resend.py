"""Under a speed override a window is sent when it says something new, not at every tick.

Every trajectory restarts the controller's clock, and with it comes a small step: the jitter of
its arrival, times what the override takes away. A window that only repeats what the one before
says of the next instants is therefore kept back; the controller follows the one that it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.core import spline
from dysl_vla_ros.data_types import Command, FloatArray

AGAIN = 0.5
"""A window is sent again when this share of its look-ahead is over,"""
AGAIN_S = 0.3
"""or after so many of our seconds."""
NEWS_RAD = 2e-4
"""Two windows that differ by less say the same [rad or m]."""
_SHARES = (0.0, 0.2, 0.4)
"""Of the look-ahead, where they are compared."""


@dataclass(frozen=True)
class _Sent:
    own: float
    command: Command


class Resend:
    """Remembers the window that the controller follows."""

    def __init__(self, look_ahead: float) -> None:
        """Nothing sent yet.

        Args:
            look_ahead: Of a window, before its brake [s].
        """
        self._look_ahead = look_ahead
        self._sent: _Sent | None = None

    def is_due(self, own: float, command: Command) -> bool:
        """Whether a window has to be sent.

        Args:
            own: The receiver's time [s].
            command: With the window, which begins then.
        """
        sent = self._sent
        if sent is None or command.armed != sent.command.armed:
            return True
        before = sent.command
        if command.gripper != before.gripper or command.more_grippers != before.more_grippers:
            return True
        if command.hold and not before.hold:
            return True  # after a rest nothing more may come, and the window before may move yet
        age = own - sent.own
        if age > AGAIN * self._look_ahead or command.stamp - sent.command.stamp > AGAIN_S:
            return True
        places = [share * self._look_ahead for share in _SHARES]
        change = [_at(command, place) - _at(sent.command, age + place) for place in places]
        return bool(np.abs(change).max() > NEWS_RAD)

    def sent(self, own: float, command: Command) -> None:
        """Note what was sent."""
        self._sent = _Sent(own, command)

    def forget(self) -> None:
        """The controller follows nothing of ours any more."""
        self._sent = None


def _at(command: Command, elapsed: float) -> FloatArray:
    """Where a controller is on the window after so many of its seconds, shape (n,)."""
    times, positions, velocities = (
        command.window_times, command.window_positions, command.window_velocities
    )  # fmt: skip
    if elapsed >= times[-1]:
        last: FloatArray = positions[-1]
        return last
    index = max(int(np.searchsorted(times, elapsed, side='right')) - 1, 0)
    position, _ = spline.sample(
        (positions[index], velocities[index]),
        (positions[index + 1], velocities[index + 1]),
        float(times[index + 1] - times[index]),
        max(elapsed - float(times[index]), 0.0),
    )
    return position
