"""A pose put into the order that the node gives and takes it in, by the names of its numbers.

What could be trained on and never be exported (a rotation of six numbers, numbers beside the pose)
is refused here, before a row is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.pose_names import ANGLES, RIGHT, VECTOR, Rotation, find_pose
from dysl_vla_ros.lab.data.side import Side

_SIZE = 6
_CALLED: dict[Rotation, str] = {'angles': 'roll, pitch and yaw', 'quaternion': 'a quaternion',
                                'vector': 'a rotation vector'}  # fmt: skip


def posed(side: Side, where: str, told: list[str], moves: bool = False) -> Side:
    """Position, rotation, openings, in this order.

    Args:
        side: Numbers of which those that are no openings are a pose, or its increments.
        where: Its columns.
        told: What is read otherwise than it lies is added to it.
        moves: Whether they are actions, which have one opening at most.

    Raises:
        ConfigError: They are more, or others, than a bundle can have.
    """
    motion = [n for n in range(len(side.names)) if n not in side.gripper]
    names = [side.names[n] for n in motion]
    pose = find_pose(names)
    if pose is not None and pose.others:
        kept = [names[n] for n in (*pose.position, *pose.turn)]
        beside = ', '.join(names[n] for n in pose.others)
        raise ConfigError(
            f'{where}: {beside}', 'beside the pose of the end effector',
            'a pose and an opening, or joints, since no bundle has both: --only '
            f'{" ".join((*kept, *side.opened))}',
        )  # fmt: skip
    if moves and len(side.gripper) > 1:
        raise ConfigError(
            f'{where}: {", ".join(side.opened)}', 'openings',
            'one at most, where actions move the end effector: --gripper NAME, and --only without '
            'the others',
        )  # fmt: skip
    if pose is None:
        _refuse_unclear(where, names, moves and not side.gripper)
        told.append(f'{where}: {", ".join(names[3:])} taken for {_CALLED["vector"]} in radians, '
                    'about the axes of the base')  # fmt: skip
        return _put(side, motion, 'vector', VECTOR if moves else names[3:])
    order = [motion[n] for n in (*pose.position, *pose.turn)]
    if order != motion:
        told.append(f'{where}: {", ".join(names)} read by name, as '
                    f'{", ".join(side.names[n] for n in order)}')  # fmt: skip
    if pose.rotation == 'quaternion':
        told.append(f'{where}: {_CALLED["quaternion"]} read as {_CALLED["vector"]}')
    as_stored = not moves and pose.rotation != 'quaternion'
    return _put(side, order, pose.rotation,
                [side.names[n] for n in order[3:]] if as_stored else VECTOR)  # fmt: skip


def _refuse_unclear(where: str, names: Sequence[str], closed: bool) -> None:
    unclear = [name for name in names if ANGLES.search(name)]
    if len(names) != _SIZE or unclear:
        last = closed and len(names) == _SIZE + 1
        raise ConfigError(
            f'names of {where}', list(names), f'{RIGHT}, by these names, and an opening'
            + (f' (--gripper {names[-1]}, where the last is one)' if last else '') +
            ': other rotations (of 6 or 9 numbers) are converted first; --only NAME ... leaves '
            'numbers out, --state and --action name other columns',
        )  # fmt: skip


def _put(side: Side, motion: Sequence[int], rotation: Rotation, turn: Sequence[str]) -> Side:
    names = [*(side.names[n] for n in motion[:3]), *turn]
    openings = tuple(range(len(names), len(names) + len(side.gripper)))
    return Side(side.columns, (*names, *side.opened),
                tuple(side.order[n] for n in (*motion, *side.gripper)), openings,
                rotation)  # fmt: skip
