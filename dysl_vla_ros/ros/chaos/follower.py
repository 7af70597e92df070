"""What an ideal controller makes of the windows: each replaces the one before on arrival.

A first point at time 0 stands where its stamp says; a first point later than that is reached by
a cubic from the desired state, as a joint_trajectory_controller does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.ros.chaos.curves import Curve
from dysl_vla_ros.ros.chaos.windows import Window

Measured = Callable[[float], FloatArray]
"""Where the arm truly was at an instant, shape (n,); NaN where nobody knows."""


@dataclass(frozen=True)
class Piece:
    """A curve that the controller follows for a while.

    Attributes:
        curve: With the segment that leads to the window's first point, if there is one.
        since: From when [s].
        until: Until when [s].
    """

    curve: Curve
    since: float
    until: float


def follow(
    windows: Sequence[Window], measured: Measured, near: FloatArray, until: float, gap_s: float
) -> list[Piece]:
    """The pieces in order.

    Args:
        windows: Readable ones, all with the same joints in the same order.
        measured: Of the same joints.
        near: Someone else moved the arm when it stands farther than this from where a window
            that ended a while ago left it, shape (n,): the controller then begins where it is.
        until: When nobody looks any longer [s].
        gap_s: After this time without a window the arm may have been moved [s].
    """
    pieces: list[Piece] = []
    for index, window in enumerate(windows):
        begin = window.taken_at
        after = windows[index + 1].taken_at if index + 1 < len(windows) else until
        if window.end < begin or not np.isfinite(window.positions).all():
            continue  # a controller refuses it, and goes on with what it has
        curve = window.curve
        if window.first_instant > begin:
            position, velocity = _desired(pieces, begin, measured, near, gap_s)
            if np.isnan(position).any():
                position, velocity = curve.positions[0], curve.velocities[0]
            curve = Curve(
                np.concatenate(([begin], curve.times)),
                np.vstack((position, curve.positions)),
                np.vstack((velocity, curve.velocities)),
            )
        if pieces:
            last = pieces[-1]
            pieces[-1] = Piece(last.curve, last.since, max(last.since, begin))
        pieces.append(Piece(curve, begin, max(begin, after)))
    return pieces


def desired(pieces: Sequence[Piece], instants: FloatArray, hold_s: float) -> FloatArray:
    """Where the controller wants the arm.

    Args:
        pieces: In order, at least one.
        instants: Shape (m,), increasing [s].
        hold_s: For so long a window that has ended still counts [s].

    Returns:
        Shape (m, n); NaN where nothing counts.
    """
    found = np.full((len(instants), pieces[0].curve.positions.shape[1]), np.nan)
    for piece in pieces:
        here = instants >= piece.since
        found[here] = piece.curve.at(instants[here])
        found[here & (instants > piece.curve.times[-1] + hold_s)] = np.nan
    return found


def _desired(
    pieces: Sequence[Piece], at: float, measured: Measured, near: FloatArray, gap_s: float
) -> tuple[FloatArray, FloatArray]:
    """State of the controller at an instant; NaN when there is none."""
    where = measured(at)
    if not pieces:
        return where, np.zeros_like(where)
    curve = pieces[-1].curve
    position, velocity = curve.state(at)
    moved = at - curve.times[-1] > gap_s and (np.abs(where - position) > near).any()
    if moved:
        return where, np.zeros_like(where)
    return position, velocity
