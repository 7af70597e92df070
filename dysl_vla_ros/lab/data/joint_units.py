"""Radians or degrees, of state and action each: by how far their joints go, and by each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.action_space import Follows
from dysl_vla_ros.lab.data.joint_order import Layout, Side
from dysl_vla_ros.lab.data.set_choice import SetChoice, Units

_TURN = 2.0 * np.pi
"""A joint seldom stands farther from 0 [rad]."""
_DEGREE = float(np.pi / 180.0)
_ABOUT_57 = (23.0, 143.0)
"""What is this many times as large as it should be is in degrees, and should be in radians."""
_TENS = 10.0
"""Standard deviations; no action of a joint is so far from where the joint goes."""
Arrays = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class JointUnits:
    """Factors that bring stored joints into radians.

    Attributes:
        state: Of the state; 1.0 where it is no joints.
        action: Likewise.
        reach: How far the joints of both go, as stored.
    """

    state: float = 1.0
    action: float = 1.0
    reach: tuple[float, float] = (0.0, 0.0)


def joint_units(
    layout: Layout, choice: SetChoice, states: Arrays, actions: Arrays, of_joints: bool,
    told: list[str],
) -> JointUnits:  # fmt: skip
    """Units of both sides, as the user says, else by how far the joints of the state go.

    Args:
        layout: Names and places of the numbers.
        choice: What the user says.
        states: Of each episode, (frames, size), stored.
        actions: Likewise.
        of_joints: Whether the state is of joints, and not of a pose.
        told: What was guessed is added to it.

    Raises:
        ConfigError: Some joints go beyond a turn, and most do not.
    """
    state: Units = 'as-stored'
    far = 0.0
    if of_joints:
        state, far = _settled(choice.units, 'units', layout.state, states, told)
    if layout.kind == 'eef':
        return JointUnits(_factor(state))
    said = choice.action_units or state
    action, farther = _settled(said, 'action-units', layout.action, actions, told)
    return JointUnits(_factor(state), _factor(action), (far, farther))


def refuse_other_units(
    layout: Layout, choice: SetChoice, units: JointUnits, follows: Follows, absolute: bool,
    told: list[str],
) -> None:  # fmt: skip
    """Refuse actions that no reading of the numbers explains.

    Args:
        layout: Names of the numbers, of joints.
        choice: What the user says; what it says in full is only told of.
        units: Of both sides.
        follows: How actions follow the state, both in the units that were settled.
        absolute: Whether actions are read as positions.
        told: Of the first.

    Raises:
        ConfigError: Asks for the units of both sides, or for the action space.
    """
    names, slopes = layout.action.joints, follows.slopes(absolute)
    low, high = _ABOUT_57
    above = [name for name, slope in zip(names, slopes, strict=True) if low < slope < high]
    below = [name for name, slope in zip(names, slopes, strict=True)
             if 1.0 / high < slope < 1.0 / low]  # fmt: skip
    error = follows.absolute if absolute else follows.increments
    if not above and not below and error <= _TENS:
        return
    way = 'positions' if absolute else 'increments'
    what = f'actions read as {way} are {error:.2g} standard deviations off what the state does'
    off = [f'{", ".join(part)} {words} times as large' for part, words in (
        (above, 'about 57'), (below, 'a 57th')) if part]  # fmt: skip
    if off:
        what = f'actions follow the state, but not in its units: {"; ".join(off)}'
    if choice.space and choice.units != 'auto':
        told.append(f'{what}: taken as --action-space and --units say')
        return
    known = [name for name, slope in zip(names, slopes, strict=True) if slope]
    if off and {*above, *below} == {*known} and not (above and below):
        sides = ('radians', 'degrees') if above else ('degrees', 'radians')
        right = f'--units {sides[0]} --action-units {sides[1]}'
    elif off:
        right = 'one unit in all columns: convert these, or leave them out with --only'
    else:
        right = '--units, --action-units, --action-scale or --action-space'
    right = f'{right}, where {what} (the state goes up to {units.reach[0]:.3g}, they up to '
    right += f'{units.reach[1]:.3g})'
    raise ConfigError('units', choice.units, right)


def _settled(
    units: Units, option: str, side: Side, values: Arrays, told: list[str]
) -> tuple[Units, float]:
    """The units of a side, and how far its joints go; both are told."""
    places = [n for n in range(len(side.names)) if n not in side.gripper]
    reach = np.max([np.abs(part[:, places]).max(axis=0, initial=0.0) for part in values], axis=0)
    far = float(reach.max(initial=0.0))
    found = _judged(reach, side.joints, side, option) if units == 'auto' else units
    verb = 'are' if found == 'as-stored' else 'taken for'
    shares = ''
    if found == 'degrees' and units == 'auto':
        shares = ('; numbers from -100 to 100 are shares of a range, not angles: convert them '
                  'before an arm moves by them')  # fmt: skip
    told.append(f'{", ".join(side.columns)}: joints up to {far:.3g} {verb} '
                f'{found.replace("-", " ")} (--{option} says otherwise{shares})')  # fmt: skip
    return found, far


def _judged(reach: NDArray[np.float32], names: Sequence[str], side: Side, option: str) -> Units:
    """Radians where no joint goes beyond a turn, degrees where half of them do; else asked for."""
    beyond = [n for n in range(len(names)) if reach[n] > _TURN]
    if not beyond:
        return 'radians'
    if 2 * len(beyond) >= len(names):
        return 'degrees'
    others = max(float(reach[n]) for n in range(len(names)) if n not in beyond)
    listed = ', '.join(f'{names[n]} (up to {reach[n]:.3g})' for n in beyond)
    raise ConfigError(
        option,
        'auto',
        f'radians or degrees: of {", ".join(side.columns)} only '
        f'{listed} go beyond a turn, and the others up to {others:.3g}; one that is '
        'an opening is named with --gripper, one to leave out is not with --only',
    )


def _factor(units: Units) -> float:
    return _DEGREE if units == 'degrees' else 1.0
