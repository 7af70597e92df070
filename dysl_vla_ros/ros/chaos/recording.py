"""What was heard during a campaign: windows, true joints, states, diagnostics."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.ros.chaos.windows import Window


@dataclass(frozen=True)
class Reading:
    """One sample of the arm's own joints."""

    at: float
    names: tuple[str, ...]
    positions: FloatArray
    velocities: FloatArray


@dataclass(frozen=True)
class Level:
    """One status of a diagnostic array: 0 OK, 1 WARN, 2 ERROR, 3 STALE."""

    at: float
    name: str
    level: int
    message: str


class Recording:
    """Filled by the executor's thread, read by the one that judges."""

    def __init__(self) -> None:
        """Empty."""
        self._lock = threading.Lock()
        self._windows: list[Window] = []
        self._readings: list[Reading] = []
        self._states: list[tuple[float, str]] = []
        self._levels: list[Level] = []
        self._hands: list[tuple[float, float]] = []

    def add_hand(self, since: float, until: float) -> None:
        """Somebody else moves the arm for so long."""
        with self._lock:
            self._hands.append((since, until))

    def add_window(self, window: Window) -> None:
        """A command arrived."""
        with self._lock:
            self._windows.append(window)

    def add_reading(
        self, at: float, names: Sequence[str], positions: FloatArray, velocities: FloatArray
    ) -> None:
        """The arm reported its joints."""
        with self._lock:
            self._readings.append(Reading(at, tuple(names), positions, velocities))

    def add_state(self, at: float, state: str) -> None:
        """The node changed its state."""
        with self._lock:
            self._states.append((at, state))

    def add_level(self, level: Level) -> None:
        """A diagnostic status arrived."""
        with self._lock:
            self._levels.append(level)

    def forget(self, before: float) -> None:
        """Drop what is older than an instant, so that a long campaign stays small."""
        with self._lock:
            self._windows = [w for w in self._windows if w.arrival >= before]
            self._readings = [r for r in self._readings if r.at >= before]
            self._states = self._states[-1:] + [s for s in self._states[:-1] if s[0] >= before]
            self._states.sort(key=lambda item: item[0])
            self._levels = [level for level in self._levels if level.at >= before]
            self._hands = [hand for hand in self._hands if hand[1] >= before]

    def windows(self, since: float, until: float) -> list[Window]:
        """Of an interval, in order."""
        with self._lock:
            return [w for w in self._windows if since <= w.arrival <= until]

    def by_hand(self, instants: FloatArray) -> NDArray[np.bool_]:
        """Whether somebody else moved the arm then, shape of ``instants``."""
        with self._lock:
            hands = list(self._hands)
        found = np.zeros(len(instants), dtype=bool)
        for since, until in hands:
            found |= (instants >= since) & (instants <= until)
        return found

    def states(self, since: float, until: float) -> list[tuple[float, str]]:
        """Changes in an interval."""
        with self._lock:
            return [s for s in self._states if since <= s[0] <= until]

    def levels(self, since: float, until: float) -> list[Level]:
        """Diagnostics of an interval."""
        with self._lock:
            return [level for level in self._levels if since <= level.at <= until]

    def joints(
        self, names: Sequence[str], since: float, until: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Instants (m,), positions and velocities (m, n) of the arm in an interval."""
        with self._lock:
            found = [
                r for r in self._readings
                if since <= r.at <= until and all(name in r.names for name in names)
            ]  # fmt: skip
        if not found:
            return np.zeros(0), np.zeros((0, len(names))), np.zeros((0, len(names)))
        order = [[r.names.index(name) for name in names] for r in found]
        return (
            np.array([r.at for r in found]),
            np.array([r.positions[o] for r, o in zip(found, order, strict=True)]),
            np.array([r.velocities[o] for r, o in zip(found, order, strict=True)]),
        )

    @property
    def state(self) -> str:
        """The newest state, or ''."""
        with self._lock:
            return self._states[-1][1] if self._states else ''

    @property
    def reading(self) -> Reading | None:
        """The newest sample of the arm's joints."""
        with self._lock:
            return self._readings[-1] if self._readings else None
