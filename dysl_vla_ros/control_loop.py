"""READ FIRST: the whole method on the robot, without ROS, without a thread, without a clock.

Two callers share one ``ControlLoop``:

    the worker   while loop.wants_pass(now):  loop.infer(observation, clock)      slow
    the ticker   every 1 / command_rate_hz:   loop.tick(now, joints, inputs)      never waits

``infer`` is one round of DySL-VLA: plan which layers may be skipped (``SkipPolicy.plan``), run
them (``Policy.predict``), look for a drop of continuity in what is about to be executed
(``SkipPolicy.verify``), run the same observation in full if there is one (``Policy.rerun``), and
hand the chunk to the scheduler, aligned by what was played since the observation. The lock is
never held while the model runs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core import safety
from dysl_vla_ros.core.chunk_scheduler import ChunkScheduler, Sample, SchedulerSettings
from dysl_vla_ros.core.run_state import LATCHED, InputStatus, RunState, State
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.core.skip_policy import SkipPolicy, SkipSettings, Verdict
from dysl_vla_ros.data_types import ActionChunk, Command, FloatArray, Observation, SkipMode
from dysl_vla_ros.engines.bundle import CalibrationSpec
from dysl_vla_ros.errors import ChunkError, DyslError
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Pass, Policy

_LOG = logging.getLogger(__name__)
_GRIPPER_MOVES = 0.1
"""A change of commanded opening beyond this counts as moving the gripper."""
_INVALID_CHUNKS_FAULT = 3
_LATENCIES_KEPT = 10
_QUIET_AFTER_S = 1.0
"""Paused or latched and at rest for this long: nothing more is published."""


@dataclass(frozen=True)
class Delivery:
    """What became of one pass.

    Attributes:
        accepted: Whether its actions will be executed (or, for ``rerun``, nothing yet).
        rerun: Whether the same observation must now be run in full.
        reason: Why it was not accepted, or why it is run again; '' otherwise.
        chunk: The chunk in physical units; None when it could not be built.
        continuity: C after each action still to be executed.
        drop_index: First action of the chunk that begins a drop; None without one.
        seam_jump: Largest joint offset at the seam, before it was faded [rad].
        played: Actions of the chunk dropped because they were played since its observation.
        actions_played: Actions that the loop has played in all, up to this delivery: with the
            chunks it says what was executed of each.
    """

    accepted: bool
    rerun: bool
    reason: str
    chunk: ActionChunk | None = None
    continuity: tuple[float | None, ...] = ()
    drop_index: int | None = None
    seam_jump: float = 0.0
    played: float = 0.0
    actions_played: int = 0


@dataclass(frozen=True)
class LoopStatus:
    """A snapshot for diagnostics; counters count from construction."""

    state: State
    reason: str
    armed: bool
    epoch: int
    skip_mode: SkipMode
    continuity: float | None
    critical: bool
    queue_depth: float
    time_stretch: float
    seam_jump: float
    latency: float | None
    commands: int
    holds: int
    limited: int
    actions_played: int
    seconds_running: float
    chunks: int
    reruns: int
    reruns_changed: int
    starvations: int
    deadline_misses: int
    gripper: float | None = None
    last_rejection: str = ''


@dataclass
class _Counters:
    commands: int = 0
    holds: int = 0
    limited: int = 0
    actions_played: int = 0
    seconds_running: float = 0.0
    chunks: int = 0
    reruns: int = 0
    reruns_changed: int = 0
    starvations: int = 0
    deadline_misses: int = 0
    last_rejection: str = ''
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))


class ControlLoop:
    """One arm, one policy; every method may be called from any thread."""

    def __init__(
        self,
        policy: Policy,
        config: NodeConfig,
        limits: MotionLimits,
        planner: MotionPlanner,
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
        self.limits = limits
        self.armed = config.safety.armed if armed is None else armed
        self.skip_mode: SkipMode = config.skip.mode  # type: ignore[assignment]
        self.action_period = config.timing.action_period_s or action.period_s
        self._planner = planner
        self._gripper_dim = action.gripper
        self._skip = SkipPolicy(
            policy.manifest.layout.segments,
            skip_settings(config, policy.manifest.calibration),
        )
        self._scheduler = ChunkScheduler(
            SchedulerSettings(
                action_period=self.action_period,
                brake_seconds=config.safety.brake_s,
                fade_seconds=config.chunk.seam_fade_s,
                seam_method=config.chunk.seam_method,  # type: ignore[arg-type]
                max_stretch=config.chunk.max_time_stretch,
            )
        )
        self._run = RunState()
        self._lock = threading.RLock()
        self._epoch = 0
        self._chunk_id = 0
        self._in_flight = False
        self._asked_at: float | None = None
        self._verifying = False
        self._prefix: tuple[ActionChunk, _Aligned, int] | None = None
        self._measured: FloatArray | None = None
        self._last: Command | None = None
        self._holding_since: float | None = None
        self._resting_since: float | None = None
        self._renew_due = False
        self._starved = False
        self._invalid_in_a_row = 0
        self._hold_reason = 'waiting for the first chunk'
        self._count = _Counters()

    # ---- the worker's side ---------------------------------------------------------------

    def wants_pass(self, now: float) -> bool:
        """Whether a pass should begin now, with the newest observation."""
        with self._lock:
            if self._in_flight or self._renew_due or not self._run.playing:
                return False
            left, horizon = self._scheduler.remaining, self._scheduler.horizon
            if self.config.chunk.strategy == 'sync':
                wanted = left <= 0 and self._scheduler.at_rest
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
            aligned = self._align(result, reference)
            chunk = self._chunk(epoch, result, aligned)
        except DyslError as error:
            with self._lock:
                return self._reject(error, now)
        with self._lock:
            if epoch != self._epoch:
                return self._refuse('the epoch ended while the chunk was built', counts=False)
            return self._take(chunk, aligned, result, now)

    def infer(self, observation: Observation, clock: Callable[[], float]) -> tuple[Delivery, ...]:
        """Predict, deliver and, if continuity drops in a skipped chunk, re-run and deliver."""
        epoch, result = self.predict(observation)
        first = self.deliver(epoch, result, clock())
        if not first.rerun:
            return (first,)
        return first, self.deliver(epoch, self.rerun(result), clock())

    # ---- the ticker's side ---------------------------------------------------------------

    def tick(self, now: float, joints: FloatArray | None, inputs: InputStatus) -> Command | None:
        """The command due now; None when nothing may be published.

        Args:
            now: Current time on the loop's clock [s].
            joints: Newest measured joint positions, shape (n,) [rad]; None before the first.
            inputs: Whether all inputs are complete and fresh.
        """
        with self._lock:
            elapsed = 0.0 if self._last is None else now - self._last.stamp
            if joints is not None:
                self._measured = np.asarray(joints, dtype=np.float64)
            state = self._judge(now, inputs)
            if self._measured is None or not self._scheduler.anchored:
                return None
            go = state in ('running', 'verifying') and not self._renew_due
            for displacement in self._scheduler.advance(now, go, self._measured):
                self._skip.played(displacement)
                self._count.actions_played += 1
            if not self._run.playing and self._scheduler.at_rest:
                return self._rest(now, state)
            self._resting_since = None
            return self._command(now, elapsed, state, go)

    # ---- requests ------------------------------------------------------------------------

    def start(self, now: float) -> str:
        """Begin to act; returns why it is refused, else ''."""
        with self._lock:
            if self._measured is None:
                return 'no joint states received yet'
            refusal = self._run.start()
            if not refusal:
                self._raise_epoch('waiting for the first chunk')
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
        """Go on, anchored at the measured joints."""
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
            return refusal

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
            count = self._count
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
                seam_jump=self._scheduler.seam_jump,
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

    def _align(self, result: Pass, reference: tuple[float, FloatArray, FloatArray]) -> _Aligned:
        """Actions -> joint targets from the reference at the observation's stamp."""
        progress, commanded, measured = reference
        safety.check_finite(result.normalised, 'normalised actions')
        actions = self._planner.actions(result.normalised)
        start = commanded if self.armed and self._planner.from_commanded else measured
        targets = self._planner.targets(actions, start)
        targets, moved = safety.clamp_positions(targets, self.limits)
        slower = safety.time_scale(targets, self.action_period, self.limits)
        return _Aligned(
            progress=progress,
            actions=actions,
            displacements=self._planner.displacements(actions, result.normalised, start),
            targets=targets,
            gripper=actions[:, -1] if self._gripper_dim else None,
            moved=moved,
            slower=slower,
        )

    def _chunk(self, epoch: int, result: Pass, aligned: _Aligned) -> ActionChunk:
        self._chunk_id += 1
        return ActionChunk(
            chunk_id=self._chunk_id - 1,
            epoch=epoch,
            stamp=result.stamp,
            actions=aligned.actions,
            displacements=aligned.displacements,
            instruction=result.instruction,
            mode=result.mode,
            trace=result.trace,
            stage_seconds=result.stage_seconds,
        )

    def _take(self, chunk: ActionChunk, aligned: _Aligned, result: Pass, now: float) -> Delivery:
        """Verify what is left of a chunk, then execute it or ask for the re-run."""
        if self._scheduler.at_rest and self._scheduler.remaining <= 0 and chunk.mode != 'rerun':
            self._skip.restart()
        played = self._scheduler.played_since(aligned.progress)
        dropped = min(max(int(played + 0.5), 0), len(chunk.displacements))
        skipped = bool(result.trace.jumps) and chunk.mode == 'skipped'
        verdict = self._skip.verify(chunk.displacements[dropped:], skipped)
        drop_index = None if verdict.drop_index is None else verdict.drop_index + dropped
        if verdict.rerun:
            self._verifying = True
            self._count.reruns += 1
            self._prefix = self._smooth_prefix(chunk, aligned, drop_index)
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
        accepted = self._accept(aligned)
        if not accepted:
            self._count.deadline_misses += 1
            return self._refuse(
                f'all {len(chunk.actions)} actions were played before the chunk arrived',
                counts=False,
            )
        self._note(chunk, result, verdict, now, aligned.moved)
        return Delivery(
            accepted=True,
            rerun=False,
            reason='',
            chunk=chunk,
            continuity=verdict.continuity,
            drop_index=drop_index,
            seam_jump=self._scheduler.seam_jump,
            played=played,
            actions_played=self._count.actions_played,
        )

    def _accept(self, aligned: _Aligned, limit: int | None = None) -> bool:
        return self._scheduler.accept(
            aligned.progress,
            aligned.targets,
            aligned.displacements,
            aligned.gripper,
            limit,
            aligned.slower,
        )

    def _note(
        self,
        chunk: ActionChunk,
        result: Pass,
        verdict: Verdict,
        now: float,
        moved: tuple[str, ...],
    ) -> None:
        self._skip.accepted(verdict, was_rerun=chunk.mode == 'rerun')
        self._count.chunks += 1
        self._count.reruns_changed += int(chunk.mode == 'rerun' and result.changed)
        self._invalid_in_a_row = 0
        if moved:
            self._count.last_rejection = 'clamped ' + ', '.join(moved)
        self._finish_pass(now)
        if self._count.latencies:
            self._scheduler.stretch_for(
                max(self._count.latencies),
                self.config.timing.request_threshold,
                len(chunk.actions),
            )

    def _smooth_prefix(
        self, chunk: ActionChunk, aligned: _Aligned, drop_index: int | None
    ) -> tuple[ActionChunk, _Aligned, int] | None:
        """The actions that may be played before the re-run lands (``prefix`` policy only)."""
        if self.config.rerun.prefix_policy != 'prefix' or drop_index is None:
            return None
        limit = drop_index - 1
        gripper = aligned.gripper
        if gripper is not None:
            now_at = gripper[0] if self._last is None or self._last.gripper is None else (
                self._last.gripper)  # fmt: skip
            moves = np.flatnonzero(np.abs(gripper - now_at) > _GRIPPER_MOVES)
            limit = min(limit, int(moves[0])) if len(moves) else limit
        return (chunk, aligned, limit) if limit > 0 else None

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

    def _judge(self, now: float, inputs: InputStatus) -> State:
        before = self._run.state
        self._play_prefix_if_due()
        if self._renew_due and self._run.started and self._scheduler.at_rest:
            self._renew(now)
        queued = self._scheduler.remaining > 0 and not self._renew_due
        state = self._run.update(
            now, inputs, verifying=self._verifying, queued=queued, hold_reason=self._hold_reason
        )
        if state == 'stale' and before != 'stale':
            self._raise_epoch(self._run.reason)
        self._watch_starvation(now, state)
        if self.armed and self._run.playing and self._last is not None:
            self._watch_lead(now)
        return self._run.state

    def _play_prefix_if_due(self) -> None:
        """Play the smooth prefix, once the old chunk has run out."""
        if self._prefix is None or self._scheduler.remaining > 0:
            return
        _, aligned, limit = self._prefix
        self._prefix = None
        self._accept(aligned, limit)

    def _watch_starvation(self, now: float, state: State) -> None:
        if state != 'holding':
            self._holding_since = None
            self._starved = False
            return
        if self._holding_since is None:
            self._holding_since = now
        held = now - self._holding_since
        if held >= self.config.safety.starvation_fault_s:
            self._latch('fault', f'no chunk for {held:.1f} s: {self._hold_reason}', now)
        elif held >= self.config.safety.starvation_hold_s and not self._starved:
            self._starved = True
            self._count.starvations += 1

    def _watch_lead(self, now: float) -> None:
        assert self._last is not None
        assert self._measured is not None
        problem = safety.lead_excess(self._last.positions, self._measured, self.limits)
        if problem:
            self._raise_epoch(problem)
            self._renew(now)

    def _command(self, now: float, elapsed: float, state: State, go: bool) -> Command:
        sample = self._scheduler.sample()
        positions = sample.position
        limited: tuple[str, ...] = ()
        if self._last is not None and elapsed > 0:
            positions, limited = safety.guard_step(
                self._last.positions, sample.position, elapsed, self.limits
            )
        hold = not sample.moving
        reason = '' if not hold and not limited else self._run.reason or self._hold_reason
        if limited:
            reason = ', '.join(limited)
        times, path, speeds = self._window(sample, go)
        command = Command(
            stamp=now,
            positions=positions,
            velocities=sample.velocity,
            gripper=sample.gripper,
            hold=hold,
            reason=reason if hold or limited else '',
            action_index=sample.action_index,
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

    def _window(self, sample: Sample, go: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Look-ahead points at the command rate, then the braking tail."""
        period = 1.0 / self.config.timing.command_rate_hz
        count = max(1, round(self.config.chunk.command_window_s / period))
        times = period * np.arange(1, count + 1, dtype=np.float64)
        positions, velocities = self._scheduler.look_ahead(times, go)
        tail_times, tail, tail_velocities = safety.braking_tail(
            positions[-1], velocities[-1], self.limits.acceleration
        )
        return (
            np.concatenate([times, times[-1] + tail_times]),
            np.concatenate([positions, tail]),
            np.concatenate([velocities, tail_velocities]),
        )

    def _rest(self, now: float, state: State) -> Command | None:
        """Stopped: hold the place in latched and stale states, otherwise fall silent."""
        if self._resting_since is None:
            self._resting_since = now
        quiet = state != 'stale' and now - self._resting_since > _QUIET_AFTER_S
        if self._last is None or quiet or state in ('waiting', 'ready'):
            self._last = None
            return None
        return self._command(now, now - self._last.stamp, state, go=False)

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

    def _renew(self, now: float) -> None:
        """Anchor at the measured joints, once at rest; the next pass is full."""
        if self._measured is None:
            return
        self._scheduler.anchor(self._measured, now)
        self._scheduler.advance(now, False, self._measured)
        self._skip.restart()
        self._renew_due = False
        self._last = None


@dataclass(frozen=True)
class _Aligned:
    """A chunk in joint space, placed on the progress axis."""

    progress: float
    actions: FloatArray
    displacements: FloatArray
    targets: FloatArray
    gripper: FloatArray | None
    moved: tuple[str, ...]
    slower: float


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
