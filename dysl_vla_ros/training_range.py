"""Whether the arm stands where the policy's training data were: the range its bundle carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.action_columns import action_columns
from dysl_vla_ros.bundle.manifest import ProprioceptionSpec
from dysl_vla_ros.data_types import FloatArray

_BEYOND = 0.05
"""Share of the range that counts as inside still: it is one of quantiles, not of extremes."""
_LEAST = 0.02
_AXES = ('x', 'y', 'z')


def outside_training(
    spec: ProprioceptionSpec,
    names: tuple[str, ...],
    joints: FloatArray,
    endless: NDArray[np.bool_],
    sizes: Sequence[int] = (),
) -> str:
    """The joints that stand outside what training saw, in a sentence; '' when none does.

    Args:
        spec: The policy's joint vector, whose normalisation is the range of the training data.
            One that is not of joints is ``pose_outside_training``'s.
        names: The arm's joints, in its order.
        joints: Measured, shape (n,) [rad or m].
        endless: Which of them have no limits, shape (n,): whole turns are taken off.
        sizes: Joints of each arm where there are several; () for one.
    """
    if spec.source != 'joints' or not spec.dim:
        return ''
    columns = action_columns(spec.gripper, sizes or (spec.body,))
    if len(columns.motion) != len(names) or (
        sizes and len(columns.motion) + len(columns.grippers) != spec.dim
    ):
        return ''
    low, high, known = _range(spec, columns.motion)
    turns = np.round((0.5 * (low + high) - joints) / (2 * np.pi))
    joints = np.where(endless, joints + 2 * np.pi * turns, joints)
    found = _outside(names, joints, low, high, known)
    return f'{found}; ~/home leads it to home.positions' if found else ''


def pose_outside_training(spec: ProprioceptionSpec, state: FloatArray, tip: str) -> str:
    """The same of a policy that reads where the tip is: another arm, or other frames.

    Angles are not judged: those of one rotation have many names, and the nearest to what
    training saw was taken.

    Args:
        spec: Of a bundle whose ``source`` is a pose.
        state: What it reads, as ``state_source.pose_state`` gives it.
        tip: Where from and where to, as ``grasp_link in base_link``.
    """
    low, high, known = _range(spec, range(len(_AXES)))
    found = _outside(_AXES, state[: len(_AXES)], low, high, known)
    if not found:
        return ''
    return f'{found}, of {tip}: action.frame_id and action.tip_link are where training had them?'


def _range(
    spec: ProprioceptionSpec, columns: Sequence[int]
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Lowest and highest that training saw, and where that is known."""
    scale, where = spec.normalisation, list(columns)
    low, high = (np.array(part, dtype=np.float64)[where] for part in (scale.low, scale.high))
    return low, high, np.array(scale.mask, dtype=bool)[where]


def _outside(
    names: Sequence[str],
    values: FloatArray,
    low: FloatArray,
    high: FloatArray,
    known: NDArray[np.bool_],
) -> str:
    room = np.maximum(_BEYOND * (high - low), _LEAST)
    outside = known & ((values < low - room) | (values > high + room))
    if not outside.any():
        return ''
    found = ', '.join(
        f'{names[i]} = {values[i]:.2f} (seen: {low[i]:.2f} to {high[i]:.2f})'
        for i in np.flatnonzero(outside).tolist()
    )
    return f'the arm stands outside what training saw: {found}'
