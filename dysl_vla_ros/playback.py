"""The arm's side of a tick: believe the joints, anchor, advance along the path, account for it.

Decides nothing: whether motion may go on is the control loop's; what may be sent the governor's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.chunk_scheduler import ChunkScheduler
from dysl_vla_ros.core.governor import Governor, Settled
from dysl_vla_ros.core.motion_plan import Knot
from dysl_vla_ros.core.pace import Pace
from dysl_vla_ros.core.path import Path, straight
from dysl_vla_ros.core.run_state import InputStatus, State
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.core.watchdogs import Facts, Finding, Watchdogs
from dysl_vla_ros.data_types import Command, FloatArray
from dysl_vla_ros.loop_settings import governor_settings, patience
from dysl_vla_ros.motion import ChunkPlan, Planner

_STEP = (0.1, 0.02)
"""Targets of a straight way lie so far apart [rad], [m]: each is judged for collisions;"""
BESIDE_WAY = (0.05, 0.005)
"""an arm that stands farther from it than this stands elsewhere [rad], [m]."""
_STUCK = 1e-6
"""Actions a second: playback that is slower does not come forward."""
_QUIET_AFTER_S = 0.3
"""Paused or latched and at rest for this long: nothing more is published."""


class Playback:
    """Governor, scheduler and watchdogs of one arm, as the control loop uses them.

    Attributes:
        governor: The only way out.
        scheduler: Chunks on the progress axis.
        seam_jump: Largest joint offset at the last seam, before it was faded [rad].
        moved: Joints whose targets were moved inside their limits in the chunk being played.
        on_way: Whether what is walked is a way home, and no chunk.
        last: The command published last; None while silent.
    """

    def __init__(
        self, config: NodeConfig, limits: MotionLimits, planner: Planner, action_period: float
    ) -> None:
        """Nothing measured, nothing commanded.

        Args:
            config: Validated parameters.
            limits: Joint limits, already tightened.
            planner: Says which joints may be commanded at all (a workspace).
            action_period: Nominal duration of one action [s].
        """
        self.governor = Governor(
            limits, governor_settings(config), getattr(planner, 'may_command', None)
        )
        self.scheduler = ChunkScheduler(action_period, config.chunk.max_time_stretch)
        self.seam_jump = 0.0
        self.moved: tuple[str, ...] = ()
        self.on_way = False
        self._home: tuple[FloatArray, float] | None = None
        self._walked: Path | None = None
        self._scale = 1.0
        self.last: Command | None = None
        self._before: Command | None = None
        jump = limits.each(config.safety.start_max_jump_rad, config.safety.start_max_jump_m)
        self._watchdogs = Watchdogs(patience(config), limits, jump)
        self._oldest_reading = config.inputs.joint_states_timeout_s
        self._reading: FloatArray | None = None
        self._resting_since: float | None = None
        self._gives_way = False
        self._let_go = False
        self._plays = False
        self._estopped = False

    @property
    def limits(self) -> MotionLimits:
        """Joint limits in force."""
        return self.governor.limits

    @limits.setter
    def limits(self, limits: MotionLimits) -> None:
        self.governor.limits = self._watchdogs.limits = limits
        if self._walked is not None and self.governor.path is self._walked:
            self._walk()

    @property
    def commanding(self) -> bool:
        """Whether commands go out."""
        return self.governor.plan is not None

    @property
    def rest_told(self) -> bool:
        """Whether the receiver rests where the plan does, and may be left alone.

        An arm that was about to move, or moved, may be at rest again at once where the receiver's
        clock stands: then the last window would go on without us.
        """
        return self.governor.at_rest and (self.last is None or self.last.hold)

    @property
    def holds(self) -> bool:
        """Whether no action is left, and the arm is told to rest."""
        return self.scheduler.remaining <= 0 and self.governor.at_rest

    def keep_pace(self, now: float, pace: Pace) -> None:
        """Let the receiver's time pass; where its clock stands by an override, so does the arm."""
        self.governor.clock.advance(now, pace.passed)
        self._scale = pace.scale
        if pace.stands:
            self.governor.stand(now)

    # ---- the measured arm ----------------------------------------------------------------------

    def measure(
        self,
        now: float,
        joints: FloatArray | None,
        measured_at: float | None,
        believe_jumps: bool,
    ) -> None:
        """Take the newest reading; arguments as of ``ControlLoop.tick``.

        ``believe_jumps``: nobody commands the arm, so that one that lasts is somebody's doing.
        """
        measurement = self.governor.measurement
        is_new = joints is not None and joints is not self._reading
        self._reading = joints
        if joints is None or (measured_at is None and not is_new):
            if joints is not None and not measurement.doubtful:
                measurement.heard_at = now  # the caller has no stamps: it still holds
            return
        stamp = now if measured_at is None else measured_at
        self.governor.measure(joints, stamp, believe_jumps)

    def with_joints(self, now: float, inputs: InputStatus) -> InputStatus:
        """The inputs, not ready where no reading of the joints was believed for too long."""
        measurement = self.governor.measurement
        age = now - measurement.heard_at
        if not inputs.ready or age <= self._oldest_reading:
            return inputs
        silence = (
            f'joint_states: newest is {age:.2f} s old, expected at most {self._oldest_reading:g} s'
        )
        return InputStatus(False, measurement.refusal or silence)

    # ---- motion --------------------------------------------------------------------------------

    def settle(self, now: float, from_measured: bool) -> tuple[Settled, str]:
        """Anchor the motion anew, as ``Governor.settle`` says."""
        answer = self.governor.settle(now, self.scheduler.progress, from_measured)
        if answer[0] == 'go':
            self.scheduler.anchor()
            self.on_way = False
            self._watchdogs.anchored()
        return answer

    def accept(self, progress: float, plan: ChunkPlan, limit: int | None = None) -> bool:
        """Continue on a chunk; False when nothing of it is left to play.

        Args:
            progress: At its observation.
            plan: The chunk in joint space.
            limit: Play only so many of its actions.
        """
        path = self.scheduler.accept(
            progress, plan.targets, plan.displacements, plan.gripper, self.limits, limit
        )
        if path is None:
            return False
        self.seam_jump = self.governor.follow(path)
        self.moved, self.on_way = plan.moved, False
        return True

    def straight_way(self, start: FloatArray, goal: FloatArray) -> FloatArray:
        """Targets from one place to another, shape (k + 1, n); endless joints go the short way."""
        return straight(start, self.limits.near(goal, start), self.limits.each(*_STEP))

    def go_along(self, way: FloatArray, velocity_scale: float) -> bool:
        """Move slowly along a straight way to its end, from where the arm is told to be.

        Args:
            way: From ``straight_way``.
            velocity_scale: Share of the speed limits in force.

        Returns:
            False, and nothing happens, where the arm stands beside the way.
        """
        assert self.governor.plan is not None
        limits, here = self.limits, self.governor.plan.knots[0].position
        along = way[-1] - way[0]
        length = float(along @ along)
        share = np.clip((here - way[0]) @ along / length, 0.0, 1.0) if length > 0 else 0.0
        if (np.abs(way[0] + share * along - here) > limits.each(*BESIDE_WAY)).any():
            return False
        self._home = (way[-1], velocity_scale)
        self.moved, self.on_way = (), True
        self._walk()
        return True

    def _walk(self) -> None:
        """Along the way home from where the arm is told to be, at its share of the limits."""
        assert self.governor.plan is not None
        assert self._home is not None
        goal, share = self._home
        here, limits = self.governor.plan.knots[0].position, self.limits
        rows = straight(here, goal, limits.each(*_STEP))
        slow = replace(limits, velocity=share * limits.velocity)
        nothing = np.zeros((len(rows) - 1, 1))
        path = self.scheduler.accept(self.scheduler.progress, rows, nothing, None, slow)
        assert path is not None, 'a way has at least one step'
        self._walked = path
        self.governor.follow(path)

    def advance(self, now: float, go: bool, follows: bool) -> tuple[Knot, list[FloatArray]] | None:
        """Let time pass; None while nothing is commanded.

        Args:
            now: Current time [s].
            go: Whether playback may go on; otherwise the arm brakes.
            follows: Whether the arm does what is commanded (not so in shadow).

        Returns:
            The command due, and the displacements of the actions that ended since the last tick.
        """
        measured = self.governor.measurement.position
        if self.governor.plan is None or measured is None:
            self.last = None
            return None
        if self._gives_way:
            if not self._estopped:
                self.governor.give_way()  # the arm may be moved on
            self._gives_way = not self.governor.gave_way
        knot = self.governor.advance(
            now, go or self._gives_way, self.scheduler.top_speed * self._scale, follows
        )
        moving = self._plays = go and not self.governor.at_rest
        ended = self.scheduler.note(now, knot.progress, moving, knot.position, measured)
        return knot, ended

    def release(self, now: float) -> None:
        """Fall silent; the governor keeps where the commands ended."""
        self.governor.release(now)
        self.scheduler.anchor()
        self._gives_way = self._let_go = False
        self.last = None

    def let_go(self) -> None:
        """Somebody moves the arm: brake, and then nothing more."""
        self._let_go = True

    # ---- watching ------------------------------------------------------------------------------

    def look(
        self,
        now: float,
        state: State,
        reason: str,
        pass_began: float | None,
        armed: bool,
        going: bool,
        knot: Knot,
    ) -> Finding:
        """Let the watchdogs look; an arm that was moved is let go, a blocked one given way."""
        governor = self.governor
        measured = governor.measurement.position
        assert measured is not None
        self._estopped = state == 'e-stop'
        found = self._watchdogs.look(
            Facts(
                now=now,
                state=state,
                reason=reason,
                pass_began=pass_began,
                lead=governor.lead() if armed and governor.fresh(now) else None,
                measured=measured,
                going=going,
                standing=governor.stands,
                stuck=going and self.scheduler.remaining > 0 and knot.speed < _STUCK,
            )
        )
        self._gives_way = self._gives_way or (bool(found.fault) and not self._estopped)
        self._let_go = self._let_go or bool(found.shoved)
        return found

    # ---- commands ------------------------------------------------------------------------------

    def rests(self, now: float, state: State, playing: bool) -> bool:
        """Whether the arm has come to rest and nothing more shall be said.

        At rest a stale camera is waited for with the place held; a pause or a latch is held for
        a moment; and where the arm's place is not known, nothing is said.
        """
        if playing or not self.governor.at_rest or self._gives_way:
            self._resting_since = None
            return False
        if not self.rest_told:
            return False
        if self._resting_since is None:
            self._resting_since = now
        quiet = state != 'stale' and now - self._resting_since > _QUIET_AFTER_S
        unknown = self._let_go or not self.governor.fresh(now)
        return quiet or unknown or state in ('waiting', 'ready')

    def command(self, now: float, knot: Knot, reason: str, armed: bool) -> Command:
        """The command due, with its window.

        Args:
            now: Current time [s].
            knot: From ``advance``.
            reason: Why it holds, for a command at rest.
            armed: Whether it moves the arm.
        """
        plan = self.governor.plan
        assert plan is not None
        settings = self.governor.settings
        times, path, speeds = plan.window(min(settings.look_ahead, settings.rest))
        # While the arm brakes or holds, no action is played that could move a gripper.
        openings = self.scheduler.openings if self._plays and not self.on_way else ()
        hold = self.governor.at_rest
        limited = () if hold else self.moved
        self._before = self.last
        self.last = Command(
            stamp=now,
            positions=knot.position,
            velocities=knot.velocity,
            gripper=openings[0] if openings else None,
            hold=hold,
            reason=reason if hold else ', '.join(limited),
            action_index=-1 if hold else self.scheduler.action_index,
            limited=limited,
            window_times=times,
            window_positions=path,
            window_velocities=speeds,
            more_grippers=openings[1:],
            armed=armed,
        )
        return self.last

    def unsent(self) -> None:
        """The last command did not go out: what was told before it holds."""
        if self.last is not None:
            self.governor.unsent()
            self.last = self._before

    def kept_back(self) -> None:
        """The last command said nothing new: the receiver goes on along an earlier window."""
        if self.last is not None:
            self.governor.kept_back()
