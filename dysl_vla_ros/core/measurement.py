"""Which joint readings are believed, and how old the believed one is.

A reading is believed when it is finite, near the range of the robot description, and no farther
from the one before than the arm can have moved meanwhile. What is refused is counted; when the
refusals persist, the sensor has to be doubted, not a sample.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray, frozen_array

NOISE_RAD, NOISE_M = 0.05, 0.005
"""Added to how far a joint may have moved between two readings."""
OUTSIDE_RAD, OUTSIDE_M = 0.1, 0.01
"""How far beyond its limits a joint may be read and still be believed."""
PERSIST_S = 0.3
"""Refusals that go on for this long are a fault of the sensor."""
_FORGET_S = 0.5
_FEW = 3
_EVEN = 2.0
"""The longest gap of readings that come seldom, as many times as long as the shortest."""
_KEPT_S = 1.0
"""Longest span of the readings that are compared [s]: three of them tell at 2 Hz."""
STILL_S = 0.3
STILL_RAD, STILL_M = 0.02, 0.002
"""An arm stands still whose mean place changed by less than this between the halves of the last
``STILL_S``: noise averages out, a motion of 0.13 rad/s does not."""
_SEEN_S = 0.15
"""Readings have to span so much of it."""
_TURN = 2 * np.pi
_WRAPS_AT = (np.pi, _TURN)
"""Where a driver that reports an angle within one turn begins that turn anew, at the upper end."""


class Measurement:
    """The newest believed reading; joints without limits count on past a whole turn.

    A driver may report such a joint within one turn: what it then leaves out at the end of the
    turn is counted while the arm is commanded, so that no command turns it back. While nothing is
    commanded a reading counts as it is: after a rest a driver is told what it tells.
    """

    def __init__(self, limits: MotionLimits) -> None:
        """Args: limits of the joints; those of the robot description with their margin."""
        self.limits = limits
        self.position: FloatArray | None = None
        self.stamp = float('-inf')
        self.heard_at = float('-inf')
        """When it was last known to hold: its stamp, or later where a caller has no stamps."""
        self.refused = 0
        self.refusal = ''
        self._recent: deque[tuple[float, FloatArray]] = deque()
        self._doubted: tuple[float, FloatArray] | None = None
        self._doubts: deque[float] = deque()
        self._raw = self._turns = np.zeros(limits.size)

    def take(
        self,
        reading: FloatArray,
        stamp: float,
        believe_jumps: bool = False,
        silent: bool = False,
    ) -> str:
        """Believe a reading, or say why not.

        Args:
            reading: Shape (n,) [rad or m].
            stamp: When it was measured [s]; one not newer than the last is ignored.
            believe_jumps: Believe what persists elsewhere: nobody commands the arm.
            silent: Nothing is commanded now: whole turns are as the driver counts them.

        Returns:
            '' or a sentence naming joint, reading and what was expected.
        """
        if stamp <= self.stamp:
            return ''
        reading = np.asarray(reading, dtype=np.float64)
        refusal = self._shape_problem(reading) or self._range_problem(reading)
        raw, turns, recount = reading, self._turns, np.zeros(reading.shape)
        if not refusal:
            turns, recount = self._counted(raw, silent)
            reading = raw + _TURN * turns
            refusal = self._jump_problem(reading - _TURN * recount, stamp)
            if refusal and believe_jumps and self._persists(reading, stamp):
                refusal = ''
                self._recent.clear()
                self.forget_doubts()
        if refusal:
            self._doubt(reading, stamp, refusal)
            return refusal
        if recount.any():
            self._recent = deque(
                (at, frozen_array(row + _TURN * recount)) for at, row in self._recent
            )
        self._raw, self._turns = raw, turns
        self.position, self.stamp, self.heard_at = frozen_array(reading), stamp, stamp
        self._recent.append((stamp, self.position))
        while self._recent[0][0] < stamp - _KEPT_S:
            self._recent.popleft()
        if self._doubts and stamp - self._doubts[-1] > _FORGET_S:
            self._doubts.clear()
            self._doubted, self.refusal = None, ''
        return ''

    @property
    def doubtful(self) -> bool:
        """Whether a reading was refused lately."""
        return bool(self._doubts)

    @property
    def persistent(self) -> str:
        """The refusal that persists; '' when none does."""
        doubts = self._doubts
        if len(doubts) >= _FEW and doubts[-1] - doubts[0] >= PERSIST_S:
            return self.refusal
        return ''

    @property
    def still(self) -> bool:
        """Whether the arm stood still lately; not known from a reading or two after a gap.

        Of an arm that tells it seldom the last three readings are compared.
        """
        seen = self._since(STILL_S)
        if len(seen) < _FEW:
            seen = list(self._recent)[-_FEW:]
            gaps = np.diff([stamp for stamp, _ in seen])
            if len(seen) < _FEW or gaps.max() > _EVEN * gaps.min():
                return False
        if len(seen) < _FEW or seen[-1][0] - seen[0][0] < _SEEN_S:
            return False
        rows = np.array([position for _, position in seen])
        half = (len(rows) + 1) // 2
        change = rows[:half].mean(axis=0) - rows[-half:].mean(axis=0)
        return bool((np.abs(change) < self.limits.each(STILL_RAD, STILL_M)).all())

    def moved(self, seconds: float) -> FloatArray:
        """How far each joint has come in the last ``seconds``, shape (n,) [rad or m]."""
        seen = self._since(seconds)
        return np.asarray(np.abs(seen[-1][1] - seen[0][1]))

    def _since(self, seconds: float) -> list[tuple[float, FloatArray]]:
        """Stamps and readings of the last ``seconds``, oldest first."""
        begin = self.stamp - seconds - 1e-9
        return [reading for reading in self._recent if reading[0] >= begin]

    def forget_doubts(self) -> None:
        """Begin to count anew."""
        self._doubts.clear()
        self._doubted, self.refusal = None, ''

    def _shape_problem(self, reading: FloatArray) -> str:
        if reading.shape != (self.limits.size,):
            return f'joint_states: {reading.size} joints, expected {self.limits.size}'
        for name, value in zip(self.limits.names, reading, strict=True):
            if not np.isfinite(value):
                return f'joint_states: {name} = {value}: expected a finite number'
        return ''

    def _range_problem(self, reading: FloatArray) -> str:
        limits = self.limits
        beyond = limits.each(OUTSIDE_RAD, OUTSIDE_M)
        bad = (reading < limits.lower - beyond) | (reading > limits.upper + beyond)
        if not bad.any():
            return ''
        joint = int(np.flatnonzero(bad)[0])
        return (
            f'joint_states: {limits.names[joint]} = {reading[joint]:.3f}: expected within its '
            f'limits {limits.lower[joint]:.3f} to {limits.upper[joint]:.3f}, at most '
            f'{beyond[joint]:g} beyond'
        )

    def _counted(self, reading: FloatArray, silent: bool) -> tuple[FloatArray, FloatArray]:
        """Whole turns to add to a reading, and by how many the place before it is counted anew."""
        none = np.zeros_like(reading)
        if self.position is None:
            return none, none
        near = np.where(self.limits.endless, np.round((self.position - reading) / _TURN), 0.0)
        if silent:
            return none, -near
        is_another = (near != self._turns) & ~self._wraps(reading)
        return np.where(is_another, self._turns, near), none

    def _wraps(self, reading: FloatArray) -> NDArray[np.bool_]:
        """Which joints were and are read within one turn that a driver may keep to, shape (n,)."""
        both = np.array([self._raw, reading])
        low, high = -NOISE_RAD - _TURN, NOISE_RAD
        inside = [((both >= end + low) & (both <= end + high)).all(axis=0) for end in _WRAPS_AT]
        return np.asarray(inside[0] | inside[1])

    def _jump_problem(self, reading: FloatArray, stamp: float) -> str:
        if self.position is None:
            return ''
        assert self.limits.rated is not None
        age = stamp - self.stamp
        reach = self.limits.rated * age + self.limits.each(NOISE_RAD, NOISE_M)
        jump = np.abs(reading - self.position)
        if (jump <= reach).all():
            return ''
        joint = int(np.argmax(jump - reach))
        return (
            f'joint_states: {self.limits.names[joint]} = {reading[joint]:.3f}, '
            f'{jump[joint]:.3f} {self.limits.units[joint]} from the reading {age:.3f} s before: '
            f'expected at most {reach[joint]:.3f}'
        )

    def _persists(self, reading: FloatArray, stamp: float) -> bool:
        """Whether refused readings agree with each other, and nothing else was read for long."""
        if self._doubted is None or not self._doubts or stamp - self._doubts[0] < PERSIST_S:
            return False
        if self.stamp > self._doubts[0]:
            return False  # the believed ones go on too: two publishers, and one is wrong
        assert self.limits.rated is not None
        since, before = self._doubted
        reach = self.limits.rated * (stamp - since) + self.limits.each(NOISE_RAD, NOISE_M)
        return bool((np.abs(reading - before) <= reach).all())

    def _doubt(self, reading: FloatArray, stamp: float, refusal: str) -> None:
        self.refused += 1
        two = bool(self._doubts) and self.stamp > self._doubts[0]
        self.refusal = f'{refusal}; do two nodes publish joint_states?' if two else refusal
        if self._doubts and stamp - self._doubts[-1] > _FORGET_S:
            self._doubts.clear()
        self._doubts.append(stamp)
        while self._doubts[0] < stamp - 4 * _FORGET_S:
            self._doubts.popleft()
        if reading.shape == (self.limits.size,):
            self._doubted = (stamp, frozen_array(reading))
