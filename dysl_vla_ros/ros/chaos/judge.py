"""Whether what was sent to the arm was safe, from the windows and the arm's true joints alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.ros.chaos.description import Limits
from dysl_vla_ros.ros.chaos.figures import Motion, Rules
from dysl_vla_ros.ros.chaos.follower import Measured, Piece, desired, follow
from dysl_vla_ros.ros.chaos.recording import Recording
from dysl_vla_ros.ros.chaos.windows import Window

_AT_REST = 0.02
"""Slower than this a joint rests [rad/s]."""
_REST_S = 0.3
"""For so long, to count [s]."""
_UNHEARD_S = 0.1
_GRID_S = 0.004
_POINT_TOLERANCE = 1e-6
_CURVE_TOLERANCE = 1e-3
"""Of a speed between the points: time_from_start is rounded, and stamps cross a clock."""
_MEASURED_TOLERANCE = 0.05
_STANDS = 0.05
"""Slower than this a joint does not follow [rad/s]."""
_RUNAWAY_S, _RUNAWAY_RAD = 0.04, 1e-3
"""A command goes away from a joint when the distance grows by so much in this time."""
_STOOD_S = 0.3
"""An arm has settled so long after its command came to rest [s]."""
_COMMANDED = 0.005
"""Slower than this a command rests [rad/s]."""
_SPRUNG_RAD = 0.05
"""Nearer than this to a command that rests, an arm that moves is moved by what it touches."""
_CONTEXT_S = 0.7
"""What was sent before an interval says where the arm was told to be when it begins."""


def look(
    recording: Recording, limits: Limits, since: float, until: float, rules: Rules | None = None
) -> Motion:
    """Judge an interval.

    Args:
        recording: It must reach back a little before ``since``.
        limits: Of the description; speeds already scaled.
        since: Steady clock [s].
        until: Steady clock [s].
        rules: Of this graph.
    """
    rules = rules or Rules()
    motion = Motion()
    sent = [w for w in recording.windows(since - _CONTEXT_S, until) if not w.foreign]
    good = _readable(sent, motion, since)
    motion.windows = sum(w.arrival >= since for w in sent)
    if good:
        _look_at_commands(good, recording, limits.of(good[0].names), since, until, rules, motion)
    known = [n for n in (good[0].names if good else limits.names) if n in limits.names]
    at, _, speeds = recording.joints(known, since, until)
    if len(at):
        arm = limits.of(known)
        motion.measured = float(np.abs(speeds).max())
        # How fast a hand turned the arm is no deed of the node.
        own = np.where(recording.by_hand(at)[:, None], 0.0, np.abs(speeds))
        over = own.max(axis=0) / arm.velocity
        joint = int(over.argmax())
        if over[joint] > 1.0 + _MEASURED_TOLERANCE:
            motion.blame(
                'measured',
                f'{known[joint]} moved at {over[joint] * arm.velocity[joint]:.2f} rad/s: '
                f'limit {arm.velocity[joint]:.2f}',
            )
    return motion


def own_speed(
    recording: Recording, names: Sequence[str], since: float, until: float
) -> tuple[FloatArray, FloatArray]:
    """How fast the node moves the arm, at every reading of an interval.

    A hand that presses on something trembles, or slips off it, long after its command came to
    rest: an arm at its place is not moved by the node, and counts as still.

    Returns:
        Instants (m,) [s] and the speed of the fastest joint then (m,) [rad/s].
    """
    at, positions, speeds = recording.joints(names, since, until)
    fastest = np.abs(speeds).max(axis=1, initial=0.0)
    commands = _commands(recording, tuple(names), since, until)
    for index in np.flatnonzero(fastest >= _AT_REST) if commands else ():
        now = float(at[index])
        heard = [piece for piece in commands if piece.since <= now]
        if not heard:
            continue
        away = np.abs(heard[-1].curve.at(np.array([now]))[0] - positions[index]).max()
        peaks = [p.curve.peak_speed(max(p.since, now - _STOOD_S), min(p.until, now)).max()
                 for p in heard if p.until >= now - _STOOD_S]  # fmt: skip
        if away < _SPRUNG_RAD and max(peaks, default=0.0) < _COMMANDED:
            fastest[index] = 0.0
    return at, fastest


def time_to_rest(
    recording: Recording, names: Sequence[str], since: float, until: float
) -> float | None:
    """Seconds until the node lets the arm rest for a while, or None when it does not."""
    at, speeds = own_speed(recording, names, since, until)
    if not len(at):
        return None
    moving = at[speeds >= _AT_REST]
    heard_again = at[np.diff(at, prepend=since) > _UNHEARD_S]
    for candidate in (since, *sorted([*moving.tolist(), *heard_again.tolist()])):
        end = candidate + _REST_S
        if end > at[-1]:
            return None
        heard = np.concatenate(([candidate], at[(at > candidate) & (at < end)], [end]))
        # An arm that nobody heard did not rest.
        if np.diff(heard).max() > _UNHEARD_S or ((moving > candidate) & (moving <= end)).any():
            continue
        return max(0.0, float(candidate - since))
    return None


def _commands(
    recording: Recording, names: tuple[str, ...], since: float, until: float
) -> list[Piece]:
    """What the arm was told, with the command that it still kept when the interval begins."""
    own = [w for w in recording.windows(float('-inf'), until)
           if w.names == names and not w.foreign]  # fmt: skip
    sent = _readable(own, Motion(), since)
    recent = [w for w in sent if w.arrival >= since - _CONTEXT_S]
    windows = sent[: len(sent) - len(recent)][-1:] + recent
    if not windows:
        return []
    measured = _measured(recording, names, windows[0].arrival, until)
    return follow(windows, measured, np.full(len(names), _SPRUNG_RAD), until, Rules.gap_s)


def _readable(windows: Sequence[Window], motion: Motion, since: float) -> list[Window]:
    """Those a controller could follow; of the others in the interval, say why not."""
    names = next((w.names for w in windows if not w.defect), ())
    good = []
    for window in windows:
        problem = window.defect
        if not problem and window.names != names:
            problem = f'joint_names changed to {list(window.names)}'
        if not problem and not (
            np.isfinite(window.positions).all() and np.isfinite(window.velocities).all()
        ):
            problem = 'a number that is not finite'
        if not problem and (window.times[0] < 0.0 or (np.diff(window.times) <= 0.0).any()):
            problem = 'time_from_start does not increase from 0 on'
        if not problem:
            good.append(window)
        elif window.arrival >= since:
            motion.blame(problem, f'sent {problem}')
    return good


def _look_at_commands(
    windows: list[Window], recording: Recording, limits: Limits, since: float, until: float,
    rules: Rules, motion: Motion,
) -> None:  # fmt: skip
    for window in windows:
        if window.arrival >= since:
            _look_at_window(window, limits, rules, motion)
    measured = _measured(recording, windows[0].names, since - _CONTEXT_S, until)
    reach = limits.velocity * rules.period_s
    for before, window in zip(windows, windows[1:], strict=False):
        if window.arrival >= since:
            _look_at_seam(before, window, limits, reach, measured, rules, motion)
    pieces = follow(windows, measured, reach, until, rules.gap_s)
    for piece in pieces:
        if piece.until >= since:
            peak = piece.curve.peak_speed(max(piece.since, since), piece.until)
            _note_speed(peak, limits, motion)
    if not pieces:
        return
    instants = np.arange(since, until, _GRID_S)
    wanted = desired(pieces, instants, rules.gap_s)
    lag = max(1, round(rules.period_s / _GRID_S))
    if len(wanted) > lag:
        steps = np.nan_to_num(np.abs(wanted[lag:] - wanted[:-lag]))
        motion.step = float(steps.max())
    _look_at_lead(recording, windows[0].names, instants, wanted, rules, motion)


def _look_at_window(window: Window, limits: Limits, rules: Rules, motion: Motion) -> None:
    names = limits.names
    out = np.maximum(limits.lower - window.positions, window.positions - limits.upper)
    where = np.unravel_index(int(out.argmax()), out.shape)
    if out[where] > _POINT_TOLERANCE:
        motion.blame(
            'position', f'{names[where[1]]} was sent {out[where]:.3f} rad beyond its limit',
            float(out[where]),
        )  # fmt: skip
    share = np.abs(window.velocities) / limits.velocity
    where = np.unravel_index(int(share.argmax()), share.shape)
    if share[where] > 1.0 + _POINT_TOLERANCE:
        motion.blame(
            'stated',
            f'a point states {names[where[1]]} at {share[where]:.2f} times its limit',
            float(share[where]),
        )
    # As if nothing followed: the node may die now.
    _note_speed(window.curve.peak_speed(window.first_instant, window.end), limits, motion)
    last = float(np.abs(window.velocities[-1]).max())
    if last > _POINT_TOLERANCE:
        motion.blame('rest', f'a window ends at {last:.3f} rad/s, not at rest', last)
    length = float(window.times[-1])
    if length > rules.rest_s + 2e-3:
        motion.blame('long', f'a window lasts {length:.3f} s: at most {rules.rest_s:g}', length)


def _look_at_seam(
    before: Window, window: Window, limits: Limits, reach: FloatArray, measured: Measured,
    rules: Rules, motion: Motion,
) -> None:  # fmt: skip
    instant = window.first_instant
    away = np.abs(window.positions[0] - before.curve.at(np.array([instant]))[0])
    if instant - before.end > rules.gap_s:
        where = np.abs(window.positions[0] - measured(window.arrival))
        if np.nanmax(where / reach) < np.max(away / reach):
            away = where
    joint = int((away / reach).argmax())
    motion.jump = max(motion.jump, float(away.max()))
    if away[joint] > reach[joint] * (1.0 + _CURVE_TOLERANCE):
        motion.blame(
            'jump',
            f'a window begins {away[joint]:.3f} rad of {limits.names[joint]} from where the one '
            f'before would be: at most {reach[joint]:.3f}',
            float(away[joint]),
        )


def _look_at_lead(
    recording: Recording, names: Sequence[str], instants: FloatArray, wanted: FloatArray,
    rules: Rules, motion: Motion,
) -> None:  # fmt: skip
    """The command against the arm, where the arm is known.

    Blamed where the arm stands and the command still goes away from it: an arm that someone
    else moves away from the command is no fault of the node.
    """
    later = max(1, round(_RUNAWAY_S / _GRID_S))
    if len(instants) <= later:
        return
    at, positions, speeds = recording.joints(names, float(instants[0]), float(instants[-1]))
    if not len(at):
        return
    index = np.clip(np.searchsorted(at, instants), 0, len(at) - 1)
    known = (np.abs(at[index] - instants) < 0.05)[:, None]
    ahead = np.where(known, np.nan_to_num(np.abs(wanted - positions[index])), 0.0)
    motion.lead = float(ahead.max())
    stands = np.abs(speeds[index][:-later]) < _STANDS
    away = np.where(stands & (ahead[later:] > ahead[:-later] + _RUNAWAY_RAD), ahead[later:], 0.0)
    if away.max() > rules.max_lead:
        joint = names[int(away.max(axis=0).argmax())]
        motion.blame(
            'lead', f'{joint} stood, and was commanded {away.max():.2f} rad away from there'
        )


def _note_speed(peak: FloatArray, limits: Limits, motion: Motion) -> None:
    share = peak / limits.velocity
    joint = int(share.argmax())
    motion.commanded = max(motion.commanded, float(peak.max()))
    motion.commanded_share = max(motion.commanded_share, float(share[joint]))
    if share[joint] > 1.0 + _CURVE_TOLERANCE:
        motion.blame(
            'commanded',
            f'{limits.names[joint]} was commanded at {peak[joint]:.2f} rad/s: '
            f'limit {limits.velocity[joint]:.2f}',
            float(share[joint]),
        )


def _measured(recording: Recording, names: Sequence[str], since: float, until: float) -> Measured:
    at, positions, _ = recording.joints(names, since, until)

    def where(instant: float) -> FloatArray:
        if not len(at):
            return np.full(len(names), np.nan)
        return positions[min(int(np.searchsorted(at, instant)), len(at) - 1)]

    return where
