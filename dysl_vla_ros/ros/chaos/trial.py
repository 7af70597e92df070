"""One trial: move, put the fault in, watch, take it out, watch, and bring the arm back."""

from __future__ import annotations

import time
from typing import Any

from dysl_vla_ros.ros.chaos import judge, verdict
from dysl_vla_ros.ros.chaos.case import Case
from dysl_vla_ros.ros.chaos.fault import Fault
from dysl_vla_ros.ros.chaos.graph import ARM, NODE, SERVER
from dysl_vla_ros.ros.chaos.rig import Rig

_UNCLEAR_LATE_S = 0.5
_LATCHED = ('fault', 'e-stop')
_MARGIN_S = 0.03
"""After the last moving sample, not that sample itself."""
_KEEP_S = 30.0


def attempt(rig: Rig, fault: Fault) -> Case:
    """Try a fault, once more when it could not be set up."""
    began = time.monotonic()
    case = Case(fault.name, fault.kind, fault.expected)
    for number in (1, 2):
        case = Case(fault.name, fault.kind, fault.expected, attempts=number)
        rig.recording.forget(time.monotonic() - _KEEP_S)
        rig.complaints.clear()
        if fault.graph == 'refused':
            _refused(rig, fault, case)
        else:
            _moving(rig, fault, case)
        if case.verdict != 'unclear':
            break
    case.seconds = time.monotonic() - began
    return case


def _moving(rig: Rig, fault: Fault, case: Case) -> None:
    if not rig.ensure(fault.graph) or rig.limits is None:
        why = rig.lacking or rig.state or 'no state'
        case.reasons = [f'the arm does not move before the fault ({why})']
        return
    marks = {name: rig.graph.log_size(name) for name in (NODE, ARM, SERVER)}
    before = time.monotonic()
    said = rig.recording.levels(before - 3.0, before)
    error = _do(rig, fault.inject)
    _until(before + fault.hold)
    gone = time.monotonic()
    case.state = rig.state if rig.graph.alive(NODE) else 'gone'
    rig.relay.clean()
    if fault.clear is not None:
        error = error or _do(rig, fault.clear)
    cleared = time.monotonic()
    _until(cleared + fault.after)
    watched = time.monotonic()
    died = tuple(name for name in (NODE, ARM) if not rig.graph.alive(name))
    case.outcome = _outcome(rig, died)
    if not died and case.outcome != 'recovered':
        case.returned = rig.revive()
        time.sleep(0.15)
        died = tuple(name for name in (NODE, ARM) if not rig.graph.alive(name))
    end = time.monotonic()
    record = rig.recording
    names = _names(rig)
    motion = judge.look(record, rig.limits, before, end)
    rest = judge.time_to_rest(record, names, before, gone)
    settled = judge.time_to_rest(record, names, before, watched)
    seen = verdict.Seen(
        motion=motion,
        rest_s=rest,
        speed_after_rest=0.0 if rest is None else _fastest(rig, before + rest + _MARGIN_S, gone),
        speed_after=_fastest(rig, max(cleared, before + (settled or 0.0)) + 0.1, watched),
        states=(*_entered(rig, before, watched), rig.state),
        warned=verdict.warned_anew(said, record.levels(before, watched)),
        died=died,
        traceback=_traceback(rig, marks),
        complaints=tuple(rig.complaints),
        late_s=rig.relay.lateness(before),
    )  # fmt: skip
    _fill(case, seen, rig, before, end)
    _decide(case, fault, seen, error)


def _refused(rig: Rig, fault: Fault, case: Case) -> None:
    rig.relay.clean()
    rig.graph.end(NODE)
    if not rig.graph.alive(ARM):
        rig.graph.start_arm()
    rig.wait(lambda: bool(rig.relay.urdf), 10.0)
    if rig.limits is None:
        case.reasons = ['the arm does not come up']
        return
    rig.wait(lambda: rig.relay.speed() < 0.01, 2.0)
    time.sleep(0.1)
    marks = {name: rig.graph.log_size(name) for name in (NODE, ARM)}
    before = time.monotonic()
    error = _do(rig, fault.inject)
    rig.wait(lambda: not rig.graph.alive(NODE) or bool(_entered(rig, before, 1e18)), fault.hold)
    if rig.graph.alive(NODE):
        rig.new_task()
        time.sleep(fault.after)
        rig.relay.ask('start', timeout=0.5)
        time.sleep(fault.after)
    end = time.monotonic()
    died = () if rig.graph.alive(NODE) else (NODE,)
    states = _entered(rig, before, end)
    seen = verdict.Seen(
        motion=judge.look(rig.recording, rig.limits, before, end),
        states=states,
        died=died,
        traceback=_traceback(rig, marks),
        complaints=tuple(rig.complaints),
        configured=any(s in ('ready', *verdict.PLAYING) for s in states),
        late_s=rig.relay.lateness(before),
    )
    case.state = f'exit {rig.graph.exit_code(NODE)}' if died else rig.state
    rig.graph.end(NODE)
    if fault.clear is not None:
        error = error or _do(rig, fault.clear)
    case.outcome = 'refused'
    _fill(case, seen, rig, before, end)
    _decide(case, fault, seen, error)


def _decide(case: Case, fault: Fault, seen: verdict.Seen, error: str) -> None:
    case.reasons = verdict.reasons(fault, seen)
    if error:
        case.verdict, case.reasons = 'unclear', [f'the fault could not be put in: {error}']
    elif case.reasons and seen.late_s > _UNCLEAR_LATE_S:
        case.verdict = 'unclear'
        case.reasons.append(f'but the machine let us wait for {seen.late_s:.2f} s')
    else:
        case.verdict = 'unsafe' if case.reasons else 'safe'


def _fill(case: Case, seen: verdict.Seen, rig: Rig, since: float, until: float) -> None:
    motion = seen.motion
    case.states = [
        [round(at - since, 3), state] for at, state in rig.recording.states(since, until)
    ]
    case.rest_s, case.late_s, case.warned = seen.rest_s, seen.late_s, list(seen.warned)
    case.commanded, case.commanded_share = motion.commanded, motion.commanded_share
    case.measured, case.step, case.jump = motion.measured, motion.step, motion.jump
    case.lead, case.windows = motion.lead, motion.windows


def _outcome(rig: Rig, died: tuple[str, ...]) -> str:
    if died:
        return 'ended'
    if rig.state in _LATCHED:
        return 'latched'
    return 'recovered' if rig.wait(rig.moving, 0.7 if rig.playing() else 0.0) else 'stopped'


def _do(rig: Rig, act: Any) -> str:
    try:
        act(rig)
    except Exception as error:  # whatever a fault needs may be missing from an older package
        return f'{type(error).__name__}: {error}'
    return ''


def _names(rig: Rig) -> tuple[str, ...]:
    """Joints that turn: a gripper is no motion of the arm."""
    now = time.monotonic()
    windows = rig.recording.windows(now - _KEEP_S, now)
    if windows:
        return windows[-1].names
    return rig.limits.names if rig.limits else ()


def _fastest(rig: Rig, since: float, until: float) -> float:
    return float(judge.own_speed(rig.recording, _names(rig), since, until)[1].max(initial=0.0))


def _entered(rig: Rig, since: float, until: float) -> tuple[str, ...]:
    return tuple(state for _, state in rig.recording.states(since, until))


def _traceback(rig: Rig, marks: dict[str, int]) -> str:
    for name, size in marks.items():
        lines = rig.graph.log(name, size).splitlines()
        for index, line in enumerate(lines):
            if 'Traceback (most recent call last)' in line:
                ends = [text for text in lines[index + 1 :] if text and not text.startswith(' ')]
                return f'{name}: {ends[0] if ends else line}'
    return ''


def _until(instant: float) -> None:
    time.sleep(max(0.0, instant - time.monotonic()))
