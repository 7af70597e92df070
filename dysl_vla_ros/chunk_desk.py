"""From a pass to motion: place its actions, verify what is left of them, accept or ask again.

The middle of the method (``SkipPolicy``: allow points before, verification after), without the
loop's state: epochs, latches and the pass in flight are the control loop's.
"""

from __future__ import annotations

from dataclasses import dataclass

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.skip_policy import SkipPolicy, Verdict
from dysl_vla_ros.data_types import ActionChunk, FloatArray, SkipMode, SkipPlan
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.loop_status import Counters, Delivery
from dysl_vla_ros.motion import ChunkPlan, Planner, plan_chunk
from dysl_vla_ros.playback import Playback
from dysl_vla_ros.policy import Pass

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Placed:
    """A chunk in joint space, placed on the progress axis.

    Attributes:
        progress: At its observation.
        plan: Its targets.
        chunk: What is reported of it.
    """

    progress: float
    plan: ChunkPlan
    chunk: ActionChunk


class ChunkDesk:
    """Decides about chunks, one at a time.

    Attributes:
        skip: Allow points and executed continuity.
        verifying: Whether a re-run was asked for and has not come.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: NodeConfig,
        planner: Planner,
        playback: Playback,
        count: Counters,
    ) -> None:
        """Join the parts; no chunk yet.

        Args:
            manifest: Of the policy's bundle.
            config: Validated parameters.
            planner: Turns actions into joint targets.
            playback: Executes what is accepted.
            count: Counters of the loop.
        """
        self.skip = SkipPolicy(
            manifest.layout.segments, skip_settings(config, manifest.calibration)
        )
        self.verifying = False
        self._config = config
        self._planner = planner
        self._playback = playback
        self._count = count
        self._has_gripper = manifest.action.gripper
        self._period = playback.scheduler.action_period
        self._next_id = 0
        self._prefix: tuple[Placed, int] | None = None

    @property
    def runs_low(self) -> bool:
        """Whether so little is left to play that the next chunk is wanted."""
        scheduler = self._playback.scheduler
        if self._config.chunk.strategy == 'sync':
            return self._playback.holds
        return scheduler.remaining <= self._config.timing.request_threshold * scheduler.horizon

    def plan(self, mode: SkipMode, instruction: str) -> SkipPlan:
        """Which layers the next pass, told this, may skip; guided, none after a hold."""
        if self._playback.holds:
            self.skip.restart()
        return self.skip.plan('auto' if mode == 'compare' else mode, instruction)

    def place(
        self,
        epoch: int,
        result: Pass,
        reference: tuple[float, FloatArray, FloatArray],
        armed: bool,
    ) -> Placed:
        """Actions -> joint targets from the reference at the observation's stamp.

        Args:
            epoch: In which the pass began.
            result: The pass.
            reference: Progress, commanded and measured position at its stamp.
            armed: Otherwise the arm does not follow, and deltas start from the measured pose.

        Raises:
            ChunkError: Not finite, too fast, or not allowed where it leads.
            KinematicsError: A pose that cannot be reached.
        """
        progress, commanded, measured = reference
        from_commanded = armed and getattr(self._planner, 'from_commanded', True)
        start = commanded if from_commanded else measured
        plan = plan_chunk(
            self._planner,
            result.normalised,
            start,
            self._playback.limits,
            self._period,
            self._has_gripper,
        )
        self._next_id += 1
        chunk = ActionChunk(
            chunk_id=self._next_id - 1,
            epoch=epoch,
            stamp=result.stamp,
            actions=plan.actions,
            displacements=plan.displacements,
            instruction=result.instruction,
            mode=result.mode,
            trace=result.trace,
            stage_seconds=result.stage_seconds,
        )
        return Placed(progress, plan, chunk)

    def take(self, placed: Placed, result: Pass) -> Delivery:
        """Verify what is left of a chunk, then execute it or ask for the re-run."""
        chunk, playback = placed.chunk, self._playback
        if playback.holds and chunk.mode != 'rerun':
            self.skip.restart()
        played = playback.scheduler.played_since(placed.progress)
        # An action played in part is verified too: what is left of it will be executed.
        dropped = min(max(int(played + _ROUNDING), 0), len(chunk.displacements))
        # Of a fixed exit nothing was kept: it is as deep as it was chosen to be, always.
        skipped = chunk.mode == 'skipped' and result.trace.resume_layer is not None
        verdict = self.skip.verify(chunk.displacements[dropped:], skipped)
        drop_index = None if verdict.drop_index is None else verdict.drop_index + dropped
        reason = f'continuity drops at action {drop_index}' if verdict.rerun else ''
        if verdict.rerun:
            self.verifying = True
            self._count.reruns += 1
            self._prefix = self._smooth_prefix(placed, drop_index)
        elif playback.accept(placed.progress, placed.plan):
            self._note(placed, result, verdict)
        else:
            self._count.deadline_misses += 1
            reason = f'all {len(chunk.actions)} actions were played before the chunk arrived'
            return Delivery(accepted=False, rerun=False, reason=reason, since=verdict.since)
        return Delivery(
            accepted=not verdict.rerun,
            rerun=verdict.rerun,
            reason=reason,
            chunk=chunk,
            continuity=verdict.continuity,
            drop_index=drop_index,
            seam_jump=0.0 if verdict.rerun else playback.seam_jump,
            played=played,
            actions_played=self._count.actions_played,
            since=verdict.since,
        )

    def keep_pace(self, horizon: int) -> None:
        """Slow playback down so that a chunk outlasts the slowest of the last passes."""
        if self._count.latencies:
            self._playback.scheduler.stretch_for(
                max(self._count.latencies) * self._playback.governor.clock.rate,
                self._config.timing.request_threshold,
                horizon,
                self._config.safety.brake_s,
            )

    def play_prefix_if_due(self) -> None:
        """Play the smooth prefix, once the old chunk has run out."""
        if self._prefix is None or self._playback.scheduler.remaining > 0:
            return
        placed, limit = self._prefix
        self._prefix = None
        self._playback.accept(placed.progress, placed.plan, limit)

    def played(self, ended: list[FloatArray]) -> None:
        """Hear the displacements of the actions that ended; steps of a way home are none."""
        if not self._playback.on_way:
            for displacement in ended:
                self.skip.played(displacement)

    def finish_pass(self) -> None:
        """The pass has ended, however."""
        self.verifying = False
        self._prefix = None

    def _note(self, placed: Placed, result: Pass, verdict: Verdict) -> None:
        was_rerun = placed.chunk.mode == 'rerun'
        self.skip.accepted(verdict, was_rerun=was_rerun)
        self._count.chunks += 1
        self._count.reruns_changed += int(was_rerun and result.changed)
        if self._playback.moved:
            self._count.last_rejection = 'clamped ' + ', '.join(self._playback.moved)

    def _smooth_prefix(self, placed: Placed, drop_index: int | None) -> tuple[Placed, int] | None:
        """The actions that may be played before the re-run lands (``prefix`` policy only)."""
        if self._config.rerun.prefix_policy != 'prefix' or drop_index is None:
            return None
        limit = placed.plan.before_gripper(drop_index - 1, self._playback.scheduler.openings)
        return (placed, limit) if limit > 0 else None
