"""Which passes the control loop takes: of this epoch, fresh, and with actions it can execute."""

from __future__ import annotations

from dysl_vla_ros.errors import ChunkError, DyslError
from dysl_vla_ros.loop_status import Counters, Delivery
from dysl_vla_ros.playback import Playback
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.standing import Standing

_INVALID_CHUNKS_FAULT = 3


class Intake:
    """Refuses what came too late or cannot be executed; called under the loop's lock."""

    def __init__(
        self, standing: Standing, playback: Playback, count: Counters, oldest: float
    ) -> None:
        """Nothing refused yet.

        Args:
            standing: Epoch and state of the loop.
            playback: Knows what was commanded at an observation's stamp.
            count: Counters of the loop.
            oldest: ``inputs.max_observation_age_s`` [s].
        """
        self._standing = standing
        self._playback = playback
        self._count = count
        self._oldest = oldest
        self._invalid_in_a_row = 0

    def forgive(self) -> None:
        """A chunk was executed, or a person has reset: invalid ones are counted from none."""
        self._invalid_in_a_row = 0

    def problem(self, epoch: int, result: Pass, now: float) -> str:
        """Why a pass is not looked at; '' where it is."""
        standing, age = self._standing, now - result.stamp
        if epoch != standing.epoch:
            return f'epoch {epoch} ended, now {standing.epoch}'
        if not standing.acting:
            return f'state is {standing.run.state}: {standing.run.reason}'
        if age < 0 or age > self._oldest:
            self._count.deadline_misses += 1
            return (
                f'observation of t = {result.stamp:.3f} s is {age:.3f} s old at t = {now:.3f} s: '
                f'expected 0 to max_observation_age_s = {self._oldest:g}'
            )
        if self._playback.scheduler.reference_at(result.stamp) is None:
            return f'observation of t = {result.stamp:.3f} s is older than the last re-anchoring'
        return ''

    def reject(self, error: DyslError, now: float) -> Delivery:
        """A chunk that cannot be executed: hold; NaN is an e-stop, three in a row a fault."""
        self._standing.finish_pass()
        self._invalid_in_a_row += 1
        reason = str(error)
        if isinstance(error, ChunkError) and 'expected finite' in reason:
            self._standing.latch('e-stop', reason, now)
        elif self._invalid_in_a_row >= _INVALID_CHUNKS_FAULT:
            self._standing.latch('fault', f'{_INVALID_CHUNKS_FAULT} invalid chunks: {reason}', now)
        self._standing.hold_reason = reason
        return self.refuse(reason)

    def refuse(self, reason: str) -> Delivery:
        """The pass has ended and nothing of it is executed."""
        self._standing.finish_pass()
        self._count.last_rejection = reason
        return Delivery(accepted=False, rerun=False, reason=reason)
