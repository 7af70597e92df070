"""A set that is read as another one was: the same numbers by name, in the same units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.data.robot_reading import Numbers, Reading, Rows, farthest
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.data.set_columns import columns_needed, joined_names
from dysl_vla_ros.lab.data.set_facts import as_written

_OTHER_UNITS = 15.0
"""No robot's sets differ so much in how far its joints go; degrees and radians do by 57."""
_TURN = 2.0 * np.pi


def alike(data: LerobotSet, known: Reading) -> Reading:
    """How the set is read, as far as its description says; ``same_units`` looks at the numbers.

    Args:
        data: A set.
        known: How the checkpoint's was read.

    Raises:
        ConfigError: It is another robot's: rate, pictures, names or sizes.
    """
    if data.fps != known.fps:
        raise ConfigError(f'{data.folder}: fps', data.fps, f'{known.fps:g}, as the set that the '
                          'checkpoint was trained on')  # fmt: skip
    missing = [column for column in known.columns.values() if not data.picture(column)]
    if missing:
        raise ConfigError(
            f'{data.folder}: pictures',
            sorted(data.cameras),
            f'those that the checkpoint was trained on: {sorted(known.columns.values())}',
        )
    cameras = tuple(f'{name}={column}' for name, column in known.columns.items())
    columns_needed(data, SetChoice(cameras, known.state.columns, known.action.columns[0]))
    told = ['read as the set of the checkpoint was']
    of_state = 'units' if known.source == 'joints' else ''
    of_action = 'action_units' if known.space.startswith('joint') else ''
    state = as_written(data.folder, _alike(data, known.state, told), of_state)
    action = as_written(data.folder, _alike(data, known.action, told), of_action)
    if action.turn is not None and action.turn.kind == 'steps':
        action = replace(action, turn=replace(action.turn, places=state.order[3:6]))
    return replace(known, state=state, action=action, told=tuple(dict.fromkeys((*told,
                   *known.told))))  # fmt: skip


def _alike(data: LerobotSet, known: Numbers, told: list[str]) -> Numbers:
    """The numbers of the set with the names that the checkpoint's had, or those of its robot."""
    names = joined_names(data, known.columns)
    where = ', '.join(known.columns)
    named = any(data.columns[column].names for column in known.columns)
    places = known.order or tuple(range(len(known.names)))
    whole = sorted(places) == list(range(len(places)))
    for wanted in (known.stored, known.names):
        fits = bool(wanted) and {*wanted} <= {*names}
        if not fits or (whole and not named and len(names) != len(wanted)):
            continue
        order = tuple(names.index(name) for name in wanted)
        if order != places:
            told.append(f'{where}: {", ".join(names)} read by name, as {", ".join(wanted)}')
        # What has the names of the robot already is what dysl import made of the set.
        return replace(known, order=order, stored=wanted,
                       turn=known.turn if wanted == known.stored else None)  # fmt: skip
    raise ConfigError(
        f'{data.folder}: names of {where}', list(names),
        f'the {len(places)} of the robot that the checkpoint was trained for: '
        f'{list(known.stored or known.names)}',
    )  # fmt: skip


def same_units(data: LerobotSet, reading: Reading, rows: Rows) -> None:
    """Refuse numbers that can only be of other units than the checkpoint's set had.

    Args:
        data: The set.
        reading: How it is read.
        rows: Numbers of every episode.

    Raises:
        ConfigError: Names the column, how far its numbers go, and how far they should.
    """
    for numbers in (reading.state, reading.action):
        found = farthest([numbers.stored_of(part) for part in rows])
        joints = [n for n in range(len(found)) if n not in numbers.gripper]
        angles = reading.source == 'joints' and (
            numbers is reading.state or reading.space.startswith('joint'))  # fmt: skip
        _compare(data, numbers, joints, found, angles)
        for place in numbers.gripper if numbers.farthest else ():
            if found[place] > _OTHER_UNITS * max(numbers.farthest[place], 1e-6):
                _refuse(data, numbers, [place], found[place], numbers.farthest[place], '')


def _compare(
    data: LerobotSet, numbers: Numbers, joints: Sequence[int], found: Sequence[float], angles: bool
) -> None:
    far = max((found[n] for n in joints), default=0.0)
    units = ''
    if angles and joints:
        units = 'degrees' if np.isclose(numbers.gain[joints[0]], np.pi / 180.0) else 'radians'
    if not numbers.farthest:  # a checkpoint of before they were kept
        if units == 'radians' and far > _TURN:
            _refuse(data, numbers, joints, far, _TURN, units)
        return
    known = max((numbers.farthest[n] for n in joints), default=0.0)
    if min(far, known) > 0 and not 1.0 / _OTHER_UNITS < far / known < _OTHER_UNITS:
        _refuse(data, numbers, joints, far, known, units)


def _refuse(
    data: LerobotSet, numbers: Numbers, places: Sequence[int], far: float, known: float, units: str
) -> None:
    names = ', '.join(numbers.names[n] for n in places)
    said = f', read as {units}' if units else ''
    right = 'in the same units'
    if units == 'radians':
        right += f': dysl import {data.folder} FOLDER --units degrees brings a set into radians'
    elif units == 'degrees':
        right += '; to mix units bring all sets into radians with dysl import, and train on those'
    raise ConfigError(
        f'{data.folder}: {", ".join(numbers.columns)} ({names})', f'up to {far:.3g}',
        f'up to about {known:.3g}{said}, as the set that the checkpoint was trained on, {right}',
    )  # fmt: skip
