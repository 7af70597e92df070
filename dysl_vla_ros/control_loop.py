"""READ FIRST: the whole method on the robot, without ROS, without a thread, without a clock.

    observation  pictures, instruction and joints of one instant: what the policy sees
    pass         one run of the policy on an observation, with layers skipped or in full
    chunk        the actions of a pass, turned into targets of the joints
    progress     how many actions were played: a chunk is placed on this axis by its observation
    continuity   how little the next action differs from the last ones; at most 0
    verifying    a chunk with skipped layers holds a drop of continuity and is predicted in full
    tick         one call of ``tick``, every ``1 / command_rate_hz``
    command      what a tick publishes: a window of points along the path, which ends at rest
    holding      started, at rest, and nothing left to play
    epoch        ends with every request, latch and new instruction; older passes are dropped

Two callers share one ``ControlLoop``:

    the worker   while loop.wants_pass(now):  loop.infer(observation, clock)      slow
    the ticker   every 1 / command_rate_hz:   loop.tick(now, joints, inputs)      never waits

``infer`` is one round of DySL-VLA: plan which layers may be skipped (``SkipPolicy.plan``), run
them (``Policy.predict``), look for a drop of continuity in what is about to be executed
(``SkipPolicy.verify``), run the same observation in full if there is one (``Policy.rerun``), and
hand the chunk to the scheduler, aligned by what was played since the observation. The lock is
never held while the model runs.

``tick`` judges the state (``RunState``), asks the watchdogs, and lets the ``Governor`` move: what
it answers is the only thing that is ever published. What people ask for takes effect in a tick.

There is one lock, and it is taken in this file alone; ``Standing`` is what it guards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from dysl_vla_ros.beginning import Beginning
from dysl_vla_ros.chunk_desk import ChunkDesk
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.pace import Pace
from dysl_vla_ros.core.run_state import InputStatus, State
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Command, FloatArray, Observation, SkipMode
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.intake import Intake
from dysl_vla_ros.loop_status import Counters, Delivery, LoopStatus
from dysl_vla_ros.loop_watch import LoopWatch
from dysl_vla_ros.motion import Planner
from dysl_vla_ros.playback import Playback
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.standing import Standing
from dysl_vla_ros.state_source import as_read
from dysl_vla_ros.way_home import WayHome

_OURS = Pace()


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
        self._planner = planner
        self._count = Counters()
        self._playback = Playback(config, limits, planner, self.action_period)
        self._desk = ChunkDesk(policy.manifest, config, planner, self._playback, self._count)
        armed = config.safety.armed if armed is None else armed
        self._standing = Standing(self._desk, self._playback, self._count, armed)
        oldest = config.inputs.max_observation_age_s
        self._intake = Intake(self._standing, self._playback, self._count, oldest)
        self._watch = LoopWatch(self._standing, self._playback, self._count)
        self._home = WayHome(config.home, self._playback, planner)
        self._begin = Beginning(self._standing, self._playback, self._home, planner)
        self._lock = threading.RLock()
        self._ticked_at = 0.0

    # ---- the worker's side ---------------------------------------------------------------

    def wants_pass(self, now: float) -> bool:
        """Whether a pass should begin now, with the newest observation."""
        with self._lock:
            standing = self._standing
            if standing.in_flight or standing.renew_due or not standing.acting:
                return False
            wanted = self._desk.runs_low
            if wanted and standing.asked_at is None:
                standing.asked_at = now
            return wanted

    @property
    def epoch(self) -> int:
        """Counts what ends everything that was begun: a request, a latch, a new instruction."""
        return self._standing.epoch

    def predict(self, observation: Observation, epoch: int | None = None) -> tuple[int, Pass]:
        """Run the policy once; slow, holds no lock.

        Args:
            observation: With the instruction that was in force when it was made.
            epoch: That was read before that; None is the one of now.

        Returns:
            The epoch in which it began, and the pass: hand both to ``deliver``.

        Raises:
            InputError: The observation does not fit the policy.
            EngineError: The back end failed.
        """
        with self._lock:
            self._standing.in_flight = True
            mode, epoch = self.skip_mode, self._standing.epoch if epoch is None else epoch
            plan = self._desk.plan(mode, observation.instruction)
        try:
            spec = getattr(self.policy.manifest, 'proprioception', None)
            observation = as_read(observation, spec, self._planner)
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
            self._standing.hold_reason = reason or self._standing.hold_reason
            self._standing.finish_pass()

    def deliver(self, epoch: int, result: Pass, now: float) -> Delivery:
        """Take over the actions of a pass, or ask for the re-run.

        Args:
            epoch: From ``predict``.
            result: From ``predict`` or ``rerun``.
            now: Current time [s].
        """
        with self._lock:
            problem = self._intake.problem(epoch, result, now)
            if problem:
                return self._intake.refuse(problem)
            reference = self._playback.scheduler.reference_at(result.stamp)
            assert reference is not None
        try:
            placed = self._desk.place(epoch, result, reference, self.armed)
        except DyslError as error:
            with self._lock:
                return self._intake.reject(error, now)
        with self._lock:
            if epoch != self._standing.epoch:
                return self._intake.refuse('the epoch ended while the chunk was built')
            delivery = self._desk.take(placed, result)
            if delivery.accepted:
                self._intake.forgive()
                self._standing.finish_pass(now)
                self._desk.keep_pace(len(placed.chunk.actions))
            elif not delivery.rerun:
                return self._intake.refuse(delivery.reason)
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
            playback, standing, run = self._playback, self._standing, self._standing.run
            last, self._ticked_at = playback.last, now
            playback.keep_pace(now, pace)
            playback.measure(now, joints, measured_at, believe_jumps=not standing.commanding)
            standing.judge(now, playback.with_joints(now, inputs))
            self._watch.doubt(now)
            if standing.renew_due and run.playing and playback.rest_told:
                self._begin.settle(now)
            self._watch.strangers(now)
            self._watch.resting(now)
            going = run.playing and not standing.renew_due
            advanced = playback.advance(now, going, standing.armed)
            if advanced is None:
                return None
            knot, ended = advanced
            self._desk.played(ended)
            self._count.actions_played = self._home.actions_played(knot)
            self._watch.look(now, going, knot)
            if run.homing and going and playback.holds:
                standing.stop(self._home.arrived(standing.armed))
            if playback.rests(now, run.state, run.playing):
                playback.release(now)
                return None
            reason = run.reason or standing.hold_reason
            command = playback.command(now, knot, reason, standing.armed)
            if standing.acting:
                self._count.add(command, 0.0 if last is None else now - last.stamp)
            return command

    def unsent(self) -> None:
        """The command of the last tick did not go out."""
        with self._lock:
            self._playback.unsent()

    def kept_back(self) -> None:
        """The command of the last tick was not sent, since it says nothing new."""
        with self._lock:
            self._playback.kept_back()

    def silence(self, now: float) -> None:
        """No tick comes for a while: what begins after it begins as after any silence."""
        with self._lock:
            self._playback.release(now)

    # ---- requests ------------------------------------------------------------------------

    def start(self, now: float, epoch: int | None = None, place: FloatArray | None = None) -> str:
        """Begin to act, from the measured pose; returns why it is refused, else ''.

        A wish of an epoch that has ended, or of when the arm stood elsewhere, is refused; None is
        one of now.
        """
        with self._lock:
            return self._begin.start(epoch, place)

    def home(self, now: float) -> str:
        """Move slowly to ``home.positions``, from the measured pose; returns why not, else ''.

        The straight way of the joints is judged before it begins, as a chunk is.
        """
        with self._lock:
            way = self._begin.way_home()
        if isinstance(way, str):
            return way
        problem = self._home.problem(way.targets)
        with self._lock:
            return problem or self._begin.home(way)

    def controller_restarted(self) -> None:
        """It holds the arm and knows no last command: what begins next begins where the arm is."""
        with self._lock:
            self._begin.controller_is_new = True

    def stop(self, now: float, reason: str) -> None:
        """Brake along the path and go back to ready."""
        with self._lock:
            self._standing.stop(reason)

    def pause(self, now: float, reason: str) -> None:
        """Brake along the path and hold until ``resume``."""
        with self._lock:
            self._standing.pause(reason)

    def resume(self, now: float) -> None:
        """Go on from the last command, where the arm still stands there."""
        with self._lock:
            self._standing.resume()

    def estop(self, now: float, reason: str) -> None:
        """Latch the e-stop: brake, flush the queue, raise the epoch."""
        with self._lock:
            self._standing.latch('e-stop', reason, now)

    def fault(self, now: float, reason: str) -> None:
        """Latch a fault: as an e-stop, but raised by the software."""
        with self._lock:
            self._standing.latch('fault', reason, now)

    def reset_estop(self, now: float, inputs: InputStatus) -> str:
        """Release e-stop or fault; returns why it is refused, else ''."""
        with self._lock:
            measurement = self._playback.governor.measurement
            if measurement.doubtful:
                return measurement.refusal
            refusal = self._standing.run.reset(now, inputs)
            if not refusal:
                self._intake.forgive()
            return refusal

    def explain(self, reason: str) -> None:
        """Why it is ready and does not start, for the state's reason."""
        with self._lock:
            self._standing.run.explain(reason)

    def interlock(self, reason: str) -> None:
        """While there is a reason nothing plays, however it was started; '' ends it."""
        with self._lock:
            self._standing.interlock(reason)

    def hold_estop(self, reason: str) -> None:
        """While there is a reason no reset is taken; '' ends it."""
        with self._lock:
            self._standing.run.hold_estop(reason)

    def reset(self, now: float, reason: str) -> None:
        """A new instruction: passes of the old one are dropped, the next pass is full."""
        with self._lock:
            self._standing.raise_epoch(reason)

    # ---- what others may read, and set ------------------------------------------------------

    @property
    def armed(self) -> bool:
        """Whether commands move the arm; otherwise they go to the shadow topics.

        Setting it stops what is under way: what begins next begins with a start.
        """
        return self._standing.armed

    @armed.setter
    def armed(self, armed: bool) -> None:
        with self._lock:
            if armed != self._standing.armed:
                self._begin.arm(armed, self._ticked_at)

    @property
    def limits(self) -> MotionLimits:
        """Joint limits in force."""
        return self._playback.limits

    @limits.setter
    def limits(self, limits: MotionLimits) -> None:
        with self._lock:
            self._playback.limits = limits

    @property
    def state(self) -> State:
        """The state of the last tick."""
        return self._standing.run.state

    @property
    def reason(self) -> str:
        """Why the state is what it is; '' while running."""
        return self._standing.run.reason

    @property
    def started(self) -> bool:
        """Whether motion was asked for, and nothing has ended that: it goes on by itself."""
        return self._standing.run.started

    @property
    def measured(self) -> FloatArray | None:
        """Where the arm was read last and believed, shape (n,) [rad or m]."""
        return self._playback.governor.measurement.position

    @property
    def paused(self) -> str:
        """Why it is paused, also between two ticks; '' when it is not."""
        return self._standing.run.paused

    @property
    def latched(self) -> str:
        """Why e-stop or fault is latched, also between two ticks; '' when neither is."""
        return self._standing.run.latched

    @property
    def in_flight(self) -> bool:
        """Whether a pass has begun whose chunk is not delivered."""
        return self._standing.in_flight

    @property
    def targets_ahead(self) -> FloatArray:
        """Joint targets that are left to play, shape (k, n), for those who watch."""
        with self._lock:
            return self._playback.scheduler.targets_ahead

    def receiver_time(self, now: float) -> float:
        """The time of whoever follows the windows, at one of ours [s]."""
        return self._playback.governor.clock.at(now)

    def status(self) -> LoopStatus:
        """A consistent snapshot."""
        with self._lock:
            return self._standing.status(self.skip_mode, self._watch.warning)
