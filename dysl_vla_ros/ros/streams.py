"""The newest message of one input, with what diagnostics want to know about the stream."""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass
from typing import Any

from dysl_vla_ros.data_types import FloatArray

_RATE_WINDOW_S = 2.0
_JOINT_HISTORY_S = 1.0
_FEW = 10
_RECENT = 6
"""Messages kept, so that pictures of cameras that take turns can be put together."""


@dataclass(frozen=True)
class Newest:
    """A message and when it was stamped, on the steady clock [s]."""

    stamp: float
    message: Any


class Stream:
    """One input topic. Written by callbacks; ``recent`` may be read from any thread.

    A single attribute is replaced at once, so readers need no lock.

    Attributes:
        recent: The last few messages, the newest last.
    """

    def __init__(self, name: str, timeout: float) -> None:
        """Nothing received yet.

        Args:
            name: Topic name, for messages.
            timeout: Older than this is stale [s].
        """
        self.name = name
        self.timeout = timeout
        self.recent: tuple[Newest, ...] = ()
        self.refused = 0
        self.last_refusal = ''
        self._arrivals: deque[float] = deque(maxlen=2000)
        self._ages: deque[float] = deque(maxlen=2000)

    @property
    def newest(self) -> Newest | None:
        """The last message; None before the first."""
        recent = self.recent
        return recent[-1] if recent else None

    def accept(self, message: Newest, now: float) -> None:
        """Keep a message that arrived at ``now``; one older than the newest is dropped.

        What is not newer is no news: other joints than the arm's on the same topic, a repetition.
        """
        newest = self.newest
        if newest is None or message.stamp > newest.stamp:
            self._arrivals.append(now)
            self._ages.append(now - message.stamp)
        if newest is None or message.stamp >= newest.stamp:
            self.recent = (*self.recent[1 - _RECENT :], message)
            self.last_refusal = ''

    def refuse(self, reason: str) -> None:
        """Note a message that cannot be used."""
        self.refused += 1
        self.last_refusal = reason

    def problem(self, now: float) -> str:
        """Why this input cannot be used now; '' when it is fresh."""
        newest = self.newest
        if newest is None:
            return self.last_refusal or f'{self.name}: nothing received yet'
        age = now - newest.stamp
        if age > self.timeout:
            return self.last_refusal or (
                f'{self.name}: newest is {age:.2f} s old, expected at most {self.timeout:g} s'
            )
        return ''

    def age(self, now: float) -> float | None:
        """Age of the newest message [s]; None before the first."""
        newest = self.newest
        return None if newest is None else now - newest.stamp

    def least_age(self, now: float) -> float | None:
        """Age on arrival of the freshest message of the last 2 s [s]; None with too few."""
        recent = [
            age
            for time, age in zip(tuple(self._arrivals), tuple(self._ages), strict=False)
            if time > now - _RATE_WINDOW_S
        ]
        return min(recent) if len(recent) >= _FEW else None

    def rate(self, now: float) -> float | None:
        """Messages with something newer per second, over the last 2 s; None before the first."""
        if self.newest is None:
            return None
        recent = [time for time in tuple(self._arrivals) if time > now - _RATE_WINDOW_S]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / (recent[-1] - recent[0]) if recent[-1] > recent[0] else None


@dataclass(frozen=True)
class JointSample:
    """Measured joints in the bundle's order.

    Attributes:
        stamp: On the steady clock [s].
        positions: Shape (n,) [rad].
        gripper: Opening, 0.0 .. 1.0, or beyond where it stands outside of the configured ends;
            None without a measurement.
        efforts: Shape (n,) [N m or N]; None where the driver publishes none.
        more_grippers: Openings of further arms, in their order.
    """

    stamp: float
    positions: FloatArray
    gripper: float | None
    efforts: FloatArray | None = None
    more_grippers: tuple[float | None, ...] = ()


class JointHistory:
    """Joint samples of the last second, to find the one that belongs to an image."""

    def __init__(self) -> None:
        """Empty."""
        self._samples: deque[JointSample] = deque()

    def append(self, sample: JointSample) -> None:
        """Add a sample; an older one than the last is ignored."""
        if self._samples and sample.stamp <= self._samples[-1].stamp:
            return
        self._samples.append(sample)
        while self._samples[0].stamp < sample.stamp - _JOINT_HISTORY_S:
            self._samples.popleft()

    def nearest(self, stamp: float) -> JointSample | None:
        """The sample closest in time; None while empty."""
        samples = tuple(self._samples)
        if not samples:
            return None
        right = bisect.bisect_left([sample.stamp for sample in samples], stamp)
        around = samples[max(0, right - 1) : right + 1]
        return min(around, key=lambda sample: abs(sample.stamp - stamp))
