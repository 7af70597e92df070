"""Where a gripper is closed and where it is open, by what a data set holds of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.set_choice import SetChoice

_LATER = 6
"""Frames after which a gripper's command shows in its position."""


def gripper_ends(
    choice: SetChoice, states: Sequence[NDArray[np.float32]],
    actions: Sequence[NDArray[np.float32]], state_names: Sequence[str],
    action_names: Sequence[str], grippers: tuple[int, ...], moving: tuple[int, ...],
    space: str, told: list[str],
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Closed and open, in the set's units, of each opening by its name and kind."""
    ends = {}
    for kind, names, places, values in (('state', state_names, grippers, states),
                                        ('action', action_names, moving, actions)):  # fmt: skip
        joined = np.concatenate(values)
        for place in places:
            pair = choice.gripper_range or (
                float(np.quantile(joined[:, place], 0.005)),
                float(np.quantile(joined[:, place], 0.995)),
            )
            if abs(pair[1] - pair[0]) < 1e-6:
                pair = (pair[0], pair[0] + 1.0)
            ends[f'{kind} {place}'] = pair
            if choice.gripper_range is None:
                told.append(
                    f'{names[place]} ({kind}): closed at {pair[0]:.4g}, open at '
                    f'{pair[1]:.4g}, the extremes of the set (--gripper-range)'
                )
    _turn_round(ends, states, actions, grippers, moving, told)
    if space.startswith('joint_p') and choice.gripper_range is None:
        # What is commanded and what is measured of one gripper are the same quantity.
        for place, other in zip(grippers, moving, strict=False):
            one, two = ends[f'state {place}'], ends[f'action {other}']
            upwards = one[0] < one[1] and two[0] < two[1]
            if upwards and abs(one[1] - two[1]) < abs(two[1] - two[0]):
                ends[f'state {place}'] = ends[f'action {other}'] = (
                    min(one[0], two[0]),
                    max(one[1], two[1]),
                )
    return ends


def _turn_round(
    ends: dict[str, tuple[float, float]], states: Sequence[NDArray[np.float32]],
    actions: Sequence[NDArray[np.float32]], grippers: tuple[int, ...], moving: tuple[int, ...],
    told: list[str],
) -> None:  # fmt: skip
    """Give what moves against the first finger its ends the other way round, in place.

    The second finger of a hand may count downwards, and a command may say 1 for closed.
    """
    if not grippers:
        return
    state = np.concatenate(states)
    for place in grippers[1:]:
        if place - 1 in grippers and _together(state[:, place - 1], state[:, place]) < -0.5:
            first, last = ends[f'state {place}']
            if ends[f'state {place - 1}'][0] < ends[f'state {place - 1}'][1]:
                ends[f'state {place}'] = (last, first)
    if len(moving) != 1 and len(moving) != len(grippers):
        return
    for place, other in zip(moving, grippers, strict=False):
        later = [(a[:-_LATER, place], s[_LATER:, other])
                 for a, s in zip(actions, states, strict=True) if len(a) > 2 * _LATER]  # fmt: skip
        if not later:
            continue
        commanded, stood = (np.concatenate(side) for side in zip(*later, strict=True))
        if _together(commanded, stood) < -0.3:
            closed, opened = ends[f'action {place}']
            ends[f'action {place}'] = (opened, closed)
            told.append(f'a larger command closes the gripper: closed at {opened:.4g}, open at '
                        f'{closed:.4g}')  # fmt: skip


def _together(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation; 0 where one does not move."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
