"""From action chunks to the target due now: one path, walked at a varying speed.

Everything is a function of the *playback progress*: the number of actions played, a float.

    progress   ...  12.0     13.0     14.0     15.0     16.0     17.0
    old chunk   o----x--------x--------x--------x                 (predicted at 10.0)
    new chunk            o--------x--------x--------x--------x    (observed at 12.4)
                                  ^ now 13.6: 1.2 actions of the new chunk were played
                                    since its observation, so they are dropped

Time only decides how fast the progress grows: not at all while holding, slower while passes
are late, along a ramp when starting, stopping or nearing the end of the known path. Position
and velocity are therefore continuous, and a stop stays on the path.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dysl_vla_ros.data_types import FloatArray, frozen_array

_HISTORY_SECONDS = 5.0
_AT_REST = 1e-4
"""Actions: nearer to the end of the path than this counts as arrived."""


@dataclass(frozen=True)
class Path:
    """The targets of one chunk, as a C1 curve over the progress.

    Attributes:
        start: Progress at the chunk's observation.
        targets: Absolute targets, shape (horizon + 1, n); row 0 is the reference.
        tangents: d target / d action at each row, shape (horizon + 1, n).
        displacements: Normalised displacement per action, shape (horizon, action_dim).
        gripper: Opening per action, shape (horizon,); None without a gripper.
        end: Progress at which playback must stop (less than the whole chunk for a prefix).
        slower: Factor on the action period that keeps every joint inside its velocity limit.
        fade_start: Progress at which the seam lies.
        fade_length: Actions over which the seam offset fades; 0 = no fade.
        fade_offset: Old minus new position at the seam, shape (n,).
        fade_slope: Old minus new slope at the seam per action, shape (n,).
    """

    start: float
    targets: FloatArray
    tangents: FloatArray
    displacements: FloatArray
    gripper: FloatArray | None
    end: float
    slower: float
    fade_start: float
    fade_length: float
    fade_offset: FloatArray
    fade_slope: FloatArray

    def sample(self, progress: float) -> tuple[FloatArray, FloatArray]:
        """Position and d position / d action at a progress, each of shape (n,)."""
        position, slope = self._curve(progress)
        offset, offset_slope = self._fade(progress)
        return position + offset, slope + offset_slope

    def _curve(self, progress: float) -> tuple[FloatArray, FloatArray]:
        place = min(max(progress - self.start, 0.0), float(len(self.targets) - 1))
        index = min(int(place), len(self.targets) - 2)
        return _hermite(
            self.targets[index],
            self.targets[index + 1],
            self.tangents[index],
            self.tangents[index + 1],
            place - index,
        )

    def _fade(self, progress: float) -> tuple[FloatArray, FloatArray]:
        zero = np.zeros_like(self.fade_offset)
        passed = progress - self.fade_start
        if self.fade_length <= 0 or passed >= self.fade_length:
            return zero, zero
        share = max(passed, 0.0) / self.fade_length
        value, slope = _hermite(
            self.fade_offset, zero, self.fade_slope * self.fade_length, zero, share
        )
        return value, slope / self.fade_length


@dataclass(frozen=True)
class Sample:
    """The target at one instant.

    Attributes:
        position: Shape (n,).
        velocity: Per second, shape (n,).
        gripper: Opening due, or None.
        action_index: Index in the chunk being played; -1 at rest.
        moving: Whether the progress grows.
    """

    position: FloatArray
    velocity: FloatArray
    gripper: float | None
    action_index: int
    moving: bool


@dataclass(frozen=True)
class SchedulerSettings:
    """How fast the path is walked.

    Attributes:
        action_period: Nominal duration of one action [s].
        brake_seconds: From full speed to rest, and back [s].
        fade_seconds: Time in which a seam offset fades at nominal speed [s].
        seam_method: ``hermite`` cancels the offset at the seam and fades it, velocity
            included; ``none`` jumps.
        max_stretch: Slowest playback, as a factor on the action period.
    """

    action_period: float
    brake_seconds: float = 0.1
    fade_seconds: float = 0.2
    seam_method: Literal['hermite', 'none'] = 'hermite'
    max_stretch: float = 2.0


@dataclass(frozen=True)
class _Instant:
    time: float
    progress: float
    commanded: FloatArray
    measured: FloatArray


class ChunkScheduler:
    """Holds the current path and the progress on it; knows neither robot nor model."""

    def __init__(self, settings: SchedulerSettings) -> None:
        """Start without a path and without an anchor."""
        self.settings = settings
        self.stretch = 1.0
        self.seam_jump = 0.0
        self._path: Path | None = None
        self._rest: FloatArray | None = None
        self._gripper: float | None = None
        self._progress = 0.0
        self._speed = 0.0
        self._time: float | None = None
        self._reported = 0
        self._history: deque[_Instant] = deque()

    @property
    def anchored(self) -> bool:
        """Whether there is a position to hold or a path to walk."""
        return self._rest is not None

    @property
    def at_rest(self) -> bool:
        """Whether the progress stands still."""
        return self._speed == 0.0

    @property
    def remaining(self) -> float:
        """Actions left on the known path."""
        return 0.0 if self._path is None else max(0.0, self._path.end - self._progress)

    @property
    def horizon(self) -> int:
        """Actions in the current chunk, 0 without one."""
        return 0 if self._path is None else len(self._path.displacements)

    def anchor(self, position: FloatArray, now: float) -> None:
        """Drop the path and rest at ``position``; the progress goes on counting from here."""
        self._path = None
        self._speed = 0.0
        self._rest = frozen_array(position)
        self._time = now
        self._history.clear()

    def reference_at(self, stamp: float) -> tuple[float, FloatArray, FloatArray] | None:
        """Progress, commanded and measured position at a past instant; None if not recorded."""
        if not self._history or stamp < self._history[0].time - self.settings.action_period:
            return None
        after = bisect.bisect_left([item.time for item in self._history], stamp)
        if after == 0:
            first = self._history[0]
            return first.progress, first.commanded, first.measured
        if after == len(self._history):
            last = self._history[-1]
            return last.progress, last.commanded, last.measured
        left, right = self._history[after - 1], self._history[after]
        share = (stamp - left.time) / (right.time - left.time)
        return (
            left.progress + share * (right.progress - left.progress),
            left.commanded + share * (right.commanded - left.commanded),
            left.measured + share * (right.measured - left.measured),
        )

    def played_since(self, progress: float) -> float:
        """Actions played since an earlier progress: those a new chunk must drop."""
        return self._progress - progress

    def accept(
        self,
        start: float,
        targets: FloatArray,
        displacements: FloatArray,
        gripper: FloatArray | None,
        limit: int | None = None,
        slower: float = 1.0,
    ) -> bool:
        """Continue on a new chunk from where playback stands.

        Args:
            start: Progress at the chunk's observation.
            targets: Shape (horizon + 1, n); row 0 is the reference at the observation.
            displacements: Shape (horizon, action_dim), normalised.
            gripper: Shape (horizon,) or None.
            limit: Play only this many actions of the chunk (the verified prefix).
            slower: Factor on the action period, at least 1, for the joints' velocity limits.

        Returns:
            False when nothing of the chunk is left to play; nothing changes then.
        """
        horizon = len(displacements)
        end = start + (horizon if limit is None else min(limit, horizon))
        if end - self._progress <= _AT_REST:
            return False
        old_position, old_slope = self._pose()
        path = Path(
            start=start,
            targets=frozen_array(targets),
            tangents=frozen_array(_tangents(targets)),
            displacements=frozen_array(displacements),
            gripper=None if gripper is None else frozen_array(gripper),
            end=end,
            slower=slower,
            fade_start=self._progress,
            fade_length=0.0,
            fade_offset=np.zeros(targets.shape[1]),
            fade_slope=np.zeros(targets.shape[1]),
        )
        new_position, new_slope = path.sample(self._progress)
        offset = old_position - new_position
        self.seam_jump = float(np.max(np.abs(offset)))
        if self.settings.seam_method == 'hermite':
            # At rest both slopes count for nothing: the new path is entered at speed zero.
            slope = old_slope - new_slope if self._speed > 0 else np.zeros_like(offset)
            length = self.settings.fade_seconds / (self.settings.action_period * self.stretch)
            path = replace(path, fade_length=length, fade_offset=offset, fade_slope=slope)
        self._path = path
        self._rest = frozen_array(old_position)
        return True

    def advance(self, now: float, go: bool, measured: FloatArray) -> list[FloatArray]:
        """Let time pass.

        Args:
            now: Current time [s], not before the last call's.
            go: False brakes along the path and then holds.
            measured: Measured position, same space as the targets, shape (n,).

        Returns:
            Displacements of the actions that ended since the last call, oldest first.
        """
        elapsed = 0.0 if self._time is None else max(0.0, now - self._time)
        self._time = now
        self._progress, self._speed = self._step(self._progress, self._speed, elapsed, go)
        self._history.append(_Instant(now, self._progress, self._pose()[0], measured))
        while self._history[0].time < now - _HISTORY_SECONDS:
            self._history.popleft()
        return self._ended()

    def sample(self) -> Sample:
        """The target due now."""
        return self._sample(self._progress, self._speed)

    def look_ahead(self, times: FloatArray, go: bool) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities at ``times`` seconds from now, each of shape (k, n)."""
        progress, speed, last = self._progress, self._speed, 0.0
        positions, velocities = [], []
        for time in times:
            progress, speed = self._step(progress, speed, float(time) - last, go)
            last = float(time)
            sample = self._sample(progress, speed)
            positions.append(sample.position)
            velocities.append(sample.velocity)
        return np.array(positions), np.array(velocities)

    def stretch_for(self, latency: float, request_share: float, horizon: int) -> None:
        """Slow playback down so that the known path outlasts a pass.

        The actions left when a pass is asked for, ``request_share * horizon``, must last for
        the latency and half the braking time. Changes below 5 % are ignored, so that the
        speed stays constant under a constant latency.

        Args:
            latency: From asking for a pass to its chunk, re-runs included [s].
            request_share: Share of the chunk left when the pass is asked for.
            horizon: Actions per chunk.
        """
        lasting = request_share * horizon * self.settings.action_period
        wanted = (latency + 0.5 * self.settings.brake_seconds) / lasting
        wanted = min(max(wanted, 1.0), self.settings.max_stretch)
        if wanted > self.stretch or wanted < 0.95 * self.stretch:
            self.stretch = wanted

    def _step(
        self, progress: float, speed: float, elapsed: float, go: bool
    ) -> tuple[float, float]:
        """Progress and speed [actions/s] after ``elapsed`` seconds."""
        if self._path is None or elapsed <= 0.0:
            return progress, (0.0 if self._path is None else speed)
        top = 1.0 / (self.settings.action_period * max(self.stretch, self._path.slower))
        rate = top / self.settings.brake_seconds
        change = rate * elapsed
        goal = top if go else 0.0
        speed = min(goal, speed + change) if speed < goal else max(goal, speed - change)
        # Fastest speed from which this step and then a brake at ``rate`` still end on the path.
        left = max(self._path.end - progress, 0.0)
        speed = min(speed, rate * (math.sqrt(elapsed * elapsed + 2.0 * left / rate) - elapsed))
        progress += speed * elapsed
        if self._path.end - progress <= _AT_REST:
            return self._path.end, 0.0
        return progress, speed

    def _pose(self) -> tuple[FloatArray, FloatArray]:
        if self._path is not None:
            return self._path.sample(self._progress)
        assert self._rest is not None, 'anchor() comes before the first chunk'
        return self._rest, np.zeros_like(self._rest)

    def _sample(self, progress: float, speed: float) -> Sample:
        path = self._path
        if path is None:
            position, slope = self._pose()
            return Sample(position, slope, self._gripper, -1, False)
        position, slope = path.sample(progress)
        index = min(max(int(progress - path.start), 0), len(path.displacements) - 1)
        return Sample(position, slope * speed, self._gripper, index if speed else -1, speed > 0)

    def _ended(self) -> list[FloatArray]:
        path, ended = self._path, []
        if path is None:
            return []
        if path.gripper is not None and self._speed > 0:
            index = min(max(int(self._progress - path.start), 0), len(path.gripper) - 1)
            self._gripper = float(path.gripper[index])
        while self._progress >= self._reported + 1 - _AT_REST:
            self._reported += 1
            middle = int(self._reported - 0.5 - path.start)
            ended.append(path.displacements[min(max(middle, 0), len(path.displacements) - 1)])
        return ended


def _tangents(targets: FloatArray) -> FloatArray:
    """Slopes of a curve that never leaves the interval between two targets.

    Source: Fritsch and Butland, "A method for constructing local monotone piecewise cubic
    interpolants" (1984), for equal spacing: the harmonic mean of the neighbouring steps, and 0
    where their signs differ. A plan that stops therefore stops without overshoot.
    """
    steps = np.diff(targets, axis=0)
    left, right = steps[:-1], steps[1:]
    same_sign = left * right > 0
    mean = np.divide(2 * left * right, left + right, where=same_sign, out=np.zeros_like(left))
    return np.concatenate([steps[:1], mean, steps[-1:]])


def _hermite(
    left: FloatArray, right: FloatArray, left_slope: FloatArray, right_slope: FloatArray, u: float
) -> tuple[FloatArray, FloatArray]:
    """Cubic Hermite value and slope at ``u`` in [0, 1]."""
    u2, u3 = u * u, u * u * u
    value = (
        (2 * u3 - 3 * u2 + 1) * left
        + (u3 - 2 * u2 + u) * left_slope
        + (3 * u2 - 2 * u3) * right
        + (u3 - u2) * right_slope
    )
    slope = (
        (6 * u2 - 6 * u) * (left - right)
        + (3 * u2 - 4 * u + 1) * left_slope
        + (3 * u2 - 2 * u) * right_slope
    )
    return value, slope
