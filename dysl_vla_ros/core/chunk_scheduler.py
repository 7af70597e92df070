"""Where on the path: chunks on one axis, the playback progress.

Everything is a function of the *playback progress*: the number of actions played, a float.

    progress   ...  12.0     13.0     14.0     15.0     16.0     17.0
    old chunk   o----x--------x--------x--------x                 (predicted at 10.0)
    new chunk            o--------x--------x--------x--------x    (observed at 12.4)
                                  ^ now 13.6: 1.2 actions of the new chunk were played
                                    since its observation, so they are dropped

Time only decides how fast the progress grows, and that is the governor's: not at all while
holding, slower while passes are late (``stretch_for``), as slow as the joints' limits ask.
"""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.core.path import Path, chunk_path
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray

_HISTORY_SECONDS = 5.0
_ARRIVED = 1e-4
"""Actions: nearer to the end of the path than this counts as arrived."""


@dataclass(frozen=True)
class _Instant:
    time: float
    progress: float
    commanded: FloatArray
    measured: FloatArray


class ChunkScheduler:
    """Places chunks on the progress axis and accounts for what was played; no motion in it."""

    def __init__(self, action_period: float, max_stretch: float = 2.0) -> None:
        """Start without a path.

        Args:
            action_period: Nominal duration of one action [s].
            max_stretch: Slowest playback for late passes, as a factor on the action period.
        """
        self.action_period = action_period
        self.max_stretch = max_stretch
        self.stretch = 1.0
        self.progress = 0.0
        self.openings: tuple[float, ...] = ()
        """Of the grippers, by the action played last since ``anchor``; () before, and without."""
        self._path: Path | None = None
        self._counted = 0.0
        self._history: deque[_Instant] = deque()

    @property
    def remaining(self) -> float:
        """Actions left on the known path."""
        return 0.0 if self._path is None else max(0.0, self._path.end - self.progress)

    @property
    def gripper(self) -> float | None:
        """Opening of the gripper, of the first arm where there are several; None without one."""
        return self.openings[0] if self.openings else None

    @property
    def targets_ahead(self) -> FloatArray:
        """Joint targets that are left to play, shape (k, n); none without a chunk."""
        if self._path is None:
            return np.empty((0, 0))
        return self._path.targets[self._path.action_at(self.progress) + 1 :]

    @property
    def horizon(self) -> int:
        """Actions in the current chunk, 0 without one."""
        return 0 if self._path is None else self._path.horizon

    @property
    def action_index(self) -> int:
        """Index of the action being played in its chunk; -1 without one."""
        return -1 if self._path is None else self._path.action_at(self.progress)

    @property
    def top_speed(self) -> float:
        """Playback speed while nothing limits it [actions/s]."""
        return 1.0 / (self.action_period * self.stretch)

    def anchor(self) -> None:
        """Drop the path, and what it said of the grippers; the progress counts on from here."""
        self._path = None
        self.openings = ()
        self._counted = self.progress
        self._history.clear()

    def reference_at(self, stamp: float) -> tuple[float, FloatArray, FloatArray] | None:
        """Progress, commanded and measured position at a past instant; None if not recorded."""
        if not self._history or stamp < self._history[0].time - self.action_period:
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
        return self.progress - progress

    def accept(
        self,
        start: float,
        targets: FloatArray,
        displacements: FloatArray,
        gripper: FloatArray | None,
        limits: MotionLimits,
        limit: int | None = None,
    ) -> Path | None:
        """Continue on a new chunk from where playback stands.

        Args:
            start: Progress at the chunk's observation.
            targets: Shape (horizon + 1, n); row 0 is the reference at the observation.
            displacements: Shape (horizon, action_dim), normalised.
            gripper: Shape (horizon,) or (horizon, arms), or None.
            limits: Of the joints: they bound how fast the path may be walked.
            limit: Play only this many actions of the chunk (the verified prefix).

        Returns:
            The path for the governor; None when nothing of the chunk is left to play, and
            nothing changes then.
        """
        horizon = len(displacements)
        end = start + (horizon if limit is None else min(limit, horizon))
        if end - self.progress <= _ARRIVED:
            return None
        self._path = chunk_path(start, end, targets, displacements, gripper, limits)
        return self._path

    def note(
        self,
        now: float,
        progress: float,
        moving: bool,
        commanded: FloatArray,
        measured: FloatArray,
    ) -> list[FloatArray]:
        """Account for a tick.

        Args:
            now: Current time [s], not before the last call's.
            progress: Actions played, from the governor.
            moving: Whether playback goes on.
            commanded: Commanded position now, shape (n,).
            measured: Measured position, shape (n,).

        Returns:
            Displacements of the actions that ended since the last call, oldest first.
        """
        self.progress = progress
        self._history.append(_Instant(now, progress, commanded, measured))
        while self._history[0].time < now - _HISTORY_SECONDS:
            self._history.popleft()
        path = self._path
        if path is None:
            return []
        if path.gripper is not None and moving:
            # At the end of a prefix the next action is none that is played.
            at = path.action_at(min(progress, path.end - _ARRIVED))
            row = np.atleast_1d(path.gripper[at])
            self.openings = tuple(np.clip(row, 0.0, 1.0).tolist())
        return self._ended(path)

    def stretch_for(
        self, latency: float, request_share: float, horizon: int, brake_seconds: float
    ) -> None:
        """Slow playback down so that the known path outlasts a pass.

        The actions left when a pass is asked for, ``request_share * horizon``, must last for
        the latency and half the braking time. Changes below 5 % are ignored, so that the
        speed stays constant under a constant latency.

        Args:
            latency: From asking for a pass to its chunk, re-runs included [s].
            request_share: Share of the chunk left when the pass is asked for.
            horizon: Actions per chunk.
            brake_seconds: From full playback speed to rest [s].
        """
        lasting = request_share * horizon * self.action_period
        wanted = (latency + 0.5 * brake_seconds) / lasting
        wanted = min(max(wanted, 1.0), self.max_stretch)
        if wanted > self.stretch or wanted < 0.95 * self.stretch:
            self.stretch = wanted

    def _ended(self, path: Path) -> list[FloatArray]:
        """Each action counts once, where it ends on its own chunk's axis.

        Chunks begin at fractions of an action: after a change the next end that counts is the
        first one at least half an action after the last that counted.
        """
        ended: list[FloatArray] = []
        while True:
            index = max(int(np.floor(self._counted + 0.5 - path.start)), 0)
            at = path.start + index + 1
            if index >= path.horizon or self.progress < at - _ARRIVED:
                return ended
            self._counted = at
            ended.append(path.displacements[index])
