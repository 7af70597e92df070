"""Which columns of a data set are its state and its actions, and what their numbers are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from dysl_vla_ros.errors import ConfigError, as_list
from dysl_vla_ros.lab.data.dataset_format import ACTION, STATE
from dysl_vla_ros.lab.data.lerobot import Column, LerobotSet
from dysl_vla_ros.lab.data.set_cameras import camera_pairs
from dysl_vla_ros.lab.data.set_choice import SetChoice

OPENING = re.compile('grip|finger|jaw', re.IGNORECASE)


def columns_needed(data: LerobotSet, choice: SetChoice) -> tuple[tuple[str, ...], str]:
    """Columns of state and action.

    Raises:
        ConfigError: Lists everything that the set lacks, and the option that would name it.
    """
    state = choice.state or (data.column(STATE, 'state'),)
    action = choice.action or data.column(ACTION, 'actions')
    numeric = {name: column for name, column in data.columns.items()
               if not column.picture and column.dtype.startswith(('float', 'int'))}  # fmt: skip
    lacking = []
    for what, name, option in (*(('joints', name, '--state COLUMN ...') for name in state),
                               ('actions', action, '--action COLUMN')):  # fmt: skip
        if name not in numeric:
            lacking.append(f'{what}: no column {name!r} of numbers among {sorted(numeric)}; '
                           f'{option}')  # fmt: skip
    if choice.action_names and action in numeric:
        size = len(names_of(action, numeric[action]))
        if len(choice.action_names) != size or len({*choice.action_names}) != size:
            lacking.append(f'action-names: {size} different names, of '
                           f'{", ".join(names_of(action, numeric[action]))}')  # fmt: skip
    if not data.cameras:
        lacking.append('pictures: no column of images or videos')
    for _, name in camera_pairs(data, choice):
        if not data.picture(name):
            lacking.append(f'picture {name!r}: it has {sorted(data.cameras)}; --cameras NAME ...')
    if choice.gripper and choice.gripper != ('none',):
        known = {name for column in (*state, action) if column in numeric
                 for name in names_of(column, numeric[column])}  # fmt: skip
        known |= {*choice.action_names}
        lacking += [f'gripper {name!r}: its numbers are {sorted(known)}; --gripper NAME'
                    for name in choice.gripper if name not in known]  # fmt: skip
    if len(data.episodes) < 2:
        lacking.append('episodes: one; at least 2, of which one is held out')
    if lacking:
        listed = as_list(lacking)
        raise ConfigError(
            str(data.folder),
            f'a set of {data.robot} that lacks {len(lacking)} of what is needed',
            f'joints, actions, pictures, episodes: {listed}',
        )
    return state, action


def names_of(column: str, described: Column) -> tuple[str, ...]:
    """Of the numbers of a column; where it has none, by number."""
    size = int(np.prod(described.shape))
    if len(described.names) == size:
        return _each_once([name.removesuffix('.pos') for name in described.names])
    stem = 'action' if column.startswith('action') else 'joint'
    return tuple(f'{stem}_{number}' for number in range(1, size + 1))


def joined_names(data: LerobotSet, columns: Sequence[str]) -> tuple[str, ...]:
    """Of the numbers of several columns, each once."""
    return _each_once([name for column in columns
                       for name in names_of(column, data.columns[column])])  # fmt: skip


def _each_once(names: Sequence[str]) -> tuple[str, ...]:
    """Names; one that was there before gets its place behind it."""
    return tuple(name if name not in names[:place] else f'{name}_{place + 1}'
                 for place, name in enumerate(names))  # fmt: skip


def openings(names: Sequence[str], choice: SetChoice) -> tuple[int, ...]:
    """Places of openings, by their names."""
    if choice.gripper == ('none',):
        return ()
    if choice.gripper:
        return tuple(n for n, name in enumerate(names) if name in choice.gripper)
    return tuple(n for n, name in enumerate(names) if OPENING.search(name))
