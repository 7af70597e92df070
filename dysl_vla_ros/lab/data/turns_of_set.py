"""Which rotations of a set are read as vectors: those of quaternions, and of actions in angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.joint_order import Layout
from dysl_vla_ros.lab.data.side import Side
from dysl_vla_ros.lab.data.turns import Turn, are_differences, middle, quaternions

Array = NDArray[np.float32]
Rows = Sequence[Mapping[str, Array]]


def state_turn(side: Side, rows: Rows) -> Turn | None:
    """Of numbers that are read in any case: a quaternion's; angles are read as angles."""
    if side.rotation != 'quaternion':
        return None
    stored = np.concatenate([side.of(part)[:, 3:7] for part in rows])
    return Turn('quaternion', middle(stored))


def turned(side: Side, part: Mapping[str, Array], turn: Turn | None) -> Array:
    """Numbers of an episode, (frames, size), one for each name."""
    stored = side.of(part)
    return stored if turn is None else turn.read(stored, part).astype(np.float32)


def alike_turned(
    read: Side, moved: Side, states: Sequence[Array], actions: Sequence[Array]
) -> tuple[Sequence[Array], Sequence[Array]]:
    """State and action with rotations of one kind, where one has angles and the other has not."""
    if not read.rotation or (read.rotation == 'angles') == (moved.rotation == 'angles'):
        return states, actions
    sides = [states, actions]
    place = 0 if read.rotation == 'angles' else 1
    turn = Turn('angles', middle(quaternions(np.concatenate(sides[place])[:, 3:6])))
    sides[place] = [turn.read(part, {}).astype(np.float32) for part in sides[place]]
    return sides[0], sides[1]


def action_turn(
    layout: Layout, space: str, rows: Rows, factors: Sequence[float], told: list[str]
) -> Turn | None:
    """How the rotation of actions is read, once it is known whether they are increments.

    Args:
        layout: Names of the numbers.
        space: Of the actions.
        rows: Numbers of every episode.
        factors: Radians of 1.0, of each number that is no opening; empty for radians.
        told: What was decided is added to it.
    """
    read, moved = layout.state, layout.action
    if moved.rotation == 'quaternion':
        return state_turn(moved, rows)
    if moved.rotation != 'angles':
        return None
    where = ', '.join(moved.columns)
    said = [moved.of(part)[:, 3:6] for part in rows]
    scale = tuple(factors[3:6]) or (1.0, 1.0, 1.0)
    if space == 'eef_pose':
        told.append(f'{where}: roll, pitch and yaw read as a rotation vector')
        return Turn('angles', middle(quaternions(np.concatenate(said) * np.asarray(scale))), scale)
    known = read.rotation == 'angles'
    if known and are_differences([read.of(part)[:, 3:6] for part in rows], said):
        told.append(f'{where}: differences of roll, pitch and yaw, as those of the state show, '
                    'read as rotation vectors')  # fmt: skip
        return Turn('steps', scale=scale, columns=read.columns, places=read.order[3:6])
    told.append(f'{where}: increments called roll, pitch and yaw taken for a rotation vector '
                'about the axes of the base')  # fmt: skip
    return None
