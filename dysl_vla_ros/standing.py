"""Where the control loop stands: its state, its epoch, the pass in flight.

Requests, passes and watchdogs change one and the same ``Standing``; whoever calls holds the
loop's lock.
"""

from __future__ import annotations

import logging
from typing import Literal

from dysl_vla_ros.chunk_desk import ChunkDesk
from dysl_vla_ros.core.run_state import LATCHED, InputStatus, RunState
from dysl_vla_ros.data_types import SkipMode
from dysl_vla_ros.loop_status import Counters, LoopStatus
from dysl_vla_ros.playback import Playback

_LOG = logging.getLogger(__name__)


class Standing:
    """What holds for every tick and every pass until something ends it.

    Attributes:
        run: The table of states.
        armed: Whether commands move the arm; otherwise they go to the shadow topics.
        epoch: Counts what ends everything that was begun: a request, a latch, a new instruction.
        renew_due: Whether the motion must be anchored anew, once at rest.
        from_measured: Whether it is then anchored where the arm is measured.
        hold_reason: Why no action is played, while it holds.
        in_flight: Whether a pass has begun whose chunk is not delivered.
        asked_at: Since when a pass is wanted [s]; None while none is.
    """

    def __init__(self, desk: ChunkDesk, playback: Playback, count: Counters, armed: bool) -> None:
        """Waiting for inputs, nothing begun.

        Args:
            desk: Forgets its chunk where an epoch ends.
            playback: Whether commands go out.
            count: Takes the latency of each pass.
            armed: Whether commands move the arm.
        """
        self.run = RunState()
        self.armed = armed
        self.epoch = 0
        self.renew_due = False
        self.from_measured = True
        self.hold_reason = 'waiting for the first chunk'
        self.in_flight = False
        self.asked_at: float | None = None
        self._desk = desk
        self._playback = playback
        self._count = count

    @property
    def acting(self) -> bool:
        """Whether actions of the policy may be played."""
        return self.run.playing and not self.run.homing

    @property
    def commanding(self) -> bool:
        """Whether commands move the arm, or will by themselves: a jump of its readings is wrong.

        Stale counts: readings that are refused make it stale before they persist.
        """
        playing = self._playback.commanding and self.run.playing
        return playing or self.run.state == 'stale'

    def raise_epoch(self, reason: str) -> None:
        """Chunks and passes begun before now are worth nothing any more."""
        self.epoch += 1
        self.hold_reason = reason
        self.renew_due = True
        self.finish_pass()
        self._desk.skip.restart()

    def begin_from_measured(self, reason: str) -> None:
        """A motion that was asked for begins where the arm is measured."""
        self._playback.governor.asked()
        self.raise_epoch(reason)
        self.from_measured = True

    def renewed(self) -> None:
        """The motion was anchored: what comes begins anew, with a full pass."""
        self._desk.skip.restart()
        self.renew_due = self.from_measured = False

    def _wait_here(self) -> None:
        """A start while the arm still braked counts for where that ends, after a wait."""
        if self.run.started and self.renew_due and self._playback.commanding:
            self.from_measured = False

    def stop(self, reason: str) -> None:
        """Brake along the path and go back to ready."""
        self.run.stop(reason)
        self.raise_epoch(reason)

    def pause(self, reason: str) -> None:
        """Brake along the path and hold until ``resume``."""
        self._wait_here()
        self.run.pause(reason)
        self.raise_epoch(reason)

    def resume(self) -> None:
        """Go on from the last command, where the arm still stands there."""
        self.run.resume()
        self.raise_epoch('waiting for the first chunk after a pause')

    def interlock(self, reason: str) -> None:
        """While there is a reason nothing plays, however it was started; '' ends it."""
        if reason and self.run.playing:
            self._wait_here()
            self.raise_epoch(reason)
        self.run.interlock(reason)

    def latch(self, kind: Literal['e-stop', 'fault'], reason: str, now: float) -> None:
        """Brake, drop everything, wait for a reset."""
        self.run.latch(kind, reason, now)
        self.raise_epoch(reason)
        if self.run.state not in LATCHED:
            _LOG.error('%s: %s', kind, reason)

    def finish_pass(self, now: float | None = None) -> None:
        """The pass in flight has ended; ``now`` where its chunk was taken [s]."""
        if now is not None and self.asked_at is not None:
            self._count.latencies.append(now - self.asked_at)
        self.in_flight = False
        self.asked_at = None
        self._desk.finish_pass()

    def judge(self, now: float, inputs: InputStatus) -> None:
        """Which state follows from the facts of this tick."""
        before = self.run.state
        self._desk.play_prefix_if_due()
        state = self.run.update(
            now,
            inputs,
            verifying=self._desk.verifying,
            queued=self._playback.scheduler.remaining > 0 and not self.renew_due,
            hold_reason=self.hold_reason,
        )
        if state == 'stale' and before != 'stale':
            self._wait_here()
            self.raise_epoch(self.run.reason)

    def status(self, skip_mode: SkipMode, warning: str) -> LoopStatus:
        """A snapshot, with what only the loop knows."""
        skip, scheduler = self._desk.skip, self._playback.scheduler
        lead = self._playback.governor.lead()
        return LoopStatus(
            state=self.run.state,
            reason=self.run.reason,
            armed=self.armed,
            epoch=self.epoch,
            skip_mode=skip_mode,
            continuity=skip.continuity,
            critical=skip.critical,
            queue_depth=scheduler.remaining,
            time_stretch=scheduler.stretch,
            seam_jump=self._playback.seam_jump,
            gripper=scheduler.gripper,
            warning=warning,
            readings_refused=self._playback.governor.measurement.refused,
            lead=None if lead is None else float(abs(lead).max()),
            **self._count.values(),
        )
