"""THE ONLY WAY OUT: whatever is published is a piece of this governor's plan.

It owns the last command, the measurement with its age, and the plan: where the arm is told to be
at every instant, up to a rest that comes by itself. A plan begins where the one before says the
arm is now, so that a command never jumps, whatever happened in between; the limits hold along it
by construction (``roll_out``). A re-anchoring is a motion too: see ``settle``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dysl_vla_ros.core import motion_plan
from dysl_vla_ros.core.measurement import Measurement
from dysl_vla_ros.core.motion_plan import Knot, MotionPlan
from dysl_vla_ros.core.path import Path, still
from dysl_vla_ros.core.receiver_clock import ReceiverClock
from dysl_vla_ros.core.roll_out import SHORTEST_STEP_S, Allowed, Demand, Fade, RollOut
from dysl_vla_ros.core.safety import SHORTEST_BRAKE_S, MotionLimits
from dysl_vla_ros.data_types import FloatArray

FRESH_PERIODS = 3
FRESH_S = 0.1
"""Nothing is anchored on a reading older than three command periods, or than this if longer."""
LATE_PERIODS = 2
"""A receiver that holds the last point is led on over at most so many periods of silence."""
_LEAD_SHARE = 0.95
"""The lead is bounded a little below ``max_lead``,"""
_LEAD_DELAY_S = 1.0 / 15.0
"""and the bound takes a moment to act: a reading's age, and a command's."""
_STANDING = 1e-6
"""A plan that is slower than this in every joint stands [rad/s], [m/s]."""
_INSTANT_S = 1e-6
_SAME_S = 1e-9
"""Instants so near to each other are one and the same, but for rounding."""
_APART_S = 1e-3
"""Points of a message lie at least so far apart [s]."""
_GIVE_WAY_RAD, _GIVE_WAY_M = 0.02, 0.002
SILENT_S = 0.3
"""Between the end of the last window and a command that begins elsewhere, at the measured pose."""
UNASKED_S = 0.2
"""A motion of more than ``max_lead`` within this time that no command asked for is a fault."""
_ASKED_S = 0.6
"""An arm may be this late in doing what it was asked to [s]."""

Settled = Literal['go', 'wait', 'ask']


@dataclass(frozen=True)
class GovernorSettings:
    """What the parameters say about motion.

    Attributes:
        period: Of the commands [s].
        look_ahead: Of a window, before its brake [s].
        rest: Every window rests within this [s].
        ramp: From rest to full playback speed [s].
        fade: Shortest time in which a seam fades [s].
        max_jump: A re-anchoring farther than this asks for a start [rad];
        max_jump_m: of a joint that slides [m].
        holds_points: The receiver takes single points and holds the last one, instead of
            following the window to its end.
    """

    period: float
    look_ahead: float = 0.2
    rest: float = 0.5
    ramp: float = 0.1
    fade: float = 0.2
    max_jump: float = 0.1
    max_jump_m: float = 0.01
    holds_points: bool = False

    @property
    def step(self) -> float:
        """Between the knots of a plan [s]."""
        return max(self.period, SHORTEST_STEP_S)


@dataclass(frozen=True)
class _Instant:
    time: float
    commanded: FloatArray


class Governor:
    """Holds the motion of one arm; knows neither chunks nor model."""

    def __init__(
        self, limits: MotionLimits, settings: GovernorSettings, allowed: Allowed | None = None
    ) -> None:
        """No command yet.

        Args:
            limits: Joint limits, already tightened.
            settings: Of the motion.
            allowed: Whether joints (n,) may be commanded at all (a workspace); None = all.
        """
        self.settings = settings
        self._allowed = allowed
        self.clock = ReceiverClock()
        """In whose time plans run; everything else here is in the loop's."""
        self.measurement = Measurement(limits)
        self.limits = limits
        self.plan: MotionPlan | None = None
        self.path: Path | None = None
        self.left: FloatArray | None = None
        """Where the commands ended; None before the first, and after a start from the measured."""
        self._fade: Fade | None = None
        self._asked_at: FloatArray | None = None
        """Where the arm was when a start was asked for that has not begun; None while it moved."""
        self._sent_at = 0.0
        self._told: tuple[MotionPlan, float] | None = None
        self._followed: MotionPlan | None = None
        """What the receiver follows where newer plans said nothing new; None: the newest."""
        self._is_kept_back = False
        self._rolled_at = float('-inf')
        self._ended_at = float('-inf')
        self._recent: deque[_Instant] = deque()

    @property
    def limits(self) -> MotionLimits:
        """The limits in force."""
        return self._limits

    @limits.setter
    def limits(self, limits: MotionLimits) -> None:
        self._limits = limits
        self._rolled_at = float('-inf')  # a plan under others is not kept
        self._roll_out = RollOut(limits, self._allowed)
        self.measurement.limits = limits

    # ---- the measured arm ----------------------------------------------------------------------

    def measure(self, reading: FloatArray, stamp: float, believe_jumps: bool = False) -> str:
        """Take a reading; returns why it is not believed, else ''.

        Args:
            reading: Measured joints, shape (n,) [rad].
            stamp: When they were measured [s].
            believe_jumps: See ``Measurement.take``.
        """
        return self.measurement.take(reading, stamp, believe_jumps, silent=self.plan is None)

    def fresh(self, now: float) -> bool:
        """Whether the believed reading is new enough to anchor on."""
        oldest = max(FRESH_PERIODS * self.settings.period, FRESH_S)
        return now - self.measurement.heard_at <= oldest

    def lead(self) -> FloatArray | None:
        """Command minus measurement, both of the measurement's instant, shape (n,)."""
        measured = self.measurement.position
        if self.plan is None or measured is None:
            return None
        return self._commanded_at(self.measurement.stamp) - measured

    def unasked_motion(self, now: float) -> str:
        """A sentence when the arm moved far, and to where no command of ours was; else ''."""
        measured = self.measurement.position
        if measured is None or not self._recent or now - self._recent[-1].time > _ASKED_S:
            return ''
        moved = self.measurement.moved(UNASKED_S)
        asked = np.array([item.commanded for item in self._recent])
        away = np.abs(asked - measured).min(axis=0)
        bad = np.minimum(moved, away) > self.limits.max_lead
        if not bad.any():
            return ''
        joint = int(np.argmax(np.where(bad, moved / self.limits.max_lead, 0.0)))
        return (
            f'{self.limits.names[joint]} moved {moved[joint]:.3f} {self.limits.units[joint]} '
            f'within {UNASKED_S:g} s, and {away[joint]:.3f} from every command: somebody else '
            'moves the arm'
        )

    # ---- anchoring -----------------------------------------------------------------------------

    def settle(self, now: float, progress: float, from_measured: bool) -> tuple[Settled, str]:
        """Begin anew after a stop, from the last command or from the measured pose.

        Where the arm still stands within one period's way of the last command, motion goes on
        from that: nothing creeps over pause and resume. Within ``max_jump`` it begins at the
        measured pose and walks back to the last command. Farther, a start is asked for, which
        begins at the measured pose (``from_measured``). Where the driver has counted whole turns
        anew, the last command is the same place in its count, and motion begins as measured.

        Args:
            now: Current time [s].
            progress: Actions played.
            from_measured: Whether an operator started it: a last command that is not near counts
                for nothing, and the arm has to stand where it was then.

        Returns:
            ``go``; ``wait`` with what is missing; or ``ask`` with joint and distance.
        """
        measured = self.measurement.position
        if measured is None:
            return 'wait', 'no joint states received yet'
        if self.measurement.doubtful:
            return 'wait', self.measurement.refusal
        if not self.fresh(now):
            age = now - self.measurement.heard_at
            return 'wait', f'joint_states: newest is {age:.2f} s old: waiting for a fresh one'
        if from_measured and self._asked_at is not None:
            moved = self.elsewhere(self._asked_at)
            if moved:
                return 'ask', moved
        if not self.measurement.still:
            return 'wait', 'waiting until the arm stands still'
        last = None if self.left is None else self.limits.near(self.left, measured)
        if last is not None:
            way = self.limits.velocity * self.settings.period
            if (last == self.left).all() and (np.abs(measured - last) <= way).all():
                self._anchor(last, last, now, progress)
                return 'go', ''
            moved = '' if from_measured else self.elsewhere(last, 'the last command')
            if moved:
                return 'ask', moved
        # The receiver still follows the last window: a command that begins elsewhere is a jump.
        if self.plan is not None:
            self.release(now)
            self._asked_at = measured
        if self.clock.at(now) - self._ended_at < SILENT_S:
            return 'wait', 'waiting until the last command has ended'
        goal = measured if last is None or from_measured else last
        self._anchor(measured, np.clip(goal, self.limits.lower, self.limits.upper), now, progress)
        return 'go', ''

    def _anchor(self, position: FloatArray, goal: FloatArray, now: float, progress: float) -> None:
        self.plan = motion_plan.resting(np.array(position), self.clock.at(now), progress)
        self.path = still(goal, progress)
        self._fade = self._told = self._followed = self._asked_at = None
        self._is_kept_back = False
        self._sent_at = now
        self._recent.clear()

    def release(self, now: float) -> None:
        """Fall silent: nothing is commanded until ``settle``; where it ended is kept."""
        if self.plan is not None:
            # A window at rest lasts as long as one that moves: whoever follows it still does.
            least = self.clock.at(now) + min(self.settings.look_ahead, self.settings.rest)
            self._ended_at = max(self.plan.rest_time, least)
            self.left = self.plan.end.position
        self.plan = self.path = self._fade = None

    def stand(self, now: float) -> None:
        """The receiver's clock stands, and with it the arm: hold the place last told of.

        No brake: the arm rests already, and would be drawn along it, a step with every message.
        """
        if self.plan is None or self.at_rest:
            return
        told = self.plan.at(self.clock.at(now))
        self._anchor(told.position, told.position, now, told.progress)
        self.left = told.position

    def forget(self, now: float) -> None:
        """Drop the last command too: the next begins from the measured pose."""
        self.release(now)
        self.left = None

    def asked(self) -> None:
        """A start is asked for, where the arm is now; farther away it would be asked for anew."""
        self._asked_at = None if self.plan is not None else self.measurement.position

    def elsewhere(
        self, place: FloatArray, what: str = 'where it was when it was asked for'
    ) -> str:
        """Which joint stands farther than ``max_jump`` from a place, and how far; else ''.

        Args:
            place: Measured or commanded before, shape (n,); whole turns of it do not count.
            what: The place in words.
        """
        most = self.limits.each(self.settings.max_jump, self.settings.max_jump_m)
        found = self.farthest(place, most)
        if found is None:
            return ''
        joint, stands = found
        unit = self.limits.units[joint]
        return (
            f'{stands} from {what}: expected at most start_max_jump_{unit} = {most[joint]:g}; '
            '~/start begins from where it is'
        )

    def farthest(self, place: FloatArray, most: FloatArray) -> tuple[int, str] | None:
        """Of the joints that stand farther from a place than they may, the worst; None of none.

        Args:
            place: Shape (n,); whole turns of it do not count.
            most: How far each may, shape (n,).

        Returns:
            Its index, and in words that it stands so and so far.
        """
        measured = self.measurement.position
        assert measured is not None
        away = np.abs(measured - self.limits.near(place, measured))
        joint = int(np.argmax(away / most))
        if away[joint] <= most[joint]:
            return None
        name, unit = self.limits.names[joint], self.limits.units[joint]
        return joint, f'{name} stands {away[joint]:.3f} {unit}'

    # ---- the commanded motion ------------------------------------------------------------------

    def follow(self, path: Path) -> float:
        """Go along a new path from where the arm is told to be; returns the seam's offset [rad].

        Args:
            path: On the same progress axis as the one before.
        """
        assert self.plan is not None, 'settle() comes before the first chunk'
        knot = self.plan.knots[0]
        position, _ = path.sample(np.array([knot.progress]))
        self.path, self._fade = path, None
        return float(np.max(np.abs(position[0] - knot.position)))

    def give_way(self) -> None:
        """Lead the command back to where the arm is: whatever holds it shall not be sprung on.

        Called again while the arm moves on, it follows.
        """
        if self.plan is None or self.path is None or self.measurement.position is None:
            return
        place = np.clip(self.measurement.position, self.limits.lower, self.limits.upper)
        most = self.limits.each(_GIVE_WAY_RAD, _GIVE_WAY_M)
        if self.path.horizon or (np.abs(place - self.path.targets[-1]) > most).any():
            self.path, self._fade = still(place, self.plan.knots[0].progress), None

    @property
    def gave_way(self) -> bool:
        """Whether the command rests where ``give_way`` led it."""
        if self.plan is None or self.path is None:
            return True
        left = self.plan.knots[-1].position - self.path.targets[-1]
        return self.at_rest and float(np.abs(left).max()) < 1e-6

    def advance(self, now: float, go: bool, top: float, follows: bool = True) -> Knot:
        """The command due now; the plan is renewed from it.

        Args:
            now: Current time [s].
            go: False brakes, as hard as the limits allow.
            top: Wanted playback speed [actions/s].
            follows: Whether the arm does what is commanded (not so in shadow): the lead counts.
        """
        assert self.plan is not None
        assert self.path is not None
        self._catch_up(now)
        before, state = self.plan, self._state(now)
        lead = self.lead() if follows else None
        if not go or self._runs_ahead(state, lead):
            self._fade = None  # also: the next plan is made anew
            # Made anew at every tick a brake would only ever halve what is left to brake.
            made = (
                self._remainder(before, state)
                if before.is_brake(state.time) and not self._is_late(now)
                else motion_plan.braking(state, self.limits)
            )
        else:
            kept = self._kept(before, state)
            if kept is not None:
                made = kept
            else:
                demand = self._demand(top, lead)
                made, self._fade = self._roll_out.plan(state, self.path, self._fade, demand)
                self._rolled_at = state.time
        if len(made.knots) == 1 and not self._roll_out.may_stop(state):
            made = self._remainder(before, state)
        self._told = before, self._sent_at
        self.plan, self._sent_at = made, now
        self.left = made.end.position
        self._recent.append(_Instant(now, state.position))
        while self._recent[0].time < now - _ASKED_S:
            self._recent.popleft()
        return state

    def unsent(self) -> None:
        """What ``advance`` answered last did not go out: the plan before is still followed."""
        if self.plan is None or self._told is None:
            return
        (before, self._sent_at), self._told = self._told, None
        self.plan, self._followed = self._followed or before, None
        self.left, self._fade = self.plan.end.position, None
        self._recent.pop()

    def kept_back(self) -> None:
        """What ``advance`` answered last says nothing new, and was not sent.

        For the next instants both plans are the same; farther on the newest one goes on where the
        one that is followed ends.
        """
        if self._told is not None:
            self._is_kept_back = True
            self._followed = self._followed or self._told[0]

    def _catch_up(self, now: float) -> None:
        """After a gap the receiver has come along the window that it has, not a newer one."""
        if not self._is_kept_back:
            self._followed = None
        elif self._followed is not None and now - self._sent_at > self._patience:
            self.plan, self._fade, self._followed = self._followed, None, None
        self._is_kept_back = False

    @property
    def at_rest(self) -> bool:
        """Whether the newest plan is one place."""
        plan = self.plan
        return plan is None or (len(plan.knots) == 1 and plan.knots[0].at_rest)

    @property
    def stands(self) -> bool:
        """Whether the newest plan moves no joint, were it as slowly as limits may ask for."""
        return self.plan is None or not any(
            (np.abs(knot.velocity) > _STANDING).any() for knot in self.plan.knots
        )

    def _state(self, now: float) -> Knot:
        """Where the arm is told to be now."""
        assert self.plan is not None
        if not self._is_late(now):
            return self.plan.at(self.clock.at(now))
        sent = self.plan.at(self.clock.at(self._sent_at))
        at_rest = np.zeros_like(sent.velocity)
        return Knot(self.clock.at(now), sent.position, at_rest, sent.progress, 0.0)

    def _is_late(self, now: float) -> bool:
        """Whether the receiver stands at the last point, since no next one came in time."""
        return self.settings.holds_points and now - self._sent_at > self._patience

    @property
    def _patience(self) -> float:
        """Between two ticks that belong to one motion, at most [s]."""
        return LATE_PERIODS * self.settings.period + 1e-9

    def _kept(self, before: MotionPlan, state: Knot) -> MotionPlan | None:
        """At rates above the knots': the plan made less than a step ago, where nothing is new."""
        if self._fade is None or state.time - self._rolled_at > 0.9 * self.settings.step:
            return None
        later = tuple(knot for knot in before.knots if knot.time > state.time)
        if not later or later[0].time - state.time < _APART_S:
            return None
        return MotionPlan((state, *later), before.brake)

    def _remainder(self, before: MotionPlan, state: Knot) -> MotionPlan:
        """The rest of the last plan: always allowed, and it ends at rest."""
        later = tuple(k for k in before.knots if k.time - state.time > _SAME_S)
        if later:
            return MotionPlan((state, *later), before.brake)
        end = before.end
        if state.at_rest or before.rest_time - state.time < _INSTANT_S:
            return motion_plan.resting(end.position, state.time, end.progress)
        return MotionPlan((state, end), SHORTEST_BRAKE_S)

    def _runs_ahead(self, state: Knot, lead: FloatArray | None) -> bool:
        """Whether only a brake keeps the command within ``max_lead`` of the arm."""
        if lead is None:
            return False
        away = state.velocity * np.sign(lead)
        way = away * self.settings.step + away**2 / (2 * self.limits.acceleration)
        return bool(((away > 0) & (np.abs(lead) + way > self.limits.max_lead)).any())

    def _demand(self, top: float, lead: FloatArray | None) -> Demand:
        settings = self.settings
        speed = None
        if lead is not None:
            # Way until the bound acts, and the way to brake, must fit into what is left.
            room = np.maximum(_LEAD_SHARE * self.limits.max_lead - np.abs(lead), 0.0)
            lost = self.limits.acceleration * _LEAD_DELAY_S
            speed = np.sqrt(lost**2 + 2 * self.limits.acceleration * room) - lost
        return Demand(
            top=top,
            ramp=top / settings.ramp,
            look_ahead=settings.look_ahead,
            fade=settings.fade,
            rest=settings.rest,
            step=settings.step,
            lead=lead,
            lead_speed=speed,
        )

    def _commanded_at(self, stamp: float) -> FloatArray:
        """What was commanded at a past instant; the oldest kept where it is older."""
        assert self.plan is not None
        first, when = self.plan.knots[0].time, self.clock.at(stamp)
        if when >= first or not self._recent:
            return self.plan.at(max(when, first)).position
        before = [item for item in self._recent if item.time <= stamp]
        return (before[-1] if before else self._recent[0]).commanded
