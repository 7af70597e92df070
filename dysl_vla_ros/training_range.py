"""Whether the arm stands where the policy's training data were: the range its bundle carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import ProprioceptionSpec
from dysl_vla_ros.data_types import FloatArray

_BEYOND = 0.05
"""Share of the range that counts as inside still: it is one of quantiles, not of extremes."""
_LEAST = 0.02


def outside_training(
    spec: ProprioceptionSpec,
    names: tuple[str, ...],
    joints: FloatArray,
    endless: NDArray[np.bool_],
) -> str:
    """The joints that stand outside what training saw, in a sentence; '' when none does.

    Args:
        spec: The policy's joint vector, whose normalisation is the range of the training data.
        names: The arm's joints, in its order.
        joints: Measured, shape (n,) [rad or m].
        endless: Which of them have no limits, shape (n,): whole turns are taken off.
    """
    count = spec.dim - int(spec.gripper)
    if count != len(names):
        return ''
    low, high = (
        np.array(part[:count], dtype=np.float64)
        for part in (spec.normalisation.low, spec.normalisation.high)
    )
    turns = np.round((0.5 * (low + high) - joints) / (2 * np.pi))
    joints = np.where(endless, joints + 2 * np.pi * turns, joints)
    room = np.maximum(_BEYOND * (high - low), _LEAST)
    known = np.array(spec.normalisation.mask[:count])
    outside = known & ((joints < low - room) | (joints > high + room))
    if not outside.any():
        return ''
    found = ', '.join(
        f'{names[i]} = {joints[i]:.2f} (seen: {low[i]:.2f} to {high[i]:.2f})'
        for i in np.flatnonzero(outside)
    )
    return f'the arm stands outside what training saw: {found}; ~/home leads it to home.positions'
