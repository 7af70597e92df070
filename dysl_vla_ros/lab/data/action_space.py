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
    states: Sequence[NDArray[np.float32]], actions: Sequence[NDArray[np.float32]],
    names: Sequence[str], told: list[str],
) -> ActionSpace:  # fmt: skip
    """Absolute or increments, by what comes after an action; joints or end effector, by names."""
    pose = bool(names) and bool(POSE.match(names[0]))
    if states[0].shape[1] != actions[0].shape[1]:
        if pose or actions[0].shape[1] in (6, 7):
            told.append(f'actions of {actions[0].shape[1]} numbers beside a state of '
                        f'{states[0].shape[1]}: increments of the end effector '
                        '(--action-space says otherwise)')  # fmt: skip
            return 'eef_delta'
        told.append('actions and state of different size: absolute joint positions '
                    '(--action-space says otherwise)')  # fmt: skip
        return 'joint_position'
    scale = np.maximum(np.concatenate(states).std(axis=0), 1e-6)
    errors = {}
    for kind in ('absolute', 'increments'):
        found = []
        for state, action in zip(states, actions, strict=True):
            after = state[1:] if kind == 'absolute' else np.diff(state, axis=0)
            found.append(np.abs(action[:-1] - after) / scale)
        errors[kind] = float(np.median(np.concatenate(found).mean(axis=1)))
    absolute = errors['absolute'] <= errors['increments']
    told.append(
        f'actions are {"absolute" if absolute else "increments"}: they differ by '
        f'{errors["absolute"]:.2g} from the next state and by {errors["increments"]:.2g} '
        'from the next step, in standard deviations (--action-space says otherwise)'
    )
    if pose:
        return 'eef_pose' if absolute else 'eef_delta'
    return 'joint_position' if absolute else 'joint_delta'


def same_numbers(
    states: Sequence[NDArray[np.float32]], state: Sequence[str], action: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Of the states, the numbers that actions have too, where they have the same names."""
    if not {*action} <= {*state}:
        return list(states)
    places = [list(state).index(name) for name in action]
    return [part[:, places] for part in states]


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
