"""How a data set of any robot is read: which columns, in which units, into which actions.

What the set does not say is taken from its names and numbers, and told; what cannot be guessed is
asked for, all at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import StateSource
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError, as_list
from dysl_vla_ros.lab.data.dataset_format import ACTION, STATE
from dysl_vla_ros.lab.data.lerobot import Column, LerobotSet, plain_name
from dysl_vla_ros.lab.model.shapes import PATCH, CameraShape

Units = Literal['auto', 'radians', 'degrees', 'as-stored']
UNITS: tuple[Units, ...] = ('auto', 'radians', 'degrees', 'as-stored')
_TURN = 2.0 * np.pi
"""A joint seldom stands farther from 0 [rad]."""
OPENING = re.compile('grip|finger|jaw', re.IGNORECASE)
_POSE = re.compile(r'^(eef_|ee_|d|delta_)?(x|pos_x|x_pos)$', re.IGNORECASE)
_EULER = re.compile('roll|rpy', re.IGNORECASE)
_LATER = 6
"""Frames after which a gripper's command shows in its position."""
_LONGEST_STEP = 0.2
"""No hand moves farther in one action [m]."""
_CHUNK_S = 0.5


@dataclass(frozen=True)
class SetChoice:
    """What the user says of a set; empty leaves it to the set.

    Attributes:
        cameras: Pictures, without ``observation.images.``; ``name=picture`` renames one.
        state: Columns that make the proprioception.
        action: Column of the actions.
        space: Of the actions.
        gripper: Names of the numbers that are openings; ``none`` for none.
        gripper_range: Closed and open, in the set's units.
        action_scale: Metres and radians of each number of an action that is no opening.
        units: Of the joints.
        joint_names: Other names for the joints, in order.
        horizon: Actions per chunk.
        image_size: Shorter side of a picture as the policy sees it [pixels].
        held_out: Share of the episodes that is held out.
        max_frames: Frames loaded, evenly spread.
        seed: Of what is held out.
    """

    cameras: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    action: str = ''
    space: ActionSpace | Literal[''] = ''
    gripper: tuple[str, ...] = ()
    gripper_range: tuple[float, float] | None = None
    action_scale: tuple[float, ...] = ()
    units: Units = 'auto'
    joint_names: tuple[str, ...] = ()
    horizon: int = 0
    image_size: int = 96
    held_out: float = 0.1
    max_frames: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would read nothing."""
        if self.horizon and not 2 <= self.horizon <= 200:
            raise ConfigError('horizon', self.horizon, 'actions per chunk, 2 to 200')
        if not PATCH <= self.image_size <= 512:
            raise ConfigError('image-size', self.image_size, f'{PATCH} to 512 pixels')
        if not 0.0 < self.held_out < 1.0:
            raise ConfigError('held-out', self.held_out, 'a share of the episodes, above 0 and '
                              'below 1')  # fmt: skip
        if self.gripper_range is not None and self.gripper_range[0] == self.gripper_range[1]:
            raise ConfigError('gripper-range', self.gripper_range, 'two different numbers: closed '
                              'and open')  # fmt: skip


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
    if not data.cameras:
        lacking.append('pictures: no column of images or videos')
    for _, name in _pairs(data, choice):
        if not data.picture(name):
            lacking.append(f'picture {name!r}: it has {sorted(data.cameras)}; --cameras NAME ...')
    if choice.gripper and choice.gripper != ('none',):
        known = {name for column in (*state, action) if column in numeric
                 for name in _names(column, numeric[column])}  # fmt: skip
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
    state_names = [name for c in state_columns for name in _names(c, data.columns[c])]
    action_names = list(_names(action_column, data.columns[action_column]))
    states = [np.concatenate([part[c] for c in state_columns], axis=1) for part in rows]
    actions = [part[action_column] for part in rows]
    if len(state_names) == len(action_names) and not data.columns[action_column].names:
        action_names = state_names
    space = choice.space or guess_space(_same(states, state_names, action_names), actions,
                                        action_names, told)  # fmt: skip
    everything = np.concatenate(states)
    grippers = _grippers(state_names, choice)
    moving = _grippers(action_names, choice)
    source: StateSource = 'joints'
    if space.startswith('eef') and _POSE.match(state_names[0]):
        rolled = any(_EULER.search(name) for name in state_names)
        source = 'eef_rpy' if rolled else 'eef_axis_angle'
    factor = _factor(choice.units, everything, grippers, source, told)
    ends = _ends(choice, states, actions, state_names, action_names, grippers, moving, space, told)
    renamed = _renamed(state_names, grippers, choice)
    state = _numbers('state', state_columns, renamed, grippers,
                     factor if source == 'joints' else 1.0, ends)  # fmt: skip
    scale = 1.0 if space.startswith('eef') else factor
    same = len(action_names) == len(renamed) and not space.startswith('eef')
    action = _numbers('action', (action_column,), renamed if same else action_names, moving,
                      scale, ends)  # fmt: skip
    action = _scaled(action, choice, space, actions, told)
    shapes, columns = _cameras(data, choice)
    horizon = choice.horizon or int(np.clip(round(_CHUNK_S * data.fps), 8, 32))
    told.append(f'{space}, chunks of {horizon} actions at {data.fps:g} Hz')
    return Reading(state, action, shapes, columns, space, source, data.fps, horizon,
                   choice.held_out, choice.seed, tuple(told))  # fmt: skip


def guess_space(
    states: Sequence[NDArray[np.float32]], actions: Sequence[NDArray[np.float32]],
    names: Sequence[str], told: list[str],
) -> ActionSpace:  # fmt: skip
    """Absolute or increments, by what comes after an action; joints or end effector, by names."""
    pose = bool(names) and bool(_POSE.match(names[0]))
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


def _same(
    states: Sequence[NDArray[np.float32]], state: Sequence[str], action: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Of the states, the numbers that actions have too, where they have the same names."""
    if not {*action} <= {*state}:
        return list(states)
    places = [list(state).index(name) for name in action]
    return [part[:, places] for part in states]


def _names(column: str, described: Column) -> tuple[str, ...]:
    """Of the numbers of a column; where it has none, by number."""
    size = int(np.prod(described.shape))
    if len(described.names) == size:
        plain = [name.removesuffix('.pos') for name in described.names]
        return tuple(name if name not in plain[:place] else f'{name}_{place + 1}'
                     for place, name in enumerate(plain))  # fmt: skip
    stem = 'action' if column.startswith('action') else 'joint'
    return tuple(f'{stem}_{number}' for number in range(1, size + 1))


def _grippers(names: Sequence[str], choice: SetChoice) -> tuple[int, ...]:
    """Places of openings; one that does not end an arm is taken for a joint."""
    if choice.gripper == ('none',):
        return ()
    if choice.gripper:
        return tuple(n for n, name in enumerate(names) if name in choice.gripper)
    found = [n for n, name in enumerate(names) if OPENING.search(name)]
    if not found or found[-1] != len(names) - 1:
        return ()
    return tuple(found)


def _factor(
    units: Units, states: NDArray[np.float32], grippers: tuple[int, ...], source: str,
    told: list[str],
) -> float:  # fmt: skip
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


def _ends(
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


def _cameras(
    data: LerobotSet, choice: SetChoice
) -> tuple[tuple[CameraShape, ...], dict[str, str]]:
    """Sizes that patches divide, near the picture's own shape; names without dots and slashes."""
    shapes, columns = [], {}
    for plain, name in _pairs(data, choice):
        column = data.picture(name)
        rows, across = _picture_size(data.columns[column])
        small = max(min(choice.image_size, rows, across) // PATCH, 1) * PATCH
        height = width = small
        if across > rows:
            width = max(round(small * across / rows / PATCH), 1) * PATCH
        else:
            height = max(round(small * rows / across / PATCH), 1) * PATCH
        shapes.append(CameraShape(plain, height, min(width, across // PATCH * PATCH or PATCH)))
        columns[plain] = column
    return tuple(shapes), columns


def _pairs(data: LerobotSet, choice: SetChoice) -> list[tuple[str, str]]:
    """Name for the policy, and picture of the set; depth is left out."""
    if not choice.cameras:
        seen = [name for name in data.cameras if 'depth' not in name.lower()]
        return [(plain_name(name), name) for name in seen or data.cameras]
    pairs = [text.rpartition('=') for text in choice.cameras]
    return [(plain_name(given or name), name) for given, _, name in pairs]


def _picture_size(column: Column) -> tuple[int, int]:
    """Rows and columns: stored channels last, or first, as in some sets."""
    shape = column.shape
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        return shape[1], shape[2]
    return (shape[0], shape[1]) if len(shape) >= 2 else (PATCH, PATCH)
