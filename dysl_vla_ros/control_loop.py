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
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.chunk_scheduler import ChunkScheduler
from dysl_vla_ros.core.governor import Governor, GovernorSettings
from dysl_vla_ros.core.motion_plan import Knot
from dysl_vla_ros.core.run_state import LATCHED, InputStatus, RunState, State
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.core.skip_policy import SkipPolicy, SkipSettings, Verdict
from dysl_vla_ros.core.watchdogs import Facts, Patience, Watchdogs
from dysl_vla_ros.data_types import ActionChunk, Command, FloatArray, Observation, SkipMode
from dysl_vla_ros.errors import ChunkError, DyslError
from dysl_vla_ros.loop_status import Counters, Delivery, LoopStatus
from dysl_vla_ros.motion import ChunkPlan, Planner, plan_chunk
from dysl_vla_ros.policy import Pass, Policy

_LOG = logging.getLogger(__name__)
_GRIPPER_MOVES = 0.1
"""A change of commanded opening beyond this counts as moving the gripper."""
_INVALID_CHUNKS_FAULT = 3
_ROUNDING = 1e-6
_STANDING_RAD_S = 1e-3
_QUIET_AFTER_S = 0.3
"""Paused or latched and at rest for this long: nothing more is published."""
_HOLDS_POINTS = ('joint_commands', 'twist', 'pose')
"""Command types whose receivers take points: what they were told last, they keep doing."""


@dataclass(frozen=True)
class _Placed:
    """A chunk in joint space, placed on the progress axis."""

    progress: float
    plan: ChunkPlan


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
        self.skip_mode: SkipMode = config.skip.mode  # type: ignore[assignment]
        self.action_period = config.timing.action_period_s or action.period_s
        self._armed = config.safety.armed if armed is None else armed
        self._planner = planner
        self._gripper_dim = action.gripper
        self._skip = SkipPolicy(
            policy.manifest.layout.segments,
            skip_settings(config, policy.manifest.calibration),
        )
        self._scheduler = ChunkScheduler(self.action_period, config.chunk.max_time_stretch)
        self._governor = Governor(
            limits, governor_settings(config), getattr(planner, 'may_command', None)
        )
        self._watchdogs = Watchdogs(patience(config), limits, config.safety.start_max_jump_rad)
        self._run = RunState()
        self._lock = threading.RLock()
        self._epoch = 0
        self._chunk_id = 0
        self._in_flight = False
        self._asked_at: float | None = None
        self._verifying = False
        self._prefix: tuple[ActionChunk, _Placed, int] | None = None
        self._reading: FloatArray | None = None
        self._last: Command | None = None
        self._ticked_at = 0.0
        self._resting_since: float | None = None
        self._renew_due = False
        self._from_measured = True
        self._invalid_in_a_row = 0
        self._hold_reason = 'waiting for the first chunk'
        self._warning = ''
        self._gives_way = False
        self._let_go = False
        self._seam_jump = 0.0
        self._moved: tuple[str, ...] = ()
        self._count = Counters()

    @property
    def limits(self) -> MotionLimits:
        """Joint limits in force."""
        return self._governor.limits

    @limits.setter
    def limits(self, limits: MotionLimits) -> None:
        with self._lock:
            self._governor.limits = self._watchdogs.limits = limits

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
            self._release(self._ticked_at)
            self._governor.forget(self._ticked_at)
            self._from_measured = True

    # ---- the worker's side ---------------------------------------------------------------

    def wants_pass(self, now: float) -> bool:
        """Whether a pass should begin now, with the newest observation."""
        with self._lock:
            if self._in_flight or self._renew_due or not self._run.playing:
                return False
            left, horizon = self._scheduler.remaining, self._scheduler.horizon
            if self.config.chunk.strategy == 'sync':
                wanted = left <= 0 and self._governor.at_rest
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
            if self._holds:
                self._skip.restart()  # before the plan: the pass after a hold is full
            plan = self._skip.plan('auto' if mode == 'compare' else mode)
        try:
            if mode == 'compare':
                return epoch, self.policy.compare(observation, plan)
            return epoch, self.policy.predict(observation, plan)
        except BaseException:
            self.abandon()
            raise

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
            reference = self._scheduler.reference_at(result.stamp)
            assert reference is not None
        try:
            placed = self._place(result, reference)
            chunk = self._chunk(epoch, result, placed.plan)
        except DyslError as error:
            with self._lock:
                return self._reject(error, now)
        with self._lock:
            if epoch != self._epoch:
                return self._refuse('the epoch ended while the chunk was built', counts=False)
            return self._take(chunk, placed, result, now)

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
    ) -> Command | None:
        """The command due now; None when nothing may be published.

        Args:
            now: Current time on the loop's clock [s].
            joints: Newest measured joint positions, shape (n,) [rad]; None before the first.
            inputs: Whether all inputs are complete and fresh.
            measured_at: When ``joints`` were measured [s]; None = now, where they are new.
        """
        with self._lock:
            elapsed = 0.0 if self._last is None else now - self._last.stamp
            self._ticked_at = now
            self._measure(now, joints, measured_at)
            state = self._judge(now, self._with_joints(now, inputs))
            if self._renew_due and self._run.playing and self._governor.at_rest:
                self._settle(now)
                state = self._run.state
            self._watch_strangers(now)
            measured = self._governor.measurement.position
            if self._governor.plan is None or measured is None:
                self._last = None
                return None
            if self._gives_way:
                self._governor.give_way()  # the arm may be moved on
                self._gives_way = not self._governor.gave_way
            go = (self._run.playing and not self._renew_due) or self._gives_way
            knot = self._governor.advance(now, go, self._scheduler.top_speed, self.armed)
            moving = not self._governor.at_rest
            for displacement in self._scheduler.note(
                now, knot.progress, go and moving, knot.position, measured
            ):
                self._skip.played(displacement)
            self._count.actions_played = int(knot.progress + _ROUNDING)
            self._watch(now, state, go, knot)
            if not self._run.playing and self._governor.at_rest and not self._gives_way:
                return self._rest(now, knot, elapsed)
            self._resting_since = None
            return self._command(now, elapsed, knot)

    # ---- requests ------------------------------------------------------------------------

    def start(self, now: float) -> str:
        """Begin to act, from the measured pose; returns why it is refused, else ''."""
        with self._lock:
            refusal = self._start_problem(now) or self._run.start()
            if not refusal:
                self._raise_epoch('waiting for the first chunk')
                self._from_measured = True
            return refusal

    def _start_problem(self, now: float) -> str:
        measurement = self._governor.measurement
        if measurement.position is None:
            return measurement.refusal or 'no joint states received yet'
        if measurement.doubtful:
            return measurement.refusal
        workspace = getattr(self._planner, 'workspace_problem', None)
        return '' if workspace is None else str(workspace(measurement.position))

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
            refusal = self._run.reset(now, inputs)
            if not refusal:
                self._invalid_in_a_row = 0
                self._governor.measurement.forget_doubts()
            return refusal

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

    def status(self) -> LoopStatus:
        """A consistent snapshot."""
        with self._lock:
            count, lead = self._count, self._governor.lead()
            return LoopStatus(
                state=self._run.state,
                reason=self._run.reason,
                armed=self.armed,
                epoch=self._epoch,
                skip_mode=self.skip_mode,
                continuity=self._skip.continuity,
                critical=self._skip.critical,
                queue_depth=self._scheduler.remaining,
                time_stretch=self._scheduler.stretch,
                seam_jump=self._seam_jump,
                latency=max(count.latencies, default=None),
                commands=count.commands,
                holds=count.holds,
                limited=count.limited,
                actions_played=count.actions_played,
                seconds_running=count.seconds_running,
                chunks=count.chunks,
                reruns=count.reruns,
                reruns_changed=count.reruns_changed,
                starvations=count.starvations,
                deadline_misses=count.deadline_misses,
                gripper=None if self._last is None else self._last.gripper,
                last_rejection=count.last_rejection,
                warning=self._warning,
                readings_refused=self._governor.measurement.refused,
                lead=None if lead is None else float(np.max(np.abs(lead))),
            )

    # ---- delivery, in steps ------------------------------------------------------------------

    def _refusal(self, epoch: int, result: Pass, now: float) -> str:
        age = now - result.stamp
        if epoch != self._epoch:
            return f'epoch {epoch} ended, now {self._epoch}'
        if not self._run.playing:
            return f'state is {self._run.state}: {self._run.reason}'
        oldest = self.config.inputs.max_observation_age_s
        if age < 0 or age > oldest:
            self._count.deadline_misses += 1
            return (
                f'observation of t = {result.stamp:.3f} s is {age:.3f} s old at t = {now:.3f} s: '
                f'expected 0 to max_observation_age_s = {oldest:g}'
            )
        if self._scheduler.reference_at(result.stamp) is None:
            return f'observation of t = {result.stamp:.3f} s is older than the last re-anchoring'
        return ''

    def _place(self, result: Pass, reference: tuple[float, FloatArray, FloatArray]) -> _Placed:
        """Actions -> joint targets from the reference at the observation's stamp."""
        progress, commanded, measured = reference
        from_commanded = self.armed and getattr(self._planner, 'from_commanded', True)
        start = commanded if from_commanded else measured
        plan = plan_chunk(
            self._planner,
            result.normalised,
            start,
            self.limits,
            self.action_period,
            self._gripper_dim,
        )
        return _Placed(progress, plan)

    def _chunk(self, epoch: int, result: Pass, plan: ChunkPlan) -> ActionChunk:
        self._chunk_id += 1
        return ActionChunk(
            chunk_id=self._chunk_id - 1,
            epoch=epoch,
            stamp=result.stamp,
            actions=plan.actions,
            displacements=plan.displacements,
            instruction=result.instruction,
            mode=result.mode,
            trace=result.trace,
            stage_seconds=result.stage_seconds,
        )

    def _take(self, chunk: ActionChunk, placed: _Placed, result: Pass, now: float) -> Delivery:
        """Verify what is left of a chunk, then execute it or ask for the re-run."""
        if self._holds and chunk.mode != 'rerun':
            self._skip.restart()
        played = self._scheduler.played_since(placed.progress)
        # An action played in part is verified too: what is left of it will be executed.
        dropped = min(max(int(played + _ROUNDING), 0), len(chunk.displacements))
        skipped = bool(result.trace.jumps) and chunk.mode == 'skipped'
        verdict = self._skip.verify(chunk.displacements[dropped:], skipped)
        drop_index = None if verdict.drop_index is None else verdict.drop_index + dropped
        if verdict.rerun:
            self._verifying = True
            self._count.reruns += 1
            self._prefix = self._smooth_prefix(chunk, placed, drop_index)
            return Delivery(
                accepted=False,
                rerun=True,
                reason=f'continuity drops at action {drop_index}',
                chunk=chunk,
                continuity=verdict.continuity,
                drop_index=drop_index,
                played=played,
                actions_played=self._count.actions_played,
            )
        if not self._accept(placed):
            self._count.deadline_misses += 1
            return self._refuse(
                f'all {len(chunk.actions)} actions were played before the chunk arrived',
                counts=False,
            )
        self._note(chunk, result, verdict, now)
        return Delivery(
            accepted=True,
            rerun=False,
            reason='',
            chunk=chunk,
            continuity=verdict.continuity,
            drop_index=drop_index,
            seam_jump=self._seam_jump,
            played=played,
            actions_played=self._count.actions_played,
        )

    def _accept(self, placed: _Placed, limit: int | None = None) -> bool:
        plan = placed.plan
        path = self._scheduler.accept(
            placed.progress, plan.targets, plan.displacements, plan.gripper, self.limits, limit
        )
        if path is None:
            return False
        self._seam_jump = self._governor.follow(path)
        self._moved = plan.moved
        return True

    def _note(self, chunk: ActionChunk, result: Pass, verdict: Verdict, now: float) -> None:
        self._skip.accepted(verdict, was_rerun=chunk.mode == 'rerun')
        self._count.chunks += 1
        self._count.reruns_changed += int(chunk.mode == 'rerun' and result.changed)
        self._invalid_in_a_row = 0
        if self._moved:
            self._count.last_rejection = 'clamped ' + ', '.join(self._moved)
        self._finish_pass(now)
        if self._count.latencies:
            self._scheduler.stretch_for(
                max(self._count.latencies),
                self.config.timing.request_threshold,
                len(chunk.actions),
                self.config.safety.brake_s,
            )

    def _smooth_prefix(
        self, chunk: ActionChunk, placed: _Placed, drop_index: int | None
    ) -> tuple[ActionChunk, _Placed, int] | None:
        """The actions that may be played before the re-run lands (``prefix`` policy only)."""
        if self.config.rerun.prefix_policy != 'prefix' or drop_index is None:
            return None
        limit = drop_index - 1
        gripper, commanded = placed.plan.gripper, self._scheduler.gripper
        if gripper is not None:
            if commanded is None:  # whatever it is told first moves it
                return None
            moves = np.flatnonzero(np.abs(gripper - commanded) > _GRIPPER_MOVES)
            limit = min(limit, int(moves[0])) if len(moves) else limit
        return (chunk, placed, limit) if limit > 0 else None

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
        self._verifying = False
        self._prefix = None
        self._asked_at = None

    # ---- ticking, in steps -------------------------------------------------------------------

    def _measure(self, now: float, joints: FloatArray | None, measured_at: float | None) -> None:
        measurement = self._governor.measurement
        is_new = joints is not None and joints is not self._reading
        self._reading = joints
        if joints is None or (measured_at is None and not is_new):
            if joints is not None and not measurement.doubtful:
                measurement.heard_at = now  # the caller has no stamps: it still holds
            return
        stamp = now if measured_at is None else measured_at
        self._governor.measure(joints, stamp, believe_jumps=not self._commanding)

    def _with_joints(self, now: float, inputs: InputStatus) -> InputStatus:
        """The inputs, not ready where no reading of the joints was believed for too long."""
        measurement, oldest = self._governor.measurement, self.config.inputs.joint_states_timeout_s
        if not inputs.ready or now - measurement.heard_at <= oldest:
            return inputs
        return InputStatus(
            False,
            measurement.refusal
            or f'joint_states: newest is {now - measurement.heard_at:.2f} s old, expected at '
            f'most {oldest:g} s',
        )

    def _judge(self, now: float, inputs: InputStatus) -> State:
        before = self._run.state
        self._play_prefix_if_due()
        queued = self._scheduler.remaining > 0 and not self._renew_due
        state = self._run.update(
            now, inputs, verifying=self._verifying, queued=queued, hold_reason=self._hold_reason
        )
        if state == 'stale' and before != 'stale':
            self._raise_epoch(self._run.reason)
        doubt = self._governor.measurement.persistent
        if doubt and self._commanding:
            self._latch('fault', doubt, now)
        return self._run.state

    def _settle(self, now: float) -> None:
        """Anchor the motion anew, once at rest; the next pass is full."""
        settled, reason = self._governor.settle(now, self._scheduler.progress, self._from_measured)
        if settled == 'go':
            self._scheduler.anchor()
            self._skip.restart()
            self._renew_due = False
            self._from_measured = False
        elif settled == 'ask':
            self._run.stop(reason)
            self._raise_epoch(reason)
            self._release(now)
        else:
            self._hold_reason = reason

    def _play_prefix_if_due(self) -> None:
        """Play the smooth prefix, once the old chunk has run out."""
        if self._prefix is None or self._scheduler.remaining > 0:
            return
        _, placed, limit = self._prefix
        self._prefix = None
        self._accept(placed, limit)

    def _watch_strangers(self, now: float) -> None:
        """A motion that no command asked for, also just after the commands have ended."""
        unasked = self._governor.unasked_motion(now) if self.armed else ''
        if unasked and self._run.state not in LATCHED:
            self._latch('fault', unasked, now)
            self._let_go = True

    def _watch(self, now: float, state: State, going: bool, knot: Knot) -> None:
        """Let the watchdogs look; what they find latches, warns or asks for a new anchor."""
        lead = self._governor.lead() if self.armed and self._governor.fresh(now) else None
        measured = self._governor.measurement.position
        assert measured is not None
        standing = bool(np.abs(knot.velocity).max() < _STANDING_RAD_S)
        facts = Facts(
            now, state, self._run.reason, self._asked_at, lead, measured, going, standing
        )
        found = self._watchdogs.look(facts)
        if found.warning and not self._warning:
            _LOG.warning('%s', found.warning)
        self._warning = found.warning
        self._count.starvations += int(found.starved)
        if found.fault:
            self._latch('fault', found.fault, now)
        elif found.shoved and self._run.started:
            reason = f'{found.shoved}; ~/start begins from where it is'
            self._run.stop(reason)
            self._raise_epoch(reason)
        self._gives_way = self._gives_way or bool(found.fault)
        self._let_go = self._let_go or bool(found.shoved)
        if found.warning and self._run.state == 'holding':
            self._hold_reason = found.warning

    def _command(self, now: float, elapsed: float, knot: Knot) -> Command:
        plan = self._governor.plan
        assert plan is not None
        times, path, speeds = plan.window(now)
        hold = self._governor.at_rest
        limited = self._moved if not hold else ()
        reason = ', '.join(limited)
        if hold:
            reason = self._run.reason or self._hold_reason
        command = Command(
            stamp=now,
            positions=knot.position,
            velocities=knot.velocity,
            gripper=self._scheduler.gripper,
            hold=hold,
            reason=reason,
            action_index=-1 if hold else self._scheduler.action_index,
            limited=limited,
            window_times=times,
            window_positions=path,
            window_velocities=speeds,
        )
        self._last = command
        if self._run.playing:
            self._count.commands += 1
            self._count.holds += int(hold)
            self._count.limited += int(bool(limited))
            self._count.seconds_running += elapsed
        return command

    def _rest(self, now: float, knot: Knot, elapsed: float) -> Command | None:
        """Stopped: hold the place in latched and stale states, otherwise fall silent."""
        if self._resting_since is None:
            self._resting_since = now
        state = self._run.state
        quiet = state != 'stale' and now - self._resting_since > _QUIET_AFTER_S
        unknown = self._let_go or not self._governor.fresh(now)
        if quiet or unknown or state in ('waiting', 'ready'):
            self._release(now)
            return None
        return self._command(now, elapsed, knot)

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
        self._skip.restart()

    def _release(self, now: float) -> None:
        """Fall silent; the governor keeps where the commands ended."""
        self._governor.release(now)
        self._scheduler.anchor()
        self._gives_way = self._let_go = False
        self._last = None

    @property
    def _commanding(self) -> bool:
        """Whether commands go out, and are meant to move the arm."""
        return self._governor.plan is not None and self._run.playing

    @property
    def _holds(self) -> bool:
        """Whether no action is left, and the arm is told to rest."""
        return self._scheduler.remaining <= 0 and self._governor.at_rest


def governor_settings(config: NodeConfig) -> GovernorSettings:
    """What the parameters say about motion."""
    return GovernorSettings(
        period=1.0 / config.timing.command_rate_hz,
        look_ahead=config.chunk.command_window_s,
        rest=config.safety.rest_s,
        ramp=config.safety.brake_s,
        fade=config.chunk.seam_fade_s if config.chunk.seam_method == 'hermite' else 0.0,
        max_jump=config.safety.start_max_jump_rad,
        holds_points=config.action.command_type in _HOLDS_POINTS,
    )


def patience(config: NodeConfig) -> Patience:
    """How long the promises may stay broken."""
    safety = config.safety
    return Patience(
        starvation_hold=safety.starvation_hold_s,
        starvation_fault=safety.starvation_fault_s,
        follow_fault=safety.follow_fault_s,
        pass_age=config.inputs.max_observation_age_s,
    )


def skip_settings(config: NodeConfig, calibration: CalibrationSpec) -> SkipSettings:
    """The bundle's calibration, overridden where a parameter is set."""
    own, skip, rerun = config.continuity, config.skip, config.rerun
    return SkipSettings(
        rule=skip.rule or calibration.rule,  # type: ignore[arg-type]
        eta=skip.eta or calibration.eta,
        window=own.window or calibration.window,
        threshold=own.threshold or calibration.threshold,
        hysteresis=own.hysteresis or calibration.hysteresis,
        weights=np.array(own.weights or calibration.weights, dtype=np.float64),
        level_low=calibration.level_low,
        level_high=calibration.level_high,
        tau=skip.tau,
        rerun=rerun.enabled,
        max_consecutive=rerun.max_consecutive,
        stay_full_chunks=rerun.stay_full_chunks,
    )
