"""Radians or degrees, of state and action each: by how far their joints go, and by each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.action_space import Follows
from dysl_vla_ros.lab.data.joint_order import Layout
from dysl_vla_ros.lab.data.set_choice import SetChoice, Units
from dysl_vla_ros.lab.data.side import Side

_TURN = 2.0 * np.pi
"""A joint seldom stands farther from 0 [rad]."""
_DEGREE = float(np.pi / 180.0)
_ABOUT_57 = (23.0, 143.0)
"""What is this many times as large as it should be is in degrees, and should be in radians."""
_ABOUT_ONE = (0.5, 2.0)
"""What a position is, as many times as large as where its joint then stands."""
_SAG = 0.5
"""No arm stands farther from its command, throughout [rad]."""
_TENS = 10.0
"""Standard deviations; no action of a joint is so far from where the joint goes."""
_ABOVE, _BELOW, _TURNED = 'about 57 times as large', 'a 57th times as large', 'the other way'
_SIDES = {_ABOVE: ('radians', 'degrees'), _BELOW: ('degrees', 'radians')}
"""Units of state and action that explain it."""
Arrays = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class JointUnits:
    """Factors that bring stored joints into radians.

    Attributes:
        state: Of the state; 1.0 where it is no joints.
        action: Likewise.
        reach: How far the joints of both go, as stored.
        known: Whether both are radians then.
    """

    state: float = 1.0
    action: float = 1.0
    reach: tuple[float, float] = (0.0, 0.0)
    known: bool = False


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
    known = 'as-stored' not in (state, action)
    return JointUnits(_factor(state), _factor(action), (far, farther), known)


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
    slopes = dict(zip(layout.action.joints, follows.slopes(absolute), strict=True))
    off = _off_by(slopes, absolute)
    zeros = _other_zeros(layout, follows, units, absolute) if not off else []
    error = follows.absolute if absolute else follows.increments
    if not off and not zeros and error <= _TENS:
        return
    way = 'positions' if absolute else 'increments'
    what = f'actions read as {way} are {error:.2g} standard deviations off what the state does'
    if off:
        what = 'actions follow the state, but not in its units: '
        what += '; '.join(f'{", ".join(names)} {words}' for words, names in off.items())
    elif zeros:
        what = f'actions are another zero than the state: {", ".join(zeros)}'
    if choice.space and choice.units != 'auto':
        told.append(f'{what}: taken as --action-space and --units say')
        return
    known = [name for name, slope in slopes.items() if slope]
    sides = _SIDES.get(next(iter(off), '')) if len(off) == 1 else None
    if sides and {*known} == {*next(iter(off.values()))}:
        right = f'--units {sides[0]} --action-units {sides[1]}'
    elif off or zeros:
        right = 'one unit, zero and direction in all columns: convert these, or leave them out '
        right += 'with --only'
    else:
        right = '--units, --action-units, --action-scale or --action-space'
    right = f'{right}, where {what} (the state goes up to {units.reach[0]:.3g}, they up to '
    right += f'{units.reach[1]:.3g})'
    raise ConfigError('units', choice.units, right)


def _off_by(slopes: Mapping[str, float], absolute: bool) -> dict[str, list[str]]:
    """What is wrong, in words -> the joints of which it is."""
    off: dict[str, list[str]] = {}
    low, high = _ABOUT_57
    for name, slope in slopes.items():
        if slope < 0.0:
            words = _TURNED
        elif low < slope < high:
            words = _ABOVE
        elif slope and 1.0 / high < slope < 1.0 / low:
            words = _BELOW
        elif absolute and slope and not _ABOUT_ONE[0] < slope < _ABOUT_ONE[1]:
            words = f'{slope:.2g} times as large'
        else:
            continue
        off.setdefault(words, []).append(name)
    return off


def _other_zeros(
    layout: Layout, follows: Follows, units: JointUnits, absolute: bool
) -> list[str]:  # fmt: skip
    """Joints that stand so far from their commands that these count from another zero."""
    if not absolute or not units.known:
        return []
    return [f'{name} by {apart:.2g} rad'
            for name, apart in zip(layout.action.joints, follows.apart, strict=True)
            if abs(apart) > _SAG]  # fmt: skip


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
