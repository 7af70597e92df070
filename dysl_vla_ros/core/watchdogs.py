"""One watchdog per promise: what must not go on for too long, with the sentence that says so.

Each looks at facts of the tick and answers with a warning, or with a fault that latches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.core.run_state import State
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray

WARN_LEAD = 0.5
"""Share of ``max_lead`` beyond which an arm is said to lag behind."""
STOP_LEAD = 0.8
"""Share of ``max_lead`` at which the command as good as waits for the arm."""
_SETTLED_S = 0.3
_MOVED = 1.05
_STUCK = (
    'what lies ahead leaves the workspace or the limits of a joint between two targets that do '
    'not; move the arm, or widen workspace.min and workspace.max'
)


@dataclass(frozen=True)
class Patience:
    """How long each promise may stay broken [s].

    Attributes:
        starvation_hold: Holding without a chunk that counts as starvation.
        starvation_fault: Holding, or verifying, that is a fault.
        follow_fault: The command waits for an arm that does not come.
        pass_age: A pass slower than this is no use.
    """

    starvation_hold: float
    starvation_fault: float
    follow_fault: float
    pass_age: float


@dataclass(frozen=True)
class Facts:
    """What is the case at one tick.

    Attributes:
        now: Current time [s].
        state: Of the loop.
        reason: Of that state.
        pass_began: When the pass in flight was asked for [s]; None without one.
        lead: Command minus measurement, shape (n,); None where it does not count.
        measured: Shape (n,) [rad].
        going: Whether playback may go on.
        standing: Whether the command stands still.
        stuck: Whether actions are left, and playback, which may go on, does not come forward.
    """

    now: float
    state: State
    reason: str
    pass_began: float | None
    lead: FloatArray | None
    measured: FloatArray
    going: bool
    standing: bool
    stuck: bool = False


@dataclass(frozen=True)
class Finding:
    """What the watchdogs say.

    Attributes:
        fault: Latches; '' when nothing does.
        warning: For the diagnostics; '' when all is well.
        starved: Whether a starvation begins at this tick.
        shoved: The arm was moved away from its command: joint and distance, else ''.
    """

    fault: str = ''
    warning: str = ''
    starved: bool = False
    shoved: str = ''


class Watchdogs:
    """Remembers since when; decides nothing else."""

    def __init__(self, patience: Patience, limits: MotionLimits, max_jump: FloatArray) -> None:
        """Args: how long, limits with ``max_lead``, how far a resting arm may be moved (n,)."""
        self._patience = patience
        self.limits = limits
        self._max_jump = np.broadcast_to(max_jump, (limits.size,))
        self._since: dict[str, float] = {}
        self._starved = False
        self._rested_at: FloatArray | None = None

    def anchored(self) -> None:
        """Motion begins anew: where the arm rested before counts no more."""
        self._rested_at = None
        self._since.pop('stands', None)
        self._since.pop('waits', None)
        self._since.pop('stuck', None)

    def look(self, facts: Facts) -> Finding:
        """Compare the facts with what was promised."""
        fault, warning, starved = self._chunks(facts)
        lag_fault, lag_warning, shoved = self._lag(facts)
        return Finding(fault or lag_fault, warning or lag_warning, starved, shoved)

    def _chunks(self, facts: Facts) -> tuple[str, str, bool]:
        held = self._for(facts.now, 'holding', facts.state == 'holding')
        verifying = self._for(facts.now, 'verifying', facts.state == 'verifying')
        limit = self._patience.starvation_fault
        slow = self._slow_pass(facts)
        if verifying >= limit:
            return (
                (
                    'the full pass after a drop of continuity has not come for '
                    f'{verifying:.1f} s: expected within starvation_fault_s = {limit:g}'
                ),
                '',
                False,
            )
        waits = facts.lead is not None and bool(
            (np.abs(facts.lead) > WARN_LEAD * self.limits.max_lead).any()
        )
        stuck = self._for(facts.now, 'stuck', facts.stuck and not waits)
        if stuck >= limit:
            return f'the motion has stood for {stuck:.1f} s with actions left: {_STUCK}', '', False
        if held == 0.0:
            self._starved = False
        if held >= limit:
            return f'no chunk for {held:.1f} s: {slow or facts.reason}', '', False
        starts = held >= self._patience.starvation_hold and not self._starved
        self._starved = self._starved or starts
        return '', slow, starts

    def _slow_pass(self, facts: Facts) -> str:
        if facts.pass_began is None:
            return ''
        taken = facts.now - facts.pass_began
        if taken <= self._patience.pass_age:
            return ''
        return (
            f'the model has been at this pass for {taken:.1f} s: a chunk is of use for '
            f'max_observation_age_s = {self._patience.pass_age:g}'
        )

    def _lag(self, facts: Facts) -> tuple[str, str, str]:
        if facts.lead is None:
            self._rested_at = None
            return '', '', ''
        size = np.abs(facts.lead)
        joint = int(np.argmax(size / self.limits.max_lead))
        worst, most = float(size[joint]), float(self.limits.max_lead[joint])
        name, unit = self.limits.names[joint], self.limits.units[joint]
        if self._for(facts.now, 'waits', facts.going and worst >= STOP_LEAD * most) >= (
            self._patience.follow_fault
        ):
            return f'{name} {self._lags(joint, worst)}', '', ''
        # The command alone never leads by more than max_lead: beyond it the arm was moved.
        moved = f'{name} was moved {worst:.3f} {unit} away from its command'
        shoved = moved if worst > _MOVED * most else self._shoved(facts)
        return '', f'{name} {self._lags(joint, worst)}' if worst > WARN_LEAD * most else '', shoved

    def _shoved(self, facts: Facts) -> str:
        """Whether an arm that was told to stand has left its place."""
        if self._for(facts.now, 'stands', facts.standing) < _SETTLED_S:
            self._rested_at = None
            return ''
        if self._rested_at is None:
            self._rested_at = facts.measured
        away = np.abs(facts.measured - self._rested_at)
        joint = int(np.argmax(away / self._max_jump))
        if away[joint] <= self._max_jump[joint]:
            return ''
        name, unit = self.limits.names[joint], self.limits.units[joint]
        return f'{name} was moved {away[joint]:.3f} {unit} while it rested'

    def _lags(self, joint: int, worst: float) -> str:
        unit, most = self.limits.units[joint], self.limits.max_lead[joint]
        key = 'limits.max_lead_m' if unit == 'm' else 'limits.max_lead'
        return (
            f'is {worst:.3f} {unit} behind its command, {key} = {most:g}: the arm is blocked or '
            'does not follow'
        )

    def _for(self, now: float, name: str, is_so: bool) -> float:
        """For how long something has been so [s]."""
        if not is_so:
            self._since.pop(name, None)
            return 0.0
        return now - self._since.setdefault(name, now)
