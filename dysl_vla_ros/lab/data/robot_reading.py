"""How a data set of any robot is read: which columns, in which units, into which actions.

What the set does not say is taken from its names and numbers, and told; what cannot be guessed is
asked for, all at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import StateSource
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.action_space import POSE, guess_space, same_numbers, unit_factor
from dysl_vla_ros.lab.data.gripper_ends import gripper_ends
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.data.set_cameras import camera_shapes
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.data.set_columns import columns_needed, names_of, openings
from dysl_vla_ros.lab.model.shapes import CameraShape

_EULER = re.compile('roll|rpy', re.IGNORECASE)
_LONGEST_STEP = 0.2
"""No hand moves farther in one action [m]."""
_CHUNK_S = 0.5


@dataclass(frozen=True)
class Numbers:
    """How stored numbers become the policy's: ``stored * gain + offset``.

    Attributes:
        columns: They come from, joined.
        names: Of each number.
        gain: Per number.
        offset: Per number.
        gripper: Places of openings.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    gripper: tuple[int, ...]

    def read(self, numbers: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Numbers of an episode, (frames, size), in radians and openings."""
        joined = np.concatenate([numbers[name] for name in self.columns], axis=1)
        found: NDArray[np.float32] = (
            joined * np.asarray(self.gain) + np.asarray(self.offset)
        ).astype(np.float32)
        if self.gripper:
            places = list(self.gripper)
            found[:, places] = np.clip(found[:, places], 0.0, 1.0)
        return found


@dataclass(frozen=True)
class Reading:
    """How a set is read, settled; lies on the checkpoint's card, so that later commands agree.

    Attributes:
        state: Proprioception.
        action: Actions.
        cameras: Name and size of each picture.
        columns: Camera -> column of the set.
        space: Of the actions.
        source: What the proprioception is made of.
        fps: Of the set, and so of the actions.
        horizon: Actions per chunk.
        held_out: Share of episodes.
        seed: Of what is held out.
        told: What was guessed, in words.
    """

    state: Numbers
    action: Numbers
    cameras: tuple[CameraShape, ...]
    columns: Mapping[str, str]
    space: ActionSpace
    source: StateSource
    fps: float
    horizon: int
    held_out: float
    seed: int
    told: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return asdict(self)


def reading_from(values: Mapping[str, Any]) -> Reading:
    """The inverse of ``as_json``, after JSON."""

    def numbers(found: Mapping[str, Any]) -> Numbers:
        return Numbers(**{name: tuple(part) for name, part in found.items()})

    cameras = tuple(CameraShape(**camera) for camera in values['cameras'])
    return Reading(**{**values, 'state': numbers(values['state']),
                      'action': numbers(values['action']), 'cameras': cameras,
                      'told': tuple(values['told'])})  # fmt: skip


Rows = Sequence[Mapping[str, NDArray[np.float32]]]


def settle(data: LerobotSet, choice: SetChoice, rows: Rows) -> Reading:
    """How the set is read.

    Args:
        data: The set.
        choice: What the user says.
        rows: Numbers of every episode, with the columns of ``columns_needed``.

    Raises:
        ConfigError: The set contradicts the choice.
    """
    state_columns, action_column = columns_needed(data, choice)
    told: list[str] = []
    state_names = [name for c in state_columns for name in names_of(c, data.columns[c])]
    action_names = list(names_of(action_column, data.columns[action_column]))
    states = [np.concatenate([part[c] for c in state_columns], axis=1) for part in rows]
    actions = [part[action_column] for part in rows]
    if len(state_names) == len(action_names) and not data.columns[action_column].names:
        action_names = state_names
    space = choice.space or guess_space(same_numbers(states, state_names, action_names), actions,
                                        action_names, told)  # fmt: skip
    everything = np.concatenate(states)
    grippers = openings(state_names, choice)
    moving = openings(action_names, choice)
    source: StateSource = 'joints'
    if space.startswith('eef') and POSE.match(state_names[0]):
        rolled = any(_EULER.search(name) for name in state_names)
        source = 'eef_rpy' if rolled else 'eef_axis_angle'
    factor = unit_factor(choice.units, everything, grippers, source, told)
    ends = gripper_ends(choice, states, actions, state_names, action_names, grippers, moving,
                        space, told)  # fmt: skip
    renamed = _renamed(state_names, grippers, choice)
    state = _numbers('state', state_columns, renamed, grippers,
                     factor if source == 'joints' else 1.0, ends)  # fmt: skip
    scale = 1.0 if space.startswith('eef') else factor
    same = len(action_names) == len(renamed) and not space.startswith('eef')
    action = _numbers('action', (action_column,), renamed if same else action_names, moving,
                      scale, ends)  # fmt: skip
    action = _scaled(action, choice, space, actions, told)
    shapes, columns = camera_shapes(data, choice)
    horizon = choice.horizon or int(np.clip(round(_CHUNK_S * data.fps), 8, 32))
    told.append(f'{space}, chunks of {horizon} actions at {data.fps:g} Hz')
    return Reading(state, action, shapes, columns, space, source, data.fps, horizon,
                   choice.held_out, choice.seed, tuple(told))  # fmt: skip


def _scaled(
    action: Numbers, choice: SetChoice, space: str, values: Sequence[NDArray[np.float32]],
    told: list[str],
) -> Numbers:  # fmt: skip
    """Actions in metres and radians, as far as the user or the numbers say."""
    motion = [n for n in range(len(action.names)) if n not in action.gripper]
    if choice.action_scale:
        if len(choice.action_scale) != len(motion):
            raise ConfigError('action-scale', choice.action_scale, f'{len(motion)} numbers, of '
                              f'{", ".join(action.names[n] for n in motion)}')  # fmt: skip
        gain = list(action.gain)
        for place, factor in zip(motion, choice.action_scale, strict=True):
            gain[place] *= factor
        return replace(action, gain=tuple(gain))
    if space == 'eef_delta':
        step = float(np.abs(np.concatenate(values)[:, motion[:3]]).max())
        if step > _LONGEST_STEP:
            told.append(f'increments up to {step:.2g} are no metres per action: before an arm '
                        'moves by them give --action-scale (LIBERO: 0.05 0.05 0.05 0.5 0.5 '
                        '0.5)')  # fmt: skip
    return action


def _numbers(
    kind: str, columns: tuple[str, ...], names: Sequence[str], grippers: tuple[int, ...],
    factor: float, ends: Mapping[str, tuple[float, float]],
) -> Numbers:  # fmt: skip
    gain, offset = np.full(len(names), factor), np.zeros(len(names))
    for place in grippers:
        closed, opened = ends[f'{kind} {place}']
        gain[place] = 1.0 / (opened - closed)
        offset[place] = -closed / (opened - closed)
    return Numbers(columns, tuple(names), tuple(gain.tolist()), tuple(offset.tolist()), grippers)


def _renamed(
    names: Sequence[str], grippers: tuple[int, ...], choice: SetChoice
) -> tuple[str, ...]:
    joints = [n for n in range(len(names)) if n not in grippers]
    if not choice.joint_names:
        return tuple(names)
    if len(choice.joint_names) != len(joints):
        raise ConfigError('joint-names', choice.joint_names, f'{len(joints)} names, of '
                          f'{", ".join(names[n] for n in joints)}')  # fmt: skip
    found = list(names)
    for place, name in zip(joints, choice.joint_names, strict=True):
        found[place] = name
    return tuple(found)
