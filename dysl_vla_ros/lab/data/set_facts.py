"""What ``dysl import`` knows of the numbers of the set that it writes, kept in ``meta/dysl.json``.

So that what the user said of the source is not guessed anew of the set that was made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.dataset_format import OURS, read_document
from dysl_vla_ros.lab.data.robot_reading import Numbers, Reading
from dysl_vla_ros.lab.data.set_choice import UNITS, SetChoice, Units

FACTS = 'numbers'
_OPENING = [0.0, 1.0]
_DEGREE = float(np.pi / 180.0)


def facts_of(reading: Reading, choice: SetChoice) -> dict[str, Any]:
    """Of a set that is written as it was read: in radians and openings, unless as stored."""

    def written(units: str) -> Units:
        return 'as-stored' if units == 'as-stored' else 'radians'

    def opened(numbers: Numbers) -> list[str]:
        return [numbers.names[place] for place in numbers.gripper]

    names = list(dict.fromkeys((*opened(reading.state), *opened(reading.action))))
    return {
        FACTS: {
            'action_space': reading.space,
            'units': written(choice.units),
            'action_units': written(choice.action_units or choice.units),
            'gripper': names or ['none'],
            'gripper_range': _OPENING,
        }
    }


def with_facts(folder: Path, choice: SetChoice) -> SetChoice:
    """A choice, with what the set says of itself where the user says nothing.

    Raises:
        ConfigError: The set says what cannot be.
    """
    path, found = folder / OURS, _facts_in(folder)
    changes: dict[str, Any] = {}
    if not choice.space and 'action_space' in found:
        changes['space'] = _one_of(path, found, 'action_space', get_args(ActionSpace))
    if choice.units == 'auto' and 'units' in found:
        changes['units'] = _one_of(path, found, 'units', UNITS)
    if not choice.action_units and choice.units == 'auto' and 'action_units' in found:
        changes['action_units'] = _one_of(path, found, 'action_units', UNITS)
    if not choice.gripper and (names := found.get('gripper')):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f'{path}: {FACTS}.gripper', names, 'names')
        changes['gripper'] = tuple(names)
    if choice.gripper_range is None and 'gripper_range' in found:
        changes['gripper_range'] = _pair(path, found['gripper_range'])
    return replace(choice, **changes)


def as_written(folder: Path, numbers: Numbers, units: str) -> Numbers:
    """How another set's numbers were read, for a set that says it is in radians and openings.

    Args:
        folder: Of the set.
        numbers: As the other set's were read.
        units: What the set calls the units of these; '' where they are no joints.
    """
    found = _facts_in(folder)
    gain, offset, reach = (list(part) for part in (numbers.gain, numbers.offset, numbers.farthest))
    for place in range(len(gain)):
        opening = place in numbers.gripper and found.get('gripper_range') == _OPENING
        turned = found.get(units) == 'radians' and bool(np.isclose(gain[place], _DEGREE))
        if not opening and not turned:
            continue
        if reach:
            reach[place] = 1.0 if opening else reach[place] * _DEGREE
        gain[place], offset[place] = 1.0, 0.0
    return replace(numbers, gain=tuple(gain), offset=tuple(offset), farthest=tuple(reach))


def _facts_in(folder: Path) -> Mapping[str, Any]:
    path = folder / OURS
    found = read_document(path, 'written by dysl').get(FACTS, {}) if path.is_file() else {}
    if not isinstance(found, Mapping):
        raise ConfigError(f'{path}: {FACTS}', found, 'an object, as dysl import writes it')
    return found


def _one_of(path: Path, found: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = found[name]
    if value not in known:
        raise ConfigError(f'{path}: {FACTS}.{name}', value, f'one of {", ".join(known)}')
    return str(value)


def _pair(path: Path, found: object) -> tuple[float, float]:
    if (
        isinstance(found, list)
        and [type(number) in (int, float) for number in found] == [True] * 2
    ):
        return float(found[0]), float(found[1])
    raise ConfigError(f'{path}: {FACTS}.gripper_range', found, 'two numbers: closed and open')
