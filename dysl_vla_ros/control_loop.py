"""READ FIRST: the whole method on the robot, without ROS, without a thread, without a clock.

Two callers share one ``ControlLoop``:

    the worker   while loop.wants_pass(now):  loop.infer(observation, clock)      slow
    the ticker   every 1 / command_rate_hz:   loop.tick(now, joints, inputs)      never waits

``infer`` is one round of DySL-VLA: plan which layers may be skipped (``SkipPolicy.plan``), run
them (``Policy.predict``), look for a drop of continuity in what is about to be executed
(``SkipPolicy.verify``), run the same observation in full if there is one (``Policy.rerun``), and
hand the chunk to the scheduler, aligned by what was played since the observation. The lock is
never held while the model runs.

``tick`` judges the state (``RunState``), asks the watchdogs, and lets the ``Governor`` move: what
it answers is the only thing that is ever published.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from dysl_vla_ros.chunk_desk import ChunkDesk
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.motion_plan import Knot
from dysl_vla_ros.core.pace import Pace
from dysl_vla_ros.core.run_state import LATCHED, InputStatus, RunState, State
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Command, FloatArray, Observation, SkipMode
from dysl_vla_ros.errors import ChunkError, DyslError, InputError
from dysl_vla_ros.loop_status import Counters, Delivery, LoopStatus
from dysl_vla_ros.motion import Planner
from dysl_vla_ros.playback import Playback
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.state_source import pose_state

_LOG = logging.getLogger(__name__)
_INVALID_CHUNKS_FAULT = 3
_ROUNDING = 1e-6
_OURS = Pace()
_STRANGER_S = 0.3
"""After a push was noticed it may still turn out to be somebody else's motion."""


class ControlLoop:
    """One arm, one policy; every method may be called from any thread."""

    def __init__(
        self,
        policy: Policy,
        config: NodeConfig,
        limits: MotionLimits,
        planner: Planner,
        armed: bool | None = None,
    ) -> None:
        """Join the parts.

        Args:
            policy: The opened and warmed-up policy.
            config: Validated parameters.
            limits: Joint limits, already tightened.
            planner: Turns actions into joint targets.
            armed: Overrides ``config.safety.armed``.
        """
        action = policy.manifest.action
        self.policy = policy
        self.config = config
        calibrated = policy.manifest.calibration.mode
        self.skip_mode: SkipMode = config.skip.mode or calibrated  # type: ignore[assignment]
        self.action_period = config.timing.action_period_s or action.period_s
        self._armed = config.safety.armed if armed is None else armed
        self._planner = planner
        self._count = Counters()
        self._playback = Playback(config, limits, planner, self.action_period)
        self._desk = ChunkDesk(policy.manifest, config, planner, self._playback, self._count)
        self._run = RunState()
        self._lock = threading.RLock()
        self._epoch = 0
        self._in_flight = False
        self._asked_at: float | None = None
        self._ticked_at = 0.0
        self._renew_due = False
        self._from_measured = True
        self._controller_is_new = False
        self._invalid_in_a_row = 0
        self._hold_reason = 'waiting for the first chunk'
        self._warning = ''
        self._moved_at = float('-inf')
        self._progress = self._homed = 0.0
        self._way: FloatArray | None = None

    @property
    def targets_ahead(self) -> FloatArray:
        """Joint targets that are left to play, shape (k, n), for those who watch."""
        with self._lock:
            return self._playback.scheduler.targets_ahead

    @property
    def limits(self) -> MotionLimits:
        """Joint limits in force."""
        return self._playback.limits

    @limits.setter
    def limits(self, limits: MotionLimits) -> None:
        with self._lock:
            self._playback.limits = limits

    @property
    def armed(self) -> bool:
        """Whether commands move the arm; otherwise they go to the shadow topics."""
        return self._armed

    @armed.setter
    def armed(self, armed: bool) -> None:
        """Stops what is under way: what begins next begins with a start, at the measured pose."""
        with self._lock:
            if armed == self._armed:
                return
            self._armed = armed
            reason = 'armed, not started' if armed else 'disarmed'
            self._run.stop(reason)
            self._raise_epoch(reason)
            self._playback.release(self._ticked_at)
            self._playback.governor.forget(self._ticked_at)
            self._from_measured = True

    # ---- the worker's side ---------------------------------------------------------------

    def wants_pass(self, now: float) -> bool:
        """Whether a pass should begin now, with the newest observation."""
        with self._lock:
            if self._in_flight or self._renew_due or not self._acting:
                return False
            left, horizon = self._playback.scheduler.remaining, self._playback.scheduler.horizon
            if self.config.chunk.strategy == 'sync':
                wanted = left <= 0 and self._playback.governor.at_rest
            else:
                wanted = left <= self.config.timing.request_threshold * horizon
            if wanted and self._asked_at is None:
                self._asked_at = now
            return wanted

    def predict(self, observation: Observation) -> tuple[int, Pass]:
        """Run the policy once; slow, holds no lock.

        Returns:
            The epoch in which it began, and the pass: hand both to ``deliver``.

        Raises:
            InputError: The observation does not fit the policy.
            EngineError: The back end failed.
        """
        with self._lock:
            self._in_flight = True
            epoch, mode = self._epoch, self.skip_mode
            plan = self._desk.plan(mode)
        try:
            observation = self._seen(observation)
            if mode == 'compare':
                return epoch, self.policy.compare(observation, plan)
            return epoch, self.policy.predict(observation, plan)
        except BaseException:
            self.abandon()
            raise

    def _seen(self, observation: Observation) -> Observation:
        """With what the policy reads of the arm: its joints, or the pose of its tip."""
        spec = getattr(self.policy.manifest, 'proprioception', None)
        if spec is None or spec.source == 'joints' or not spec.dim:
            return observation
        if not np.isfinite(observation.joints).all():
            raise InputError(f'joints = {observation.joints}: expected finite numbers')
        position, rotation = self._planner.pose(observation.joints)
        return replace(observation, joints=pose_state(spec, position, rotation))

    def rerun(self, first: Pass) -> Pass:
        """Run the observation of ``first`` in full, from its first jump; slow, holds no lock."""
        try:
            return self.policy.rerun(first)
        except BaseException:
            self.abandon()
            raise

    def abandon(self, reason: str = '') -> None:
        """Forget the pass in flight: it raised, or no observation could be used.

        Args:
            reason: Why, reported while the arm holds for want of a chunk.
        """
        with self._lock:
            self._hold_reason = reason or self._hold_reason
            self._finish_pass()

    def deliver(self, epoch: int, result: Pass, now: float) -> Delivery:
        """Take over the actions of a pass, or ask for the re-run.

        Args:
            epoch: From ``predict``.
            result: From ``predict`` or ``rerun``.
            now: Current time [s].
        """
        with self._lock:
            refusal = self._refusal(epoch, result, now)
            if refusal:
                return self._refuse(refusal, counts=False)
            reference = self._playback.scheduler.reference_at(result.stamp)
            assert reference is not None
        try:
            placed = self._desk.place(epoch, result, reference, self.armed)
        except DyslError as error:
            with self._lock:
                return self._reject(error, now)
        with self._lock:
            if epoch != self._epoch:
                return self._refuse('the epoch ended while the chunk was built', counts=False)
            delivery = self._desk.take(placed, result)
            if delivery.accepted:
                self._invalid_in_a_row = 0
                self._finish_pass(now)
                self._desk.keep_pace(len(placed.chunk.actions))
            elif not delivery.rerun:
                return self._refuse(delivery.reason, counts=False)
            return delivery

    def infer(self, observation: Observation, clock: Callable[[], float]) -> tuple[Delivery, ...]:
        """Predict, deliver and, if continuity drops in a skipped chunk, re-run and deliver."""
        epoch, result = self.predict(observation)
        first = self.deliver(epoch, result, clock())
        if not first.rerun:
            return (first,)
        return first, self.deliver(epoch, self.rerun(result), clock())

    # ---- the ticker's side ---------------------------------------------------------------

    def tick(
        self,
        now: float,
        joints: FloatArray | None,
        inputs: InputStatus,
        measured_at: float | None = None,
        pace: Pace = _OURS,
    ) -> Command | None:
        """The command due now; None when nothing may be published.

        Args:
            now: Current time on the loop's clock [s].
            joints: Newest measured joint positions, shape (n,) [rad]; None before the first.
            inputs: Whether all inputs are complete and fresh.
            measured_at: When ``joints`` were measured [s]; None = now, where they are new.
            pace: How time passes for the receiver, and how fast playback may go.
        """
        with self._lock:
            playback, last = self._playback, self._playback.last
            self._ticked_at = now
            playback.keep_pace(now, pace)
            playback.measure(now, joints, measured_at, believe_jumps=not self._commanding)
            self._judge(now, playback.with_joints(now, inputs))
            if self._renew_due and self._run.playing and playback.governor.at_rest:
                self._settle(now)
            self._watch_strangers(now)
            self._doubt_a_resting_arm(now)
            going = self._run.playing and not self._renew_due
            advanced = playback.advance(now, going, self.armed)
            if advanced is None:
                return None
            knot, ended = advanced
            self._account(knot, ended)
            self._watch(now, going, knot)
            if self._run.homing and going and playback.holds:
                self._run.stop('at home.positions')
                self._raise_epoch('at home.positions')
            if playback.rests(now, self._run.state, self._run.playing):
                playback.release(now)
                return None
            command = playback.command(now, knot, self._run.reason or self._hold_reason)
            if self._acting:
                self._count.add(command, 0.0 if last is None else now - last.stamp)
            return command

    # ---- requests ------------------------------------------------------------------------

    def start(self, now: float) -> str:
        """Begin to act, from the measured pose; returns why it is refused, else ''."""
        with self._lock:
            refusal = self._start_problem(now) or self._run.start()
            if not refusal:
                self._raise_epoch('waiting for the first chunk')
                self._from_measured = True
                if self._controller_is_new:
                    self._playback.governor.left = None
                    self._controller_is_new = False
            return refusal

    def controller_restarted(self) -> None:
        """It holds the arm where it is, and knows no last command: the next start begins there."""
        with self._lock:
            self._controller_is_new = True

    def _start_problem(self, now: float) -> str:
        measurement = self._playback.governor.measurement
        if measurement.position is None:
            return measurement.refusal or 'no joint states received yet'
        if measurement.doubtful:
            return measurement.refusal
        workspace = getattr(self._planner, 'workspace_problem', None)
        return '' if workspace is None else str(workspace(measurement.position))

    def home(self, now: float) -> str:
        """Move slowly to ``home.positions``, from the measured pose; returns why not, else ''.

        The straight way of the joints is judged before it begins, as a chunk is.
        """
        with self._lock:
            goal = self.config.home.positions
            refusal = '' if goal else (
                'home.positions = (): expected the joint positions of home')  # fmt: skip
            refusal = refusal or self._start_problem(now)
            if refusal:
                return refusal
            start = self._playback.governor.measurement.position
            assert start is not None
            way = self._playback.straight_way(start, np.array(goal))
            epoch = self._epoch
        problem = getattr(self._planner, 'way_problem', lambda rows: '')(way)
        with self._lock:
            if problem:
                return f'on the way to home.positions, {problem}'
            if epoch != self._epoch:
                return 'the state changed meanwhile: ask again'
            refusal = self._run.home()
            if not refusal:
                self._raise_epoch('on the way to home.positions')
                self._from_measured = True
                self._way = way
            return refusal

    def stop(self, now: float, reason: str) -> None:
        """Brake along the path and go back to ready."""
        with self._lock:
            self._run.stop(reason)
            self._raise_epoch(reason)

    def pause(self, now: float, reason: str) -> None:
        """Brake along the path and hold until ``resume``."""
        with self._lock:
            self._run.pause(reason)
            self._raise_epoch(reason)

    def resume(self, now: float) -> None:
        """Go on from the last command, where the arm still stands there."""
        with self._lock:
            self._run.resume()
            self._raise_epoch('waiting for the first chunk after a pause')

    def estop(self, now: float, reason: str) -> None:
        """Latch the e-stop: brake, flush the queue, raise the epoch."""
        self._latch('e-stop', reason, now)

    def fault(self, now: float, reason: str) -> None:
        """Latch a fault: as an e-stop, but raised by the software."""
        self._latch('fault', reason, now)

    def reset_estop(self, now: float, inputs: InputStatus) -> str:
        """Release e-stop or fault; returns why it is refused, else ''."""
        with self._lock:
            measurement = self._playback.governor.measurement
            if measurement.doubtful:
                return measurement.refusal
            refusal = self._run.reset(now, inputs)
            if not refusal:
                self._invalid_in_a_row = 0
            return refusal

    def explain(self, reason: str) -> None:
        """Why it is ready and does not start, for the state's reason."""
        with self._lock:
            self._run.explain(reason)

    def interlock(self, reason: str) -> None:
        """While there is a reason nothing plays, however it was started; '' ends it."""
        with self._lock:
            if reason and self._run.playing:
                self._raise_epoch(reason)
            self._run.interlock(reason)

    def hold_estop(self, reason: str) -> None:
        """While there is a reason no reset is taken; '' ends it."""
        with self._lock:
            self._run.hold_estop(reason)

    def reset(self, now: float, reason: str) -> None:
        """A new instruction: passes of the old one are dropped, the next pass is full."""
        with self._lock:
            self._raise_epoch(reason)

    # ---- what others may read --------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the last tick."""
        return self._run.state

    @property
    def reason(self) -> str:
        """Why the state is what it is; '' while running."""
        return self._run.reason

    @property
    def in_flight(self) -> bool:
        """Whether a pass has begun whose chunk is not delivered."""
        return self._in_flight

    def receiver_time(self, now: float) -> float:
        """The time of whoever follows the windows, at one of ours [s]."""
        return self._playback.governor.clock.at(now)

    def status(self) -> LoopStatus:
        """A consistent snapshot."""
        with self._lock:
            skip, scheduler = self._desk.skip, self._playback.scheduler
            lead = self._playback.governor.lead()
            return LoopStatus(
                state=self._run.state,
                reason=self._run.reason,
                armed=self.armed,
                epoch=self._epoch,
                skip_mode=self.skip_mode,
                continuity=skip.continuity,
                critical=skip.critical,
                queue_depth=scheduler.remaining,
                time_stretch=scheduler.stretch,
                seam_jump=self._playback.seam_jump,
                gripper=scheduler.gripper,
                warning=self._warning,
                readings_refused=self._playback.governor.measurement.refused,
                lead=None if lead is None else float(np.max(np.abs(lead))),
                **self._count.values(),
            )

    # ---- delivery, in steps ------------------------------------------------------------------

    def _refusal(self, epoch: int, result: Pass, now: float) -> str:
        age = now - result.stamp
        if epoch != self._epoch:
            return f'epoch {epoch} ended, now {self._epoch}'
        if not self._acting:
            return f'state is {self._run.state}: {self._run.reason}'
        oldest = self.config.inputs.max_observation_age_s
        if age < 0 or age > oldest:
            self._count.deadline_misses += 1
            return (
                f'observation of t = {result.stamp:.3f} s is {age:.3f} s old at t = {now:.3f} s: '
                f'expected 0 to max_observation_age_s = {oldest:g}'
            )
        if self._playback.scheduler.reference_at(result.stamp) is None:
            return f'observation of t = {result.stamp:.3f} s is older than the last re-anchoring'
        return ''

    def _reject(self, error: DyslError, now: float) -> Delivery:
        """A chunk that cannot be executed: hold; NaN is an e-stop, three in a row a fault."""
        self._finish_pass()
        self._invalid_in_a_row += 1
        reason = str(error)
        if isinstance(error, ChunkError) and 'expected finite' in reason:
            self._latch('e-stop', reason, now)
        elif self._invalid_in_a_row >= _INVALID_CHUNKS_FAULT:
            self._latch('fault', f'{_INVALID_CHUNKS_FAULT} invalid chunks: {reason}', now)
        return self._refuse(reason, counts=True)

    def _refuse(self, reason: str, *, counts: bool) -> Delivery:
        self._finish_pass()
        if counts:
            self._hold_reason = reason
        self._count.last_rejection = reason
        return Delivery(accepted=False, rerun=False, reason=reason)

    def _finish_pass(self, now: float | None = None) -> None:
        if now is not None and self._asked_at is not None:
            self._count.latencies.append(now - self._asked_at)
        self._in_flight = False
        self._desk.finish_pass()
        self._asked_at = None

    # ---- ticking, in steps -------------------------------------------------------------------

    def _judge(self, now: float, inputs: InputStatus) -> None:
        before = self._run.state
        self._desk.play_prefix_if_due()
        queued = self._playback.scheduler.remaining > 0 and not self._renew_due
        state = self._run.update(
            now,
            inputs,
            verifying=self._desk.verifying,
            queued=queued,
            hold_reason=self._hold_reason,
        )
        if state == 'stale' and before != 'stale':
            self._raise_epoch(self._run.reason)
        doubt = self._playback.governor.measurement.persistent
        if doubt and self._commanding:
            self._latch('fault', doubt, now)

    def _settle(self, now: float) -> None:
        """Anchor the motion anew, once at rest; the next pass is full."""
        settled, reason = self._playback.settle(now, self._from_measured)
        if settled == 'go':
            self._desk.skip.restart()
            self._renew_due = False
            self._from_measured = False
            if self._run.homing:
                self._begin_home(now)
        elif settled == 'ask':
            self._run.stop(reason)
            self._raise_epoch(reason)
            self._playback.release(now)
        else:
            self._hold_reason = reason

    def _begin_home(self, now: float) -> None:
        """From where the motion was anchored, which must lie on the way that was judged."""
        assert self._way is not None
        if self._playback.go_along(self._way, self.config.home.velocity_scale):
            return
        reason = 'the arm stands beside the way home that was judged: ask for ~/home again'
        self._run.stop(reason)
        self._raise_epoch(reason)
        self._playback.release(now)

    def _account(self, knot: Knot, ended: list[FloatArray]) -> None:
        """What of the progress were actions of the policy."""
        if self._playback.on_way:
            self._homed += knot.progress - self._progress
        else:
            for displacement in ended:
                self._desk.skip.played(displacement)
        self._progress = knot.progress
        self._count.actions_played = int(knot.progress - self._homed + _ROUNDING)

    def _watch_strangers(self, now: float) -> None:
        """A motion that no command asked for, also just after the commands have ended."""
        watched = self.armed and (self._run.started or self._moved_at >= now - _STRANGER_S)
        unasked = self._playback.governor.unasked_motion(now) if watched else ''
        if unasked and self._run.state not in LATCHED:
            self._latch('fault', unasked, now)
            self._playback.let_go()

    def _doubt_a_resting_arm(self, now: float) -> None:
        """A place is not held while the readings contradict it: it may be far from the arm."""
        measurement = self._playback.governor.measurement
        if measurement.doubtful and self._playback.commanding and self._playback.governor.at_rest:
            self._playback.release(now)
            if self._run.playing:
                self._raise_epoch(measurement.refusal)

    def _watch(self, now: float, going: bool, knot: Knot) -> None:
        """What the watchdogs find latches, warns, or asks for a start."""
        run = self._run
        found = self._playback.look(
            now, run.state, run.reason, self._asked_at, self.armed, going, knot
        )
        if found.warning and not self._warning:
            _LOG.warning('%s', found.warning)
        self._warning = found.warning
        self._count.starvations += int(found.starved)
        if found.fault:
            self._latch('fault', found.fault, now)
        elif found.shoved and run.started:
            reason = f'{found.shoved}; ~/start begins from where it is'
            self._moved_at = now
            run.stop(reason)
            self._raise_epoch(reason)
        if found.warning and run.state == 'holding':
            self._hold_reason = found.warning

    @property
    def _commanding(self) -> bool:
        """Whether commands move the arm, or will by themselves: a jump of its readings is wrong.

        Stale counts: readings that are refused make it stale before they persist.
        """
        playing = self._playback.commanding and self._run.playing
        return playing or self._run.state == 'stale'

    @property
    def _acting(self) -> bool:
        """Whether actions of the policy may be played."""
        return self._run.playing and not self._run.homing

    # ---- shared ------------------------------------------------------------------------------

    def _latch(self, kind: Literal['e-stop', 'fault'], reason: str, now: float) -> None:
        with self._lock:
            self._run.latch(kind, reason, now)
            self._raise_epoch(reason)
            if self._run.state not in LATCHED:
                _LOG.error('%s: %s', kind, reason)

    def _raise_epoch(self, reason: str) -> None:
        """Chunks and passes begun before now are worth nothing any more."""
        self._epoch += 1
        self._hold_reason = reason
        self._renew_due = True
        self._finish_pass()
        self._desk.skip.restart()
