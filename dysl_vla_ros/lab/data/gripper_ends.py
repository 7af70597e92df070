"""Where a gripper is closed and where it is open, by what a data set holds of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.correlation import correlation
from dysl_vla_ros.lab.data.set_choice import SetChoice

_EXTREMES = (0.005, 0.995)
"""Shares of the frames: what one frame in 200 shows is no end."""
_STILL = 0.01
"""Share of where it stands by which a gripper that never moves may tremble."""
_LATER = 6
"""Frames after which a gripper's command shows in its position."""


def gripper_ends(
    choice: SetChoice, states: Sequence[NDArray[np.float32]],
    actions: Sequence[NDArray[np.float32]], state_names: Sequence[str],
    action_names: Sequence[str], grippers: tuple[int, ...], moving: tuple[int, ...],
    space: str, told: list[str],
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Closed and open, in the set's units, of each opening by its place and kind.

    Raises:
        ConfigError: An opening stands still, and nobody says what it is.
    """
    sides = (('state', state_names, grippers, states), ('action', action_names, moving, actions))
    ends, still = {}, []
    for kind, names, places, values in sides:
        joined = np.concatenate(values)
        for place in places:
            low, high = (float(np.quantile(joined[:, place], share)) for share in _EXTREMES)
            if high - low <= _STILL * max(abs(low), abs(high), 1e-4):
                still.append(f'{names[place]} ({kind}) at {high:.4g}')
            ends[f'{kind} {place}'] = choice.gripper_range or (low, high)
    if still and choice.gripper_range is None:
        raise ConfigError(
            'gripper-range', None,
            "closed and open in the set's units, where the set does not show them, for a gripper "
            f'stands still: {", ".join(still)}; --gripper-range CLOSED OPEN, or leave it out with '
            '--only and the names of the others',
        )  # fmt: skip
    _turn_round(ends, states, actions, grippers, moving, told)
    if choice.gripper_range is not None:
        return ends
    if space.startswith('joint_p'):
        # What is commanded and what is measured of one gripper are the same quantity.
        for place, other in zip(grippers, moving, strict=False):
            one, two = ends[f'state {place}'], ends[f'action {other}']
            upwards = one[0] < one[1] and two[0] < two[1]
            if upwards and abs(one[1] - two[1]) < abs(two[1] - two[0]):
                ends[f'state {place}'] = ends[f'action {other}'] = (
                    min(one[0], two[0]),
                    max(one[1], two[1]),
                )
    for kind, names, places, _ in sides:
        for place in places:
            closed, opened = ends[f'{kind} {place}']
            told.append(f'{names[place]} ({kind}): closed at {closed:.4g}, open at {opened:.4g}, '
                        f'the extremes of the set (--gripper-range {opened:.4g} {closed:.4g} '
                        'where it is the other way round)')  # fmt: skip
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
        if place - 1 in grippers and correlation(state[:, place - 1], state[:, place]) < -0.5:
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
        if correlation(commanded, stood) < -0.3:
            closed, opened = ends[f'action {place}']
            ends[f'action {place}'] = (opened, closed)
            told.append(f'a larger command closes the gripper: closed at {opened:.4g}, open at '
                        f'{closed:.4g}')  # fmt: skip
