"""What the node is doing, and why: one table of states, one function of facts.

Every stop reason is latched and the first writer wins. E-stop and fault leave only by an
explicit reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal[
    'waiting',
    'ready',
    'running',
    'verifying',
    'holding',
    'homing',
    'stale',
    'paused',
    'e-stop',
    'fault',
]

STATES: dict[State, str] = {
    'waiting': 'an input is missing; nothing is commanded',
    'ready': 'inputs are fresh, not started; at rest',
    'running': 'actions are played',
    'verifying': 'a skipped chunk holds a drop and is predicted again in full',
    'holding': 'started, but no action is left to play; holds its place',
    'homing': 'moves slowly to home.positions; no action is played',
    'stale': 'an input is too old; decelerates and holds',
    'paused': 'paused, or the dead-man switch is released; decelerates and holds',
    'e-stop': 'latched; decelerates, the queue is flushed',
    'fault': 'latched; decelerates, the queue is flushed',
}
PLAYING: frozenset[State] = frozenset({'running', 'verifying', 'holding', 'homing'})
LATCHED: frozenset[State] = frozenset({'e-stop', 'fault'})

NOT_STARTED = 'not started'
"""Why it is ready and at rest when nothing else is to be said."""
CHANGED = 'the state changed meanwhile: ask again'
"""Why something that was asked for is not begun."""
RELEASED = 'released, not started'
FRESH_AGAIN_S = 0.5
"""Inputs must be fresh for this long before stale ends."""
_JUST_BACK = f'inputs fresh for less than {FRESH_AGAIN_S:g} s'
ESTOP_RESET_S = 0.5
"""A reset is refused this soon after the trigger."""


@dataclass(frozen=True)
class InputStatus:
    """Whether the inputs are complete and fresh, and what is wrong otherwise."""

    ready: bool
    reason: str = ''


class RunState:
    """The current state with its reason; changed by requests and, once per tick, by facts."""

    def __init__(self) -> None:
        """Waiting for inputs."""
        self.state: State = 'waiting'
        self.reason = 'no input received yet'
        self.started = False
        self.homing = False
        """Whether what was started is the way home."""
        self._stop_reason = NOT_STARTED
        self._paused_reason = ''
        self._interlock = ''
        self._estop_held = ''
        self._latched: State | None = None
        self._latched_reason = ''
        self._latched_at = 0.0
        self._unready_at: float | None = None
        self._missing = ''
        self._stale = False

    @property
    def playing(self) -> bool:
        """Whether the arm may be moved."""
        return self.state in PLAYING

    @property
    def paused(self) -> str:
        """Why it is paused, from the instant of it; '' when it is not."""
        return self._paused_reason

    @property
    def latched(self) -> str:
        """Why e-stop or fault is latched, from the instant of it; '' when neither is."""
        return '' if self._latched is None else self._latched_reason

    def start(self) -> str:
        """Ask for motion; returns why it is refused, else ''."""
        if self._latched is not None:
            return f'{self._latched}: {self._latched_reason}; reset it first'
        if self.state == 'waiting':
            return f'waiting: {self.reason}'
        if self._paused_reason:
            return f'{self._paused_reason}: resume it first'
        if self._interlock:
            return self._interlock
        if self.started and self._stale:
            reason = self._missing or _JUST_BACK
            return f'stale: {reason}; it goes on by itself after that, and ~/stop ends it'
        if self._missing:
            return f'waiting: {self._missing}'
        self.started, self.homing = True, False
        return ''

    def home(self) -> str:
        """Ask for the way home; refused as ``start`` is, and while something plays."""
        if self.started:
            return f'state is {self.state}: ~/stop comes first'
        refusal = self.start()
        self.homing = self.started
        return refusal

    def stop(self, reason: str) -> None:
        """Back to ready (or waiting); a pause stays until it is ended."""
        self.started = self.homing = False
        self._stop_reason = reason

    def explain(self, reason: str) -> None:
        """Why it does not start, while it is ready."""
        if not self.started:
            self._stop_reason = reason

    def interlock(self, reason: str) -> None:
        """While there is a reason (a dead-man switch not held) nothing plays; a level."""
        self._interlock = reason

    def hold_estop(self, reason: str) -> None:
        """While there is a reason (the button is down) a latch is not released; a level."""
        self._estop_held = reason

    def pause(self, reason: str) -> None:
        """Pause; the first reason stays."""
        self._paused_reason = self._paused_reason or reason

    def resume(self) -> None:
        """End a pause."""
        self._paused_reason = ''

    def latch(self, state: Literal['e-stop', 'fault'], reason: str, now: float) -> None:
        """Stop until ``reset``; the first reason stays, an e-stop outranks a fault."""
        if self._latched is None or (state == 'e-stop' and self._latched == 'fault'):
            self._latched, self._latched_reason, self._latched_at = state, reason, now
        self.started = self.homing = False

    def reset(self, now: float, inputs: InputStatus) -> str:
        """Release a latch; returns why it is refused, else ''."""
        if self._latched is None:
            return ''
        if self._estop_held:
            return self._estop_held
        if now - self._latched_at < ESTOP_RESET_S:
            return f'{self._latched} was triggered less than {ESTOP_RESET_S:g} s ago'
        if not inputs.ready:
            return f'inputs are not ready: {inputs.reason}'
        self._latched, self._latched_reason = None, ''
        self._stop_reason = RELEASED
        # At once: who is told that it is released may ask for a start before the next tick.
        self.state, self.reason = self._judge(inputs, False, False, '')
        return ''

    def update(
        self, now: float, inputs: InputStatus, *, verifying: bool, queued: bool, hold_reason: str
    ) -> State:
        """The state that follows from the facts of this tick.

        Args:
            now: Current time [s].
            inputs: Whether the inputs are fresh.
            verifying: Whether a re-run is under way and its first chunk is not played.
            queued: Whether an action is left to play.
            hold_reason: Why nothing is played, for ``holding``.
        """
        self._missing = '' if inputs.ready else inputs.reason
        if not inputs.ready:
            self._unready_at = now
            self._stale = True
        elif self._unready_at is None or now - self._unready_at >= FRESH_AGAIN_S:
            self._stale = False
        self.state, self.reason = self._judge(inputs, verifying, queued, hold_reason)
        return self.state

    def _judge(
        self, inputs: InputStatus, verifying: bool, queued: bool, hold_reason: str
    ) -> tuple[State, str]:
        if self._latched is not None:
            return self._latched, self._latched_reason
        if self._paused_reason:
            return 'paused', self._paused_reason
        if not self.started:
            if not inputs.ready:
                return 'waiting', inputs.reason
            return 'ready', self._interlock or self._stop_reason
        if self._interlock:
            return 'paused', self._interlock
        if self._stale:
            return 'stale', inputs.reason or _JUST_BACK
        if self.homing:
            return 'homing', 'on the way to home.positions'
        if verifying:
            return 'verifying', 'continuity drops in a skipped chunk; predicting it again in full'
        if queued:
            return 'running', ''
        return 'holding', hold_reason
