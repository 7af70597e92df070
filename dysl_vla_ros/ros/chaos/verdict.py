"""From what was seen in a trial to safe or unsafe, with reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dysl_vla_ros.ros.chaos.fault import Fault
from dysl_vla_ros.ros.chaos.figures import Motion
from dysl_vla_ros.ros.chaos.recording import Level

PLAYING = ('running', 'verifying', 'holding')
LATCHED = ('e-stop', 'fault')
_STILL = 0.05
"""Faster than this is motion, where there must be none [rad/s]."""
_PATIENCE_S = 0.2


@dataclass(frozen=True)
class Seen:
    """The facts of a trial.

    Attributes:
        motion: From the fault to the end of the trial.
        rest_s: From the fault to rest [s], None: never while it lasted.
        speed_after_rest: Fastest after that, while the fault lasted [rad/s].
        speed_after: Fastest after the fault was gone and the arm had rested, before a start was
            asked for [rad/s].
        states: That the node was in, from the fault on.
        warned: Diagnostics of at least WARN that were not there before: ``warned_anew``.
        died: Processes that ended.
        traceback: First line of a traceback in a log, or ''.
        configured: A node that had to be refused came up.
        complaints: What the fault itself saw go wrong.
        late_s: How late the harness itself woke at worst [s].
    """

    motion: Motion
    rest_s: float | None = None
    speed_after_rest: float = 0.0
    speed_after: float = 0.0
    states: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    died: tuple[str, ...] = ()
    traceback: str = ''
    configured: bool = False
    complaints: tuple[str, ...] = ()
    late_s: float = 0.0


def warned_anew(before: Iterable[Level], since: Iterable[Level]) -> tuple[str, ...]:
    """Diagnostics that warn, and did not at that level and in those words before.

    One that warned already, of a machine that is late, may tell of a fault in other words only;
    other figures alone are no news.

    Args:
        before: Of the seconds before the fault.
        since: From the fault on.
    """
    known = {one.name: (one.level, _words(one)) for one in before}
    new = [one for one in since if one.level > 0
           and known.get(one.name) != (one.level, _words(one))]  # fmt: skip
    return tuple(sorted({f'{one.name}: {one.message}' for one in new}))


def _words(one: Level) -> str:
    return re.sub(r'\d+(\.\d+)?', '#', one.message)


def reasons(fault: Fault, seen: Seen) -> list[str]:
    """Why the trial was unsafe; empty when it was safe."""
    found = [*seen.motion.problems.values(), *seen.complaints]
    if fault.graph == 'refused':
        if seen.motion.windows:
            found.append(f'{seen.motion.windows} commands were sent')
        if seen.motion.measured > _STILL:
            found.append(f'the arm moved at {seen.motion.measured:.2f} rad/s')
        if seen.configured:
            found.append(f'the node configured itself: {", ".join(seen.states)}')
    elif fault.rest_s:
        allowed = fault.rest_s + _PATIENCE_S + 2.0 * seen.late_s
        if seen.rest_s is None:
            found.append(f'never at rest; at most {fault.rest_s:g} s')
        elif seen.rest_s > allowed:
            found.append(f'at rest after {seen.rest_s:.2f} s: at most {fault.rest_s:g}')
        elif seen.speed_after_rest > _STILL:
            found.append(
                f'moved again at {seen.speed_after_rest:.2f} rad/s while the fault lasted'
            )
    if fault.stays and seen.speed_after > _STILL:
        found.append(f'moved again at {seen.speed_after:.2f} rad/s before any start')
    unexpected = [name for name in seen.died if name not in fault.ends]
    if unexpected and fault.graph != 'refused':
        found.append(f'{" and ".join(unexpected)} died')
    told = any(state not in PLAYING for state in seen.states) or seen.warned or seen.died
    if fault.says and not told:
        found.append('neither a state nor a diagnostic said so')
    if seen.traceback:
        found.append(f'traceback in the log: {seen.traceback}')
    return found
