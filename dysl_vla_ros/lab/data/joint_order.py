"""Which number of a state and of an action is which joint: by name, before any number is read.

Where both sides have names the columns of the action follow the state's by name; place counts only
where one side has none. An opening ends the arm, wherever the set keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.data.pose_names import is_pose
from dysl_vla_ros.lab.data.pose_order import posed
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.data.set_columns import columns_needed, joined_names, openings
from dysl_vla_ros.lab.data.side import Side

Kind = Literal['joint', 'eef']
_EFFECTOR = (6, 7)
"""Numbers of an increment of the end effector, without and with its opening."""


@dataclass(frozen=True)
class Layout:
    """State and action, matched.

    Attributes:
        state: What the policy reads.
        action: What it says.
        kind: Whether actions move joints or the end effector.
        told: What was guessed, in words.
    """

    state: Side
    action: Side
    kind: Kind
    told: tuple[str, ...]


def arrange(data: LerobotSet, choice: SetChoice) -> Layout:
    """Order and match the numbers of state and action.

    Raises:
        ConfigError: The set lacks something; names that do not match; joints that are read and
            not moved, which no arm could be run with.
    """
    columns, column = columns_needed(data, choice)
    told: list[str] = []
    named = any(_has_names(data, name) for name in columns)
    state = joined_names(data, columns)
    action = choice.action_names or joined_names(data, (column,))
    known = bool(choice.action_names) or _has_names(data, column)
    if not known and len(state) == len(action):
        action = state
    kind = _kind(choice, state, action)
    if kind == 'joint' and known and not named and len(state) == len(action):
        state = action
    if kind == 'joint' and not (named and known) and len(state) == len(action):
        lacking = [side for side, has in (('state', named), ('action', known)) if not has]
        told.append(f'{" and ".join(lacking)} without names: both are taken in one order')
    if choice.only:
        _refuse_unknown(choice.only, state, action)
    read = _ordered(_side(columns, state, choice.only, choice), choice, told, ', '.join(columns))
    if kind == 'eef':
        # Names of a pose choose of actions too; joints that are read choose nothing of them.
        only = choice.only if len({*choice.only} & {*action}) >= _EFFECTOR[0] else ()
        moved = _ordered(_side((column,), action, only, choice), choice, told, column)
        if is_pose(read.joints):
            read = posed(read, ', '.join(columns), told)
        elif {*moved.names} == {*read.names}:
            moved = _following(moved, read, column, told)
        moved = posed(moved, column, told, moves=True)
        told += _reads(read)
        return Layout(read, moved, kind, tuple(told))
    moved = _paired(_side((column,), action, choice.only, choice, unpaired=read), read, told)
    _same_joints(read, moved, columns, column)
    return Layout(read, _following(moved, read, column, told), kind, tuple(told))


def _has_names(data: LerobotSet, column: str) -> bool:
    described = data.columns[column]
    return len(described.names) == int(np.prod(described.shape))


def _kind(choice: SetChoice, state: Sequence[str], action: Sequence[str]) -> Kind:
    """Joints or end effector, by what the user says, by names, by sizes."""
    if choice.space:
        return 'eef' if choice.space.startswith('eef') else 'joint'
    opened = openings(action, choice)
    motion = [name for n, name in enumerate(action) if n not in opened]
    if is_pose(motion):
        return 'eef'
    if {*motion} <= {*state} or len(state) == len(action) or len(action) not in _EFFECTOR:
        return 'joint'
    return 'eef'


def _refuse_unknown(only: Sequence[str], state: Sequence[str], action: Sequence[str]) -> None:
    names = list(dict.fromkeys((*state, *action)))
    if unknown := [name for name in only if name not in names]:
        raise ConfigError('only', unknown, f'names of numbers: {names}')
    if len({*only}) < len(only) or not {*only} & {*state}:
        raise ConfigError('only', list(only), f'each name once, some of the state: {list(state)}')


def _side(
    columns: tuple[str, ...], names: Sequence[str], only: Sequence[str], choice: SetChoice,
    unpaired: Side | None = None,
) -> Side:  # fmt: skip
    """The chosen numbers, in the order in which they are chosen, else as they lie.

    An opening that the action calls otherwise than the state is chosen by either name.
    """
    order = list(range(len(names)))
    if only:
        wanted = list(only)
        if unpaired is not None:
            found = openings(names, choice)
            if len(found) == len(unpaired.gripper):
                called = dict(zip(unpaired.opened, (names[n] for n in found), strict=True))
                wanted = [name if name in names else called.get(name, name) for name in wanted]
        order = [names.index(name) for name in wanted if name in names]
    chosen = tuple(names[place] for place in order)
    return Side(columns, chosen, tuple(order), openings(chosen, choice))


def _ordered(side: Side, choice: SetChoice, told: list[str], what: str) -> Side:
    """With its openings at the end of the arm."""
    last = len(side.names) - 1
    if not side.gripper or last in side.gripper:
        return side
    listed = ', '.join(side.opened)
    if side.gripper[-1] - side.gripper[0] != len(side.gripper) - 1:
        if choice.gripper:
            raise ConfigError('gripper', list(side.opened), 'openings that end an arm each: name '
                              'the numbers in that order with --only NAME ...')  # fmt: skip
        told.append(f'{what}: {listed}, of which none is last, taken for joints in radians: '
                    '--only NAME ... with the opening of each arm behind its joints, or --gripper '
                    'none')  # fmt: skip
        return Side(side.columns, side.names, side.order)
    told.append(f'{what}: {listed} taken for the opening, and put behind the joints (--gripper '
                'none says otherwise)')  # fmt: skip
    order = [*(n for n in range(last + 1) if n not in side.gripper), *side.gripper]
    return _permuted(side, order)


def _permuted(side: Side, order: Sequence[int]) -> Side:
    return replace(side, names=tuple(side.names[n] for n in order),
                   order=tuple(side.order[n] for n in order),
                   gripper=tuple(place for place, n in enumerate(order) if n in side.gripper)
                   )  # fmt: skip


def _reads(read: Side) -> list[str]:
    """What an arm must have as joints, where actions do not say it."""
    if read.rotation:
        return []
    return [f'joints that are read: {", ".join(read.joints)}; the arm must have them all (--only '
            'NAME ... chooses)']  # fmt: skip


def _paired(moved: Side, read: Side, told: list[str]) -> Side:
    """With its openings called as the state calls them, where it has as many."""
    opened = [name for name in read.names if name in moved.names and name in read.opened]
    gripper = tuple(sorted({*moved.gripper, *(moved.names.index(name) for name in opened)}))
    # What the state has as a joint is none of the action's openings.
    gripper = tuple(n for n in gripper if moved.names[n] not in read.joints)
    moved = Side(moved.columns, moved.names, moved.order, gripper)
    if len(gripper) != len(read.gripper) or {*moved.opened} == {*read.opened}:
        return moved
    names = list(moved.names)
    for n, name in zip(gripper, read.opened, strict=True):
        names[n] = name
    told.append(f'{", ".join(moved.opened)} of the action is {", ".join(read.opened)} of the '
                'state')  # fmt: skip
    return Side(moved.columns, tuple(names), moved.order, gripper)


def _same_joints(read: Side, moved: Side, columns: tuple[str, ...], column: str) -> None:
    """Refuse joints that are only read or only moved."""
    beside = [name for name in read.joints if name not in moved.joints]
    unknown = [name for name in moved.joints if name not in read.joints]
    where = ', '.join(columns)
    if beside and not unknown and moved.joints:
        kept = [name for name in read.names if name not in beside]
        raise ConfigError(
            f'{where}: {", ".join(beside)}', 'read, and moved by no action', 'joints that are '
            'read and moved, since an arm is run with one list of them: --only '
            f'{" ".join(dict.fromkeys((*kept, *moved.opened)))}',
        )  # fmt: skip
    if beside or unknown:
        said = ' '.join(read.names) if len(read.names) == len(moved.names) else 'NAME ...'
        raise ConfigError(
            f'names of {column}', list(moved.names), f'those of {where}, {list(read.names)}, so '
            'that each number is known by its name: --action-names with a name of the state for '
            f'each number of an action, in its order (--action-names {said} where both have one '
            'order), or --action-space eef_delta where it moves no joints',
        )  # fmt: skip


def _following(moved: Side, read: Side, column: str, told: list[str]) -> Side:
    """In the order of the state; openings that the state lacks end the arm."""
    names = list(moved.names)
    order = [names.index(name) for name in read.names if name in names]
    extra = [n for n in range(len(names)) if n not in order]
    if extra and moved.joints == read.joints and len(names) - 1 in moved.gripper:
        return moved
    if len(extra) > 1:
        raise ConfigError('only', [], 'names in the order of the arm, its opening last: '
                          f'{column} has {names}, the state {list(read.names)}')  # fmt: skip
    found = _permuted(moved, [*order, *extra])
    if found.order != tuple(range(len(names))):
        told.append(f'{column}: {", ".join(names)} put into the order of the state: '
                    f'{", ".join(found.names)}')  # fmt: skip
    return found
