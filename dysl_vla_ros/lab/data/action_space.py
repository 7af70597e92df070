"""Whether actions are absolute or increments, of joints or of the end effector; in which units."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.lab.data.set_choice import Units

_TURN = 2.0 * np.pi
"""A joint seldom stands farther from 0 [rad]."""
POSE = re.compile(r'^(eef_|ee_|d|delta_)?(x|pos_x|x_pos)$', re.IGNORECASE)


def guess_space(
    states: Sequence[NDArray[np.float32]], actions: Sequence[NDArray[np.float32]], kind: str,
    told: list[str],
) -> ActionSpace:  # fmt: skip
    """Absolute or increments, by what comes after an action.

    Args:
        states: Of each episode, (frames, numbers): those that actions have too, in their order.
        actions: Likewise; of another size where they are not the same numbers.
        kind: ``joint`` or ``eef``.
        told: What is guessed is added to it.
    """
    if states[0].shape[1] != actions[0].shape[1] or not actions[0].shape[1]:
        told.append(f'actions of {actions[0].shape[1]} numbers beside a state of '
                    f'{states[0].shape[1]}: increments of the end effector '
                    '(--action-space says otherwise)')  # fmt: skip
        return 'eef_delta'
    scale = np.maximum(np.concatenate(states).std(axis=0), 1e-6)
    errors = {}
    for way in ('absolute', 'increments'):
        found = []
        for state, action in zip(states, actions, strict=True):
            after = state[1:] if way == 'absolute' else np.diff(state, axis=0)
            found.append(np.abs(action[:-1] - after) / scale)
        errors[way] = float(np.median(np.concatenate(found).mean(axis=1)))
    absolute = errors['absolute'] <= errors['increments']
    told.append(
        f'actions are {"absolute" if absolute else "increments"}: they differ by '
        f'{errors["absolute"]:.2g} from the next state and by {errors["increments"]:.2g} '
        'from the next step, in standard deviations (--action-space says otherwise)'
    )
    if kind == 'eef':
        return 'eef_pose' if absolute else 'eef_delta'
    return 'joint_position' if absolute else 'joint_delta'


def unit_factor(
    units: Units, states: NDArray[np.float32], grippers: tuple[int, ...], source: str,
    told: list[str],
) -> float:  # fmt: skip
    """Of the joints' numbers, into radians."""
    if units in ('radians', 'as-stored') or source != 'joints':
        return 1.0
    if units == 'degrees':
        return float(np.pi / 180.0)
    joints = np.delete(states, list(grippers), axis=1)
    farthest = float(np.abs(joints).max()) if joints.size else 0.0
    if farthest <= _TURN:
        return 1.0
    told.append(f'joints up to {farthest:.0f}: taken for degrees (--units says otherwise; numbers '
                'from -100 to 100 are shares of a range, not angles: convert them before an arm '
                'moves by them)')  # fmt: skip
    return float(np.pi / 180.0)
