"""What the control loop says about itself: deliveries, a snapshot, the counters behind it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

from dysl_vla_ros.core.run_state import State
from dysl_vla_ros.data_types import ActionChunk, Command, MotionSince, SkipMode

_LATENCIES_KEPT = 10


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
        since: What the verification heard of the motion since the plan, for a recorder.
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
    since: MotionSince = ()


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
    warning: str = ''
    readings_refused: int = 0
    lead: float | None = None


@dataclass
class Counters:
    """Counted since construction."""

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

    def add(self, command: Command, elapsed: float) -> None:
        """Count a command that was sent while playing, ``elapsed`` seconds after the last."""
        self.commands += 1
        self.holds += int(command.hold)
        self.limited += int(bool(command.limited))
        self.seconds_running += elapsed

    def values(self) -> dict[str, Any]:
        """What ``LoopStatus`` takes of it."""
        names = [item.name for item in fields(self) if item.name != 'latencies']
        counted = {name: getattr(self, name) for name in names}
        return {**counted, 'latency': max(self.latencies, default=None)}
