"""What the watchdogs and the readings say of each tick, and what the loop does about it."""

from __future__ import annotations

import logging

from dysl_vla_ros.core.motion_plan import Knot
from dysl_vla_ros.core.run_state import LATCHED
from dysl_vla_ros.loop_status import Counters
from dysl_vla_ros.playback import Playback
from dysl_vla_ros.standing import Standing

_LOG = logging.getLogger(__name__)
_STRANGER_S = 0.3
"""After a push was noticed it may still turn out to be somebody else's motion."""


class LoopWatch:
    """Latches, lets go, warns; called under the loop's lock, once per tick.

    Attributes:
        warning: What the watchdogs warn of; '' where they do not.
    """

    def __init__(self, standing: Standing, playback: Playback, count: Counters) -> None:
        """Nothing found yet."""
        self.warning = ''
        self._standing = standing
        self._playback = playback
        self._count = count
        self._moved_at = float('-inf')

    def doubt(self, now: float) -> None:
        """Readings that go on to be implausible while the arm is commanded are a fault."""
        persistent = self._playback.governor.measurement.persistent
        if persistent and self._standing.commanding:
            self._standing.latch('fault', persistent, now)

    def strangers(self, now: float) -> None:
        """A motion that no command asked for, also just after the commands have ended."""
        standing = self._standing
        recent = standing.run.started or self._moved_at >= now - _STRANGER_S
        watched = standing.armed and recent
        unasked = self._playback.governor.unasked_motion(now) if watched else ''
        if unasked and standing.run.state not in LATCHED:
            standing.latch('fault', unasked, now)
            self._playback.let_go()

    def resting(self, now: float) -> None:
        """A place is not held while the readings contradict it: it may be far from the arm."""
        measurement = self._playback.governor.measurement
        if measurement.doubtful and self._playback.commanding and self._playback.rest_told:
            self._playback.release(now)
            if self._standing.run.playing:
                self._standing.raise_epoch(measurement.refusal)

    def look(self, now: float, going: bool, knot: Knot) -> None:
        """What the watchdogs find latches, warns, or asks for a start.

        Args:
            now: Current time [s].
            going: Whether motion may go on.
            knot: The command due.
        """
        standing, run = self._standing, self._standing.run
        found = self._playback.look(
            now, run.state, run.reason, standing.asked_at, standing.armed, going, knot
        )
        if found.warning and not self.warning:
            _LOG.warning('%s', found.warning)
        self.warning = found.warning
        self._count.starvations += int(found.starved)
        if found.fault:
            standing.latch('fault', found.fault, now)
        elif found.shoved and run.started:
            self._moved_at = now
            standing.stop(f'{found.shoved}; ~/start begins from where it is')
        if found.warning and run.state == 'holding':
            standing.hold_reason = found.warning
