"""What an operator may ask for, and when it is refused; services and topics only pass it on."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.run_state import CHANGED, LATCHED, NOT_STARTED, PLAYING
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros.around import unfelt
from dysl_vla_ros.ros.session import Session

_DEADMAN = 'dead-man switch: enable is not true, or too old'
_INSIST_S = 6.0
"""A start by instruction is tried for so long [s], and not a moment after."""
_LOG = logging.getLogger(__name__)
ESTOPPED = 'estop topic'
PAUSED = 'paused by ~/pause'
_PRESSED = 'the e-stop is pressed (estop is true): release it first'


@dataclass(frozen=True)
class Answer:
    """Whether a request was taken, and a sentence for the operator."""

    success: bool
    message: str


@dataclass
class Remembered:
    """What no life cycle may forget: it outlives clean-up and configure, as long as the node.

    Attributes:
        estop_down: Whether `estop` was true last.
        latched: Why e-stop or fault was latched at the clean-up; '' when nothing was.
        disarmed: Whether an operator disarmed it.
        paused: Whether an operator paused it.
        text: The newest instruction.
        standing: The instruction that stands; '' after an empty one, or one that was refused.
    """

    estop_down: bool = False
    latched: str = ''
    disarmed: bool = False
    paused: bool = False
    text: str = ''
    standing: str = ''

    def press(self, pressed: bool) -> None:
        """`estop` while nothing is configured: true latches what will be."""
        self.estop_down = pressed
        if pressed:
            self.latched = self.latched or ESTOPPED


@dataclass(frozen=True)
class _Wish:
    """A start by instruction.

    Attributes:
        until: When it is given up [s].
        epoch: Of the loop, in which it was made; it ends with it.
        place: Of the arm then, shape (n,); None where it was not known.
    """

    until: float
    epoch: int
    place: FloatArray | None = None


class Requests:
    """The rules. Called by the executor's thread; ``before_tick`` by the command thread."""

    def __init__(
        self, session: Session, active: bool = False, remembered: Remembered | None = None
    ) -> None:
        """Args: the session, whether the node is active, and what it remembers."""
        self._kept = remembered or Remembered()
        self._active = active
        self._session = session
        self._safety = session.config.safety
        self._wish: _Wish | None = None
        self._disarm_at_rest = False
        self._enabled_at: float | None = None
        self._restarted_at: float | None = None
        session.before_tick = self.before_tick
        self._stand(self._kept.standing)

    @property
    def active(self) -> bool:
        """Whether the node is active; a start by instruction does not outlive it."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active, self._wish = active, None

    def instruct(self, text: str) -> Answer:
        """A new instruction; an empty one stops, the same one again starts nothing."""
        text = text.strip()
        try:
            if text:
                self._session.policy.tokens(text)
        except InputError as error:
            self._stand('')
            self._stop_for(str(error))
            return Answer(False, f'{error}; stopped')
        self._stand(text)
        if not text:
            self._stop_for('empty instruction')
            return Answer(True, f'stopped: the instruction is empty{self._still_paused}')
        is_new = text != self._kept.text
        self._kept.text = text
        if not is_new:
            return Answer(True, f'the same instruction {text!r}: ~/start begins it again')
        now, loop = time.monotonic(), self._session.loop
        if loop is not None:
            loop.reset(now, f'new instruction {text!r}')
            loop.explain(NOT_STARTED)
        else:
            self._session.stop(now, NOT_STARTED)
        paused = self._kept.paused or (loop is not None and loop.state == 'paused')
        self._wish = None
        if self._safety.start_on_instruction and self.active and not paused:
            # A simulated arm is waited for: it hurts nobody when it comes up late.
            until = float('inf') if self._safety.simulator else now + _INSIST_S
            place = None if loop is None or self._safety.simulator else loop.measured
            self._wish = _Wish(until, 0 if loop is None else loop.epoch, place)
        return Answer(True, f'instruction {text!r}')

    def start(self) -> Answer:
        """Begin to act on the instruction."""
        loop = self._free_loop()
        if isinstance(loop, Answer):
            return loop
        if not self._session.inputs.instruction:
            return Answer(False, "instruction = '': expected one; publish it on the topic first")
        self._take_restart(loop)
        refusal = self._motion_problem(loop) or loop.start(time.monotonic())
        if refusal:
            return Answer(False, refusal)
        unseen = self._session.unseen()
        if unseen:
            _LOG.warning('%s', unseen)
        text = 'started' if loop.armed else 'started in shadow: not armed'
        return Answer(True, f'{text}; {unseen}' if unseen else text)

    def home(self) -> Answer:
        """Move to ``home.positions``; refused as a start is, and while something plays."""
        loop = self._free_loop()
        if isinstance(loop, Answer):
            return loop
        self._take_restart(loop)
        refusal = self._motion_problem(loop) or loop.home(time.monotonic())
        if refusal:
            return Answer(False, refusal)
        self._wish = None
        where = 'moving home' if loop.armed else 'moving home in shadow: not armed'
        return Answer(True, f'{where}; ~/stop ends it')

    def stop(self) -> Answer:
        """Brake and go back to ready; a pause stays."""
        self._stop_for('stopped by ~/stop')
        return Answer(True, f'stopped{self._still_paused}')

    def pause(self, paused: bool) -> Answer:
        """Pause, in every state, or end that: what is under way goes on from the last command."""
        now, loop = time.monotonic(), self._session.loop
        self._kept.paused = paused
        if paused:
            self._keep_paused(loop, now)
            return Answer(True, 'paused: nothing moves until ~/pause is false')
        if loop is None:
            return Answer(True, f'not paused; waiting: {self._session.reason}')
        was_paused = bool(loop.paused)
        if was_paused:
            loop.resume(now)
        if self.active and self._deadman_problem(now):
            return Answer(False, f'still paused: {_DEADMAN}')
        if not was_paused:
            return Answer(True, f'not paused by ~/pause; the state is {loop.state}')
        return Answer(True, 'resumed' if loop.started else 'resumed: ~/start begins')

    def arm(self, armed: bool) -> Answer:
        """Send commands to the arm, or (back) to the shadow topics, which is always possible."""
        if not armed:
            return self._disarm()
        loop = self._ready_loop()
        if isinstance(loop, Answer):
            return loop
        problem = self._arming_problem(loop)
        if problem:
            return Answer(False, problem)
        moves = loop.armed and loop.started
        self._kept.disarmed = self._disarm_at_rest = False
        loop.armed = True  # stops a shadow motion; the first command will be the measured pose
        if moves:
            return Answer(True, f'armed already; the state is {loop.state}')
        return Answer(True, 'armed: ~/start moves the arm')

    def _keep_paused(self, loop: ControlLoop | None, now: float) -> None:
        """Also a loop that was made after it was asked for."""
        if self._kept.paused and loop is not None and not loop.paused:
            loop.pause(now, PAUSED)

    @property
    def _still_paused(self) -> str:
        return f'; {PAUSED}, until that is false' if self._kept.paused else ''

    def _disarm(self) -> Answer:
        self._kept.disarmed, self._wish = True, None
        loop = self._session.loop
        if loop is None:
            self._session.remember(self._session.latched, disarmed=True)
        elif loop.armed and self.active:
            loop.stop(time.monotonic(), 'disarmed')
            self._disarm_at_rest = True
        else:
            loop.armed = False
        return Answer(True, f'disarmed{self._still_paused}')

    def estop(self, pressed: bool) -> None:
        """True latches, and while it is true nothing is released; false does not release."""
        self._kept.estop_down = pressed
        if self._session.loop is not None:
            self._session.loop.hold_estop(_PRESSED if pressed else '')
        if pressed:
            self._session.estop(time.monotonic(), ESTOPPED)

    def reset_estop(self) -> Answer:
        """Release e-stop or fault."""
        loop = self._ready_loop()
        if isinstance(loop, Answer):
            return loop
        now = time.monotonic()
        if loop.state not in LATCHED:
            return Answer(True, f'nothing to release: the state is {loop.state}')
        refusal = loop.reset_estop(now, self._session.input_status(now))
        if refusal:
            return Answer(False, refusal)
        return Answer(True, f'released; ~/start begins again{self._still_paused}')

    def enable(self, pressed: bool) -> None:
        """The dead-man switch: held down, or released."""
        self._enabled_at = time.monotonic() if pressed else None

    def before_tick(self, loop: ControlLoop, now: float) -> None:
        """What depends on time: the dead-man switch, a start that waits, a disarm at rest."""
        self._keep_paused(loop, now)
        self._watch_controller(loop)
        session = self._session
        loop.interlock(
            self._deadman_problem(now)
            or session.speed.problem
            or (session.around.not_simulated() if loop.armed else '')
        )
        loop.hold_estop(_PRESSED if self._kept.estop_down else '')
        wish = self._wish
        if wish is not None:
            self._take_wish(wish, loop, now)
        command = self._session.last_command
        if self._disarm_at_rest and (command is None or command.hold):
            self._disarm_at_rest = False
            loop.armed = False

    def _take_wish(self, wish: _Wish, loop: ControlLoop, now: float) -> None:
        """As ~/start, tried for a moment; then it is given up, and the state says why."""
        state = loop.state
        if state in PLAYING or state in LATCHED or loop.epoch != wish.epoch:
            self._drop(wish)
            return
        refusal = self._session.reason
        if state == 'ready':
            refusal = self._motion_problem(loop) or loop.start(now, wish.epoch, wish.place)
            if refusal in ('', CHANGED):
                self._drop(wish)
                return
            loop.explain(f'not started: {refusal}')
        if now > wish.until:
            self._drop(wish)
            _LOG.warning('the instruction did not start it: %s', refusal)
        elif state == 'ready' and wish.until == float('inf'):
            self._drop(wish, _Wish(now + _INSIST_S, wish.epoch))

    def _drop(self, wish: _Wish, then: _Wish | None = None) -> None:
        """Where no other one came meanwhile."""
        if self._wish is wish:
            self._wish = then

    def _deadman_problem(self, now: float) -> str:
        timeout, held = self._safety.deadman_timeout_s, self._enabled_at
        if timeout <= 0 or (held is not None and now - held <= timeout):
            return ''
        return _DEADMAN

    def _arming_problem(self, loop: ControlLoop) -> str:
        state = loop.state
        if state != 'ready' and state not in PLAYING:
            return f'state is {state} ({self._session.reason}): expected ready'
        return self._commander_problem()

    def _motion_problem(self, loop: ControlLoop) -> str:
        """Why no motion may begin; in shadow nobody is in the way."""
        return self._commander_problem() if loop.armed else ''

    def _commander_problem(self) -> str:
        """Why nobody should command this arm now."""
        session = self._session
        problem, refuses = session.clock_problem(time.monotonic())
        if session.redescribed or refuses:
            return session.redescribed or problem
        sample = session.inputs.joints.newest
        blind = '' if sample is None else unfelt(sample, session.config.safety.contact_effort)
        return blind or session.around.arming_problem()

    def _watch_controller(self, loop: ControlLoop) -> None:
        """A controller that stopped, or was started again, is not commanded until a start."""
        seen, restarted = self._session.around.newest, self._take_restart(loop)
        if not (loop.armed and loop.started):
            return
        cause = seen.controller_problem or seen.misfit or self._session.redescribed
        if not self._session.publishers.listeners or seen.unheard:
            topic = ' and '.join(seen.unheard) or self._session.publishers.command_topic
            self._stop_for(f'nobody subscribes to {topic} any more; ~/start begins anew')
        elif cause:
            self._stop_for(f'stopped: {cause}')  # it stands there also when that is over
        elif restarted:
            self._stop_for('the controller was started again; ~/start begins from where it is')

    def _take_restart(self, loop: ControlLoop) -> bool:
        """Whether the controller was started again since the last look; a start comes after it."""
        seen, before = self._session.around.newest, self._restarted_at
        self._restarted_at = seen.restarted_at
        restarted = seen.restarted_at != before
        if restarted:
            self._session.publishers.restarted(seen.restarts)
        if restarted or seen.controller_problem:
            loop.controller_restarted()
        return restarted

    def _ready_loop(self) -> ControlLoop | Answer:
        if not self.active:
            return Answer(False, 'the node is not active; activate it first')
        if self._session.loop is None:
            return Answer(False, f'waiting: {self._session.reason}')
        return self._session.loop

    def _free_loop(self) -> ControlLoop | Answer:
        """As ``_ready_loop``, and refused while a stop is latched."""
        loop = self._ready_loop()
        if isinstance(loop, Answer):
            return loop
        if loop.state in LATCHED:
            return Answer(False, f'{loop.state}: {loop.reason}; reset it first')
        self._keep_paused(loop, time.monotonic())
        return loop

    def _stand(self, text: str) -> None:
        """What the policy is told from now on."""
        self._kept.standing = self._session.inputs.instruction = text

    def _stop_for(self, reason: str) -> None:
        self._wish = None
        self._session.stop(time.monotonic(), reason)
