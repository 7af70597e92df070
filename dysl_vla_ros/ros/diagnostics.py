"""The four statuses on `/diagnostics`: fixed names and keys; what cannot be read is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dysl_vla_ros.core.run_state import LATCHED, PLAYING
from dysl_vla_ros.loop_status import LoopStatus
from dysl_vla_ros.ros import hardware
from dysl_vla_ros.ros.chunk_stats import REMOTE, STAGES, ChunkReport
from dysl_vla_ros.ros.rate_meter import RateReport
from dysl_vla_ros.ros.session import Session

OK, WARN, ERROR, STALE = range(4)
"""Levels of ``diagnostic_msgs/DiagnosticStatus``."""

_RATE_SHARE = 0.95
_MIN_RATE_HZ = 20.0
_MAX_CLIPPED = 0.05


@dataclass(frozen=True)
class Status:
    """One status: ``<node's full name>: <name>``."""

    name: str
    level: int
    message: str
    values: Mapping[str, str]


def collect(session: Session, active: bool, now: float) -> tuple[Status, ...]:
    """All four, from one snapshot.

    Args:
        session: What is configured.
        active: Whether commands are being sent.
        now: Steady time [s].
    """
    loop = session.loop.status() if session.loop is not None else None
    chunks, rate = session.stats.report(), session.meter.report(now)
    return (
        _policy(session, loop, chunks, rate, active, now),
        _inputs(session, now),
        _commands(session, loop, chunks, rate, active),
        _hardware(session),
    )


def headline(session: Session, active: bool, now: float) -> str:
    """One line for people: ``running, skip 57 %, 30.0 Hz, 9 ms``."""
    return _headline(session, session.stats.report(), session.meter.report(now), active)


def _headline(session: Session, chunks: ChunkReport, rate: RateReport, active: bool) -> str:
    if not active:
        return 'inactive'
    state, reason = session.state, session.reason
    if state not in PLAYING:
        return f'{state}: {reason}' if reason else state
    parts: list[str] = [state]
    if chunks.skip_ratio is not None:
        parts.append(f'skip {100 * chunks.skip_ratio:.0f} %')
    if rate.rate_hz is not None:
        parts.append(f'{rate.rate_hz:.1f} Hz')
    if chunks.inference_ms is not None:
        parts.append(f'{chunks.inference_ms[0]:.0f} ms')
    return ', '.join(parts)


def _policy(
    session: Session,
    loop: LoopStatus | None,
    chunks: ChunkReport,
    rate: RateReport,
    active: bool,
    now: float,
) -> Status:
    manifest, config = session.policy.manifest, session.config
    values = {
        'bundle': manifest.name,
        'instruction': session.inputs.instruction or 'n/a',
        'skip_mode': loop.skip_mode if loop else config.skip.mode,
        'skip_ratio': _number(chunks.skip_ratio, 4),
        'skip_ratio_lifetime': _number(chunks.skip_ratio_lifetime, 4),
        'layers_run_mean': _number(chunks.layers_run_mean, 2),
        'layers_total': str(manifest.layers_total),
        'mode_last': chunks.mode_last or 'n/a',
        'backbone_share': _number(chunks.backbone_share, 4),
        'continuity_last': _number(loop.continuity if loop else None, 4),
        'continuity_threshold': _number(config.continuity.threshold, 4),
        'phase': ('critical' if loop.critical else 'free') if loop else 'n/a',
        'rerun_count': _number(loop.reruns if loop else None),
        'rerun_rate': _number(_ratio(loop.reruns, loop.chunks) if loop else None, 4),
        'rerun_changed_ratio': _number(
            _ratio(loop.reruns_changed, loop.reruns) if loop else None, 4
        ),
        'chunks_total': _number(loop.chunks if loop else None),
        'deadline_miss_count': _number(loop.deadline_misses if loop else None),
        'model_restarts': str(getattr(session.policy, 'restarts', 0)),
    }
    _add_times(values, 'inference_ms', chunks.inference_ms)
    for stage in STAGES:
        _add_times(values, f'{stage}_ms', (chunks.stage_ms or {}).get(stage))
    link = _link(session)
    if link:
        _add_times(values, f'{REMOTE}_ms', (chunks.stage_ms or {}).get(REMOTE))
        values |= {f'link.{key}': value for key, value in link.items()}
    level, problem = _judge_policy(session, loop, chunks, now)
    line = _headline(session, chunks, rate, active)
    return Status('policy', level, f'{line}: {problem}' if problem else line, values)


def _link(session: Session) -> Mapping[str, str]:
    """Of the link to a policy server; nothing without one."""
    found: Mapping[str, str] = getattr(session.policy, 'link', {})
    return found


def _judge_policy(
    session: Session, loop: LoopStatus | None, chunks: ChunkReport, now: float
) -> tuple[int, str]:
    config = session.config
    if loop is None or loop.state not in PLAYING or loop.state == 'homing':
        unseen = session.unseen() if session.state == 'ready' else ''
        return (WARN, unseen) if unseen else (OK, '')
    # Counted from the start of this motion: before it no pass was asked for.
    silent = now - max(chunks.last_at or 0.0, session.playing_since)
    stale = silent > config.inputs.max_observation_age_s
    state = _link(session).get('state', '')
    if state.startswith('down'):
        return STALE if stale else WARN, f'the link to the policy server is {state}'
    if stale:
        why = f'last refusal: {loop.last_rejection or "none"}'
        if loop.state == 'holding' and session.reason:  # what is wrong now, not what once was
            why = session.reason
        return STALE, f'no pass for {silent:.1f} s; {why}'
    horizon, period = session.policy.manifest.action.horizon, config.timing.action_period_s
    budget_ms = 1e3 * config.timing.request_threshold * horizon * period
    if chunks.inference_ms is not None and chunks.inference_ms[1] > budget_ms:
        return WARN, (
            f'inference_ms_p95 = {chunks.inference_ms[1]:.0f}: expected at most {budget_ms:.0f}, '
            'the time that is left of a chunk when the next is asked for'
        )
    low, high = config.skip.expected_min, config.skip.expected_max
    if chunks.skip_ratio is not None and not low <= chunks.skip_ratio <= high:
        more = '; full passes that were run again cost more layers than skipping saved'
        return WARN, (
            f'skip_ratio = {chunks.skip_ratio:.3f}: expected within [{low:g}, {high:g}], '
            f'skip.expected_min to skip.expected_max{more if chunks.skip_ratio < 0 else ""}'
        )
    return OK, ''


def _inputs(session: Session, now: float) -> Status:
    values: dict[str, str] = {}
    for stream in session.inputs.streams:
        age = stream.age(now)
        values[f'{stream.name}.age_ms'] = _number(None if age is None else 1e3 * age, 1)
        values[f'{stream.name}.rate_hz'] = _number(stream.rate(now), 1)
        values[f'{stream.name}.dropped'] = str(stream.refused)
    values['gripper.opening'] = session.inputs.opening()
    old = session.inputs.joints.gripper_age(now)
    values['gripper.age_ms'] = _number(None if old is None else 1e3 * old, 1)
    values |= session.inputs.camera_values()
    if len(session.inputs.cameras) > 1:
        skew = session.inputs.camera_skew()
        values['camera_skew_ms'] = _number(None if skew is None else 1e3 * skew, 1)
    status = session.input_status(now)
    reason = (
        status.reason
        or session.inputs.joints.gripper_problem(now)
        or session.inputs.camera_warning(now)
        or session.clock_problem(now)[0]
    )
    return Status('inputs', WARN if reason else OK, reason or 'fresh', values)


def _commands(
    session: Session,
    loop: LoopStatus | None,
    chunks: ChunkReport,
    rate: RateReport,
    active: bool,
) -> Status:
    values = {
        'state': session.state if active else 'inactive',
        'armed': str(loop.armed if loop else session.config.safety.armed).lower(),
        'command_rate_hz': _number(rate.rate_hz, 2),
        'command_gap_ms_max': _number(None if rate.gap_max is None else 1e3 * rate.gap_max, 1),
        'command_jitter_ms_p99': _number(
            None if rate.jitter_p99 is None else 1e3 * rate.jitter_p99, 2
        ),
        'actions_played_hz': _number(
            _ratio(loop.actions_played, loop.seconds_running) if loop else None, 2
        ),
        'hold_ratio': _number(_ratio(loop.holds, loop.commands) if loop else None, 4),
        'observation_age_ms_p95': _number(chunks.observation_age_ms_p95, 1),
        'queue_depth': _number(loop.queue_depth if loop else None, 2),
        'starvation_count': _number(loop.starvations if loop else None),
        'clipped_ratio': _number(_ratio(loop.limited, loop.commands) if loop else None, 4),
        'seam_jump_last': _number(loop.seam_jump if loop else None, 5),
        'time_stretch': _number(loop.time_stretch if loop else None, 3),
        'hold_reason': session.reason or 'n/a',
        'lead_rad': _number(loop.lead if loop else None, 4),
        'readings_refused': _number(loop.readings_refused if loop else None),
        'windows_overdue': str(session.publishers.overdue),
        'speed': session.speed.report,
        'gripper': session.publishers.gripper_report(),
        'listeners': ', '.join(session.around.newest.listeners) or 'none',
        'other_commanders': ', '.join(session.around.newest.others) or 'none',
        'controller': session.around.newest.controller,
        'controller_check': session.around.newest.check,
    }
    level, message = _judge_commands(session, loop, rate)
    return Status('commands', level, message, values)


def _judge_commands(
    session: Session, loop: LoopStatus | None, rate: RateReport
) -> tuple[int, str]:
    if session.state in LATCHED:
        return ERROR, f'{session.state}: {session.reason}'
    seen = session.around.newest
    if seen.misfit or session.redescribed:
        return ERROR, f'{session.state}: {seen.misfit or session.redescribed}'
    worry = session.around.intruders() or seen.controller_problem
    worry = worry or session.publishers.gripper_problem()
    deaf = seen.unheard or not session.publishers.listeners
    if not worry and loop is not None and loop.armed and deaf:
        worry = f'armed, and nobody subscribes to {session.publishers.command_topic}'
    if worry:
        return WARN, f'{session.state}: {worry}'
    if loop is None or session.state not in PLAYING:
        return OK, f'{session.state}: {session.reason}' if session.reason else session.state
    if loop.warning:
        return WARN, loop.warning
    if rate.rate_hz is not None:
        nominal = session.config.timing.command_rate_hz
        if rate.rate_hz < _MIN_RATE_HZ - 0.5:
            return ERROR, f'command rate {rate.rate_hz:.1f} Hz: expected {nominal:g}, at least 20'
        if rate.rate_hz < _RATE_SHARE * nominal:
            return WARN, f'command rate {rate.rate_hz:.1f} Hz: expected {nominal:g}'
    clipped = _ratio(loop.limited, loop.commands)
    if clipped is not None and clipped > _MAX_CLIPPED:
        return WARN, f'{100 * clipped:.0f} % of the commands hit a limit'
    return OK, session.state


def _hardware(session: Session) -> Status:
    return Status('hardware', OK, '', {'device': session.policy.engine.device, **hardware.read()})


def _add_times(
    values: dict[str, str], name: str, times: tuple[float, float, float] | None
) -> None:
    for index, part in enumerate(('p50', 'p95', 'max')):
        values[f'{name}_{part}'] = _number(None if times is None else times[index], 2)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _number(value: float | None, digits: int = 0) -> str:
    return 'n/a' if value is None else f'{value:.{digits}f}'
