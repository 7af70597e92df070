"""What an operator may ask for, and when it is refused; services and topics only pass it on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.run_state import LATCHED, PLAYING
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros.session import Session

_DEADMAN = 'dead-man switch: enable is not true, or too old'


@dataclass(frozen=True)
class Answer:
    """Whether a request was taken, and a sentence for the operator."""

    success: bool
    message: str


class Requests:
    """The rules. Called by the executor's thread; ``before_tick`` by the command thread."""

    def __init__(self, session: Session, active: bool = False) -> None:
        """Args: the session, and whether the node is active."""
        self.active = active
        self._session = session
        self._safety = session.config.safety
        self._start_when_ready = False
        self._disarm_at_rest = False
        self._paused = False
        self._enabled_at: float | None = None
        self._deadman_open = False
        session.before_tick = self.before_tick

    def instruct(self, text: str) -> Answer:
        """A new instruction; an empty one stops, the same one again changes nothing."""
        text = text.strip()
        try:
            if text:
                self._session.policy.tokens(text)
        except InputError as error:
            self._session.inputs.instruction = ''
            self._stop_for(str(error))
            return Answer(False, f'{error}; stopped')
        if not text:
            self._session.inputs.instruction = ''
            self._stop_for('empty instruction')
            return Answer(True, 'stopped: the instruction is empty')
        is_new = text != self._session.inputs.instruction
        self._session.inputs.instruction = text
        loop = self._session.loop
        if loop is not None and is_new:
            loop.reset(time.monotonic(), f'new instruction {text!r}')
        if self._safety.start_on_instruction:
            self._start_when_ready = True
        return Answer(True, f'instruction {text!r}')

    def start(self) -> Answer:
        """Begin to act on the instruction."""
        loop = self._ready_loop()
        if isinstance(loop, Answer):
            return loop
        if not self._session.inputs.instruction:
            return Answer(False, "instruction = '': expected one; publish it on the topic first")
        refusal = loop.start(time.monotonic())
        if refusal:
            return Answer(False, refusal)
        return Answer(True, 'started' if loop.armed else 'started in shadow: not armed')

    def stop(self) -> Answer:
        """Brake and go back to ready."""
        self._stop_for('stopped by ~/stop')
        return Answer(True, 'stopped')

    def pause(self, paused: bool) -> Answer:
        """Pause, or go on from the measured joints."""
        loop = self._session.loop
        if loop is None:
            return Answer(False, self._session.reason)
        self._paused = paused
        if paused:
            loop.pause(time.monotonic(), 'paused by ~/pause')
            return Answer(True, 'paused')
        if self._deadman_open:
            return Answer(False, f'still paused: {_DEADMAN}')
        loop.resume(time.monotonic())
        return Answer(True, 'resumed from the measured joints')

    def arm(self, armed: bool) -> Answer:
        """Send commands to the arm, or (back) to the shadow topics."""
        loop = self._ready_loop()
        if isinstance(loop, Answer):
            return loop
        now = time.monotonic()
        if not armed:
            if loop.armed:
                loop.stop(now, 'disarmed')
                self._disarm_at_rest = True
            return Answer(True, 'disarmed')
        problem = self._arming_problem(loop)
        if problem:
            return Answer(False, problem)
        if not loop.armed:
            loop.reset(now, 'armed')
            loop.armed = True
        self._disarm_at_rest = False
        return Answer(True, 'armed: commands move the arm')

    def estop(self, pressed: bool) -> None:
        """True latches; false does not release."""
        if pressed:
            self._session.estop(time.monotonic(), 'estop topic')

    def reset_estop(self) -> Answer:
        """Release e-stop or fault."""
        loop = self._ready_loop()
        if isinstance(loop, Answer):
            return loop
        now = time.monotonic()
        refusal = loop.reset_estop(now, self._session.input_status(now))
        if refusal:
            return Answer(False, refusal)
        return Answer(True, 'released; ~/start begins again')

    def enable(self, pressed: bool) -> None:
        """The dead-man switch: held down, or released."""
        self._enabled_at = time.monotonic() if pressed else None

    def before_tick(self, loop: ControlLoop, now: float) -> None:
        """What depends on time: the dead-man switch, a start that waits, a disarm at rest."""
        if self._safety.deadman_timeout_s > 0:
            self._watch_deadman(loop, now)
        if self._start_when_ready and loop.state == 'ready':
            self._start_when_ready = False
            loop.start(now)
        elif loop.state in PLAYING or loop.state in LATCHED:
            self._start_when_ready = False
        command = self._session.last_command
        if self._disarm_at_rest and (command is None or command.hold):
            self._disarm_at_rest = False
            loop.armed = False

    def _watch_deadman(self, loop: ControlLoop, now: float) -> None:
        held = self._enabled_at
        is_open = held is None or now - held > self._safety.deadman_timeout_s
        if is_open and not self._deadman_open:
            loop.pause(now, _DEADMAN)
        elif self._deadman_open and not is_open and not self._paused:
            loop.resume(now)
        self._deadman_open = is_open

    def _arming_problem(self, loop: ControlLoop) -> str:
        state = loop.state
        if state != 'ready' and state not in PLAYING:
            return f'state is {state} ({self._session.reason}): expected ready'
        measured, command = self._session.inputs.measured(), self._session.last_command
        if command is None or measured is None:
            return ''
        jump = np.abs(command.positions - measured)
        worst = int(np.argmax(jump))
        if jump[worst] <= self._safety.start_max_jump_rad:
            return ''
        return (
            f'the next target of {loop.limits.names[worst]} is {jump[worst]:.3f} rad away: '
            f'expected at most start_max_jump_rad = {self._safety.start_max_jump_rad:g}; '
            'stop, then arm'
        )

    def _ready_loop(self) -> ControlLoop | Answer:
        if not self.active:
            return Answer(False, 'the node is not active; activate it first')
        if self._session.loop is None:
            return Answer(False, f'waiting: {self._session.reason}')
        return self._session.loop

    def _stop_for(self, reason: str) -> None:
        self._start_when_ready = False
        if self._session.loop is not None:
            self._session.loop.stop(time.monotonic(), reason)
