"""How a data set of any robot is read: which columns, in which units, into which actions.

What the set does not say is taken from its names and numbers, and told; what cannot be guessed is
asked for, all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import StateSource
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.action_space import Follows, follow, guess_space
from dysl_vla_ros.lab.data.dataset_format import IMAGE
from dysl_vla_ros.lab.data.gripper_ends import gripper_ends
from dysl_vla_ros.lab.data.joint_order import Layout
from dysl_vla_ros.lab.data.joint_units import JointUnits, joint_units, refuse_other_units
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.data.pose_units import refuse_other_pose_units
from dysl_vla_ros.lab.data.set_cameras import camera_shapes
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.data.set_columns import joined_names
from dysl_vla_ros.lab.data.side import Side
from dysl_vla_ros.lab.data.turns import Turn, turn_from
from dysl_vla_ros.lab.data.turns_of_set import action_turn, alike_turned, state_turn, turned
from dysl_vla_ros.lab.model.shapes import CameraShape

_LONGEST_STEP = 0.2
"""No hand moves farther in one action [m]."""
_CHUNK_S = 0.5


@dataclass(frozen=True)
class Numbers:
    """How stored numbers become the policy's: ``stored * gain + offset``, behind ``turn``.

    Attributes:
        columns: They come from, joined.
        names: Of each number.
        gain: Per number.
        offset: Per number.
        gripper: Places of openings.
        order: Place of each number in the joined columns; () is as they lie.
        stored: What the set calls each number.
        farthest: How far each number of the set goes from 0, as stored.
        turn: How a rotation is read as a vector; None where it is none, or one already.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    gripper: tuple[int, ...]
    order: tuple[int, ...] = ()
    stored: tuple[str, ...] = ()
    farthest: tuple[float, ...] = ()
    turn: Turn | None = None

    def stored_of(self, numbers: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Numbers of an episode as they are stored, (frames, size), in the order of the names.

        Rotations are vectors already.
        """
        joined = np.concatenate([numbers[name] for name in self.columns], axis=1)
        found = joined[:, list(self.order)] if self.order else joined
        return found if self.turn is None else self.turn.read(found, numbers).astype(np.float32)

    def read(self, numbers: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Numbers of an episode, (frames, size), in radians and openings."""
        found: NDArray[np.float32] = (
            self.stored_of(numbers) * np.asarray(self.gain) + np.asarray(self.offset)
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

    @property
    def played(self) -> int:
        """Actions of a chunk before the next one takes over, as in the node: half of them."""
        return max(self.horizon // 2, 1)

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return asdict(self)


def reading_from(values: Mapping[str, Any]) -> Reading:
    """The inverse of ``as_json``, after JSON."""

    def numbers(found: Mapping[str, Any]) -> Numbers:
        parts = {name: tuple(part) for name, part in found.items() if name != 'turn'}
        return Numbers(**parts, turn=turn_from(found.get('turn')))

    cameras = tuple(CameraShape(**camera) for camera in values['cameras'])
    return Reading(**{**values, 'state': numbers(values['state']),
                      'action': numbers(values['action']), 'cameras': cameras,
                      'told': tuple(values['told'])})  # fmt: skip


Arrays = Sequence[NDArray[np.float32]]
Rows = Sequence[Mapping[str, NDArray[np.float32]]]


def settle(data: LerobotSet, layout: Layout, choice: SetChoice, rows: Rows) -> Reading:
    """How the set is read.

    Args:
        data: The set.
        layout: Its numbers, matched.
        choice: What the user says.
        rows: Numbers of every episode, with the columns of the layout.

    Raises:
        ConfigError: The set contradicts the choice.
    """
    read, moved = layout.state, layout.action
    told = list(layout.told)
    turn, other = state_turn(read, rows), state_turn(moved, rows)
    states = [turned(read, part, turn) for part in rows]
    actions = [turned(moved, part, other) for part in rows]
    source: StateSource = 'joints'
    if read.rotation:
        source = 'eef_rpy' if read.rotation == 'angles' else 'eef_axis_angle'
    refuse_other_pose_units(read, states, scalable=False)
    units = joint_units(layout, choice, states, actions, source == 'joints', told)
    follows = _followed(layout, choice, *alike_turned(read, moved, states, actions), units)
    space = choice.space or guess_space(follows, layout.kind, told)
    if space == 'eef_pose' and not choice.action_scale:
        refuse_other_pose_units(moved, actions, scalable=True)
    if layout.kind == 'joint' and follows is not None:
        refuse_other_units(layout, choice, units, follows, space == 'joint_position', told)
    ends = gripper_ends(choice, states, actions, read.names, moved.names, read.gripper,
                        moved.gripper, space, told)  # fmt: skip
    called = _called(read, choice)
    state = replace(_numbers('state', read, called, units.state, ends), turn=turn)
    same = layout.kind == 'joint'
    action = _numbers('action', moved, called if same else {}, units.action, ends)
    action = replace(action, turn=action_turn(layout, space, rows, _factors(action, choice), told))
    action = _scaled(action, choice, space, actions, told)
    state, action = _kept(data, state, rows), _kept(data, action, rows)
    shapes, columns = camera_shapes(data, choice)
    horizon = choice.horizon or int(np.clip(round(_CHUNK_S * data.fps), 8, 32))
    told.append(f'reads {", ".join(state.names)}; pictures {_shown(columns)}')
    told.append(f'{space}, chunks of {horizon} actions at {data.fps:g} Hz')
    return Reading(state, action, shapes, columns, space, source, data.fps, horizon,
                   choice.held_out, choice.seed, tuple(told))  # fmt: skip


def _shown(columns: Mapping[str, str]) -> str:
    """Names of pictures, each with the set's where that is another."""
    own = {name: column.removeprefix(IMAGE) for name, column in columns.items()}
    return ', '.join(name if set_name == name else f'{name} ({set_name})'
                     for name, set_name in own.items())  # fmt: skip


def _followed(
    layout: Layout, choice: SetChoice, states: Arrays, actions: Arrays, units: JointUnits
) -> Follows | None:
    """How the state follows actions, openings aside; None where they are other numbers."""
    read, moved = layout.state, layout.action
    if read.rotation and moved.rotation:  # the same six quantities, whatever they are called
        places = others = list(range(6))
    elif not moved.joints or not {*moved.joints} <= {*read.joints}:
        if len(read.names) != len(moved.names):
            return None
        places = others = list(range(len(read.names)))
    else:
        places = [read.names.index(name) for name in moved.joints]
        others = [moved.names.index(name) for name in moved.joints]
    scale = units.action * np.ones(len(others))
    if len(choice.action_scale) == len(others):
        scale = scale * np.asarray(choice.action_scale)
    return follow([part[:, places] * units.state for part in states],
                  [part[:, others] * scale for part in actions])  # fmt: skip


def farthest(values: Arrays) -> tuple[float, ...]:
    """How far each number goes from 0, of episodes of (frames, size)."""
    reach = np.max([np.abs(part).max(axis=0) for part in values], axis=0)
    return tuple(float(number) for number in reach)


def _factors(action: Numbers, choice: SetChoice) -> tuple[float, ...]:
    """What --action-scale says of each number that is no opening; () for nothing."""
    motion = [name for n, name in enumerate(action.names) if n not in action.gripper]
    if choice.action_scale and len(choice.action_scale) != len(motion):
        raise ConfigError('action-scale', choice.action_scale, f'{len(motion)} numbers, of '
                          f'{", ".join(motion)}')  # fmt: skip
    return choice.action_scale


def _scaled(
    action: Numbers, choice: SetChoice, space: str, values: Sequence[NDArray[np.float32]],
    told: list[str],
) -> Numbers:  # fmt: skip
    """Actions in metres and radians, as far as the user or the numbers say."""
    motion = [n for n in range(len(action.names)) if n not in action.gripper]
    if choice.action_scale:
        gain = list(action.gain)
        for place, factor in zip(motion, choice.action_scale, strict=True):
            # Angles are scaled before they become a vector.
            if place < 3 or action.turn is None or action.turn.kind == 'quaternion':
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
    kind: str, side: Side, called: Mapping[str, str], factor: float,
    ends: Mapping[str, tuple[float, float]],
) -> Numbers:  # fmt: skip
    gain, offset = np.full(len(side.names), factor), np.zeros(len(side.names))
    for place in side.gripper:
        closed, opened = ends[f'{kind} {place}']
        gain[place] = 1.0 / (opened - closed)
        offset[place] = -closed / (opened - closed)
    names = tuple(called.get(name, name) for name in side.names)
    return Numbers(side.columns, names, tuple(gain.tolist()), tuple(offset.tolist()),
                   side.gripper, side.order)  # fmt: skip


def _kept(data: LerobotSet, numbers: Numbers, rows: Rows) -> Numbers:
    """With what a later set is compared with: names of the set, and how far its numbers go."""
    names = joined_names(data, numbers.columns)
    return replace(numbers, stored=tuple(names[place] for place in numbers.order),
                   farthest=farthest([numbers.stored_of(part) for part in rows]))  # fmt: skip


def _called(read: Side, choice: SetChoice) -> dict[str, str]:
    """Name of the set -> of the robot, of each joint that has another one."""
    if choice.joint_names and len(choice.joint_names) != len(read.joints):
        raise ConfigError('joint-names', choice.joint_names, f'{len(read.joints)} names, of '
                          f'{", ".join(read.joints)}')  # fmt: skip
    names = choice.joint_names or read.joints
    if len({*names}) < len(names) or not all(names):
        raise ConfigError('joint-names', list(names), 'a name for each joint, none twice')
    return dict(zip(read.joints, choice.joint_names, strict=False))
