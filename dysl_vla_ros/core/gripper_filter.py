"""When the gripper gets a new command: on change, with hysteresis and dwell."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.data_types import FloatArray

_AT_END = 0.01
"""An opening so near to full open or full closed means it: no model says it exactly."""
_SAME = 1e-9
"""Openings that differ by less are one that was computed in two ways."""
_LONGEST_STEP_S = 0.1
"""After a pause of single values so much of the way is made up for, and no more."""


class GripperFilter:
    """Decides which openings are sent. It never opens by itself: no opening, no message."""

    def __init__(self, config: GripperConfig) -> None:
        """Nothing sent yet."""
        self._config = config
        self._sent: float | None = None
        self._direction = 0
        self._turned_at = float('-inf')
        self._stopped = False

    @property
    def sent(self) -> float | None:
        """The opening sent last, 0.0 closed .. 1.0 open."""
        return self._sent

    def update(self, opening: float | None, moving: bool, now: float) -> float | None:
        """The opening to send now, or None.

        Args:
            opening: What the policy wants, 0.0 .. 1.0; None to leave the gripper alone.
            moving: False while the arm holds, whatever for: the gripper then keeps its place.
            now: Current time [s].
        """
        if opening is None or not moving:
            return None
        if self._sent is None:
            self._sent = opening
            return opening
        change = opening - self._sent
        # Full open and full closed are sent even when the step towards them is small.
        at_end = opening in (0.0, 1.0) or _end(opening) not in (None, _end(self._sent))
        small = abs(change) < self._config.hysteresis and not at_end
        if change == 0.0 or (small and not self._stopped):
            return None
        direction = 1 if change > 0 else -1
        turns = self._direction not in (0, direction)
        if turns and now - self._turned_at < self._config.dwell_s:
            return None
        if direction != self._direction:
            self._turned_at = now
        self._direction = direction
        self._sent, self._stopped = opening, False
        return opening

    def stopped_at(self, opening: float) -> None:
        """What a stop ended on its way is wanted again when an action that is played says so.

        However near that is: no hysteresis holds it back, and no dwell.
        """
        if self._sent is not None and abs(opening - self._sent) > _SAME:
            self._sent, self._direction, self._turned_at = opening, 0, float('-inf')
            self._stopped = True

    def joint_value(self, opening: float) -> float:
        """The gripper joint's value for an opening."""
        closed, opened = self._config.closed_value, self._config.open_value
        return closed + opening * (opened - closed)

    def opening_at(self, value: float) -> float:
        """The opening for a value of the gripper joint."""
        closed, opened = self._config.closed_value, self._config.open_value
        return (value - closed) / (opened - closed)


def _end(opening: float) -> float | None:
    """The end that an opening means; None between both."""
    nearest = round(opening)
    return nearest if abs(opening - nearest) <= _AT_END else None


class GripperRamp:
    """The gripper commanded as a joint: it travels to what was sent, and never jumps."""

    def __init__(self, config: GripperConfig, holds_points: bool = False) -> None:
        """Nowhere yet.

        Args:
            config: Its ends and its stroke.
            holds_points: The receiver takes single values and stays at the last one.
        """
        stroke = abs(config.open_value - config.closed_value)
        # Between points at rest a controller's cubic is 1.5 times as fast as the mean.
        self._rate = stroke / config.stroke_s / 1.5
        # A trajectory is followed to its end by itself; a single value is stayed at.
        self._whole_window = not holds_points and config.interface != 'forward'
        self._opening = 1.0 if config.open_value > config.closed_value else -1.0
        self._value: float | None = None
        self._at = 0.0
        self._window: tuple[FloatArray, FloatArray] | None = None
        self.goal = 0.0
        """Where it goes now; short of its target where it may not open further."""
        self.told: float | None = None
        """Where what was told last leads; None before."""

    def begin(self, value: float) -> None:
        """Where it is, before anything was told; later it is where it was told to be."""
        if self._value is None:
            self._value = self.goal = value

    def stop(self) -> float | None:
        """Nothing more is told: it goes as far as it was told, and there it is; None before."""
        if self.told is not None:
            self.goal = self.told
        return self.told

    def column(
        self, now: float, target: float, times: FloatArray, may_open: bool = True
    ) -> FloatArray:
        """Positions at the points of a window.

        Args:
            now: Time of the window's first point [s].
            target: Joint value to go to.
            times: Seconds after ``now``, shape (k,).
            may_open: False while no action is played: it then closes on, and opens no further.

        Returns:
            Shape (k,); the first where the gripper was told to be by now.
        """
        self.begin(target)
        assert self._value is not None
        self._value = self._come_to(self._value, max(now - self._at, 0.0), may_open)
        if not may_open and self._opening * (target - self._value) > 0.0:
            target = self._value
        self._at, self.goal = now, target
        reach = self._rate * times
        column = np.asarray(np.clip(target, self._value - reach, self._value + reach))
        self.told = float(column[-1 if self._whole_window else 0])
        self._window = (times, column)
        return column

    def _come_to(self, value: float, elapsed: float, may_open: bool) -> float:
        """Where it was told to be by now.

        Args:
            value: At the last column.
            elapsed: Since that [s].
            may_open: As of ``column``: a single value that opens further was not told yet.
        """
        if self._window is None:
            return value
        if self._whole_window:
            return float(np.interp(elapsed, *self._window))
        way = self._rate * min(elapsed, _LONGEST_STEP_S)
        there = float(np.clip(self.goal, value - way, value + way))
        return value if not may_open and self._opening * (there - value) > 0.0 else there
