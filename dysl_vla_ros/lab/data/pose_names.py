"""Which numbers are the pose of an end effector, by their names: where it is, how it is turned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Rotation = Literal['', 'angles', 'quaternion', 'vector']
"""What three or four numbers of a rotation are: roll, pitch and yaw about the fixed axes x, y and
z; x, y, z, w; or a rotation vector. '' where there is none."""
VECTOR = ('rx', 'ry', 'rz')
"""What the numbers of a rotation vector are called."""
RIGHT = ('x y z and how it is turned: roll pitch yaw, a quaternion qx qy qz qw, or a rotation '
         'vector rx ry rz')  # fmt: skip
POSE = re.compile(r'^(eef_|ee_|d|delta_)?(x|pos_x|x_pos)$', re.IGNORECASE)
ANGLES = re.compile('roll|pitch|yaw|rpy|euler|quat|^q[xyzw]$', re.IGNORECASE)

_PARTS: dict[str, tuple[str, ...]] = {
    'position': ('x', 'y', 'z'), 'angles': ('roll', 'pitch', 'yaw'),
    'quaternion': ('x', 'y', 'z', 'w'), 'vector': ('x', 'y', 'z'),
}  # fmt: skip
_AROUND = frozenset({
    'eef', 'ee', 'tcp', 'tip', 'hand', 'end', 'effector', 'pose', 'pos', 'position', 'xyz', 'd',
    'delta', 'cartesian', 'target', 'goal', 'robot', 'world', 'base', 'commanded', 'cmd',
    'translation',
})  # fmt: skip
_TURNED = {
    'rpy': 'angles', 'euler': 'angles', 'quat': 'quaternion', 'quaternion': 'quaternion',
    'q': 'quaternion', 'axis': 'vector', 'angle': 'vector', 'rotvec': 'vector', 'rvec': 'vector',
    'rot': 'turned', 'rotation': 'turned', 'ori': 'turned', 'orientation': 'turned',
}  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """Where a pose lies among numbers.

    Attributes:
        rotation: What its rotation is.
        position: Places of x, y, z.
        turn: Of roll, pitch, yaw, or of x, y, z(, w).
        others: Of numbers that are no part of it.
    """

    rotation: Rotation
    position: tuple[int, ...]
    turn: tuple[int, ...]
    others: tuple[int, ...]


def is_pose(names: Sequence[str]) -> bool:
    """Whether numbers that are no openings are a pose, or begin like one."""
    return bool(names) and (POSE.match(names[0]) is not None or find_pose(names) is not None)


def find_pose(names: Sequence[str]) -> Pose | None:
    """The pose among numbers, whatever their order; None where it is not clear by their names."""
    found: dict[str, dict[str, list[int]]] = {}
    for place, name in enumerate(names):
        group, part = _part_of(name)
        found.setdefault(group, {}).setdefault(part, []).append(place)
    found.pop('', None)
    turned = found.pop('turned', None)
    if turned is not None:
        group = 'quaternion' if 'w' in turned else 'vector'
        if group in found:
            return None
        found[group] = turned
    position = _in_order('position', found.pop('position', {}))
    kinds: tuple[Rotation, ...] = ('angles', 'quaternion', 'vector')
    turns = {kind: _in_order(kind, found[kind]) for kind in kinds if kind in found}
    if not position or len(turns) != 1:
        return None
    ((rotation, turn),) = turns.items()
    if not turn:
        return None
    used = {*position, *turn}
    return Pose(rotation, position, turn, tuple(n for n in range(len(names)) if n not in used))


def _part_of(name: str) -> tuple[str, str]:
    """What a number is a part of, and which; ('', '') where it is none of a pose."""
    words = [word for word in re.findall('[a-z]+|[0-9]+', name.lower()) if word not in _AROUND]
    kinds = [_TURNED[word] for word in words if word in _TURNED]
    rest = [word for word in words if word not in _TURNED]
    if len(rest) != 1 or len({*kinds}) > 1:
        return '', ''
    part = rest[0]
    if kinds:
        known = part in (*_PARTS['quaternion'], *_PARTS['angles']) or part in '0123'
        return (kinds[0], part) if known else ('', '')
    part = part.removeprefix('d') if len(part) > 1 else part
    for group, prefix in (('position', ''), ('angles', ''), ('quaternion', 'q'), ('vector', 'r'),
                          ('vector', 'w')):  # fmt: skip
        bare = part.removeprefix(prefix)
        if part.startswith(prefix) and bare in _PARTS[group]:
            return group, bare
    return '', ''


def _in_order(group: str, places: dict[str, list[int]]) -> tuple[int, ...]:
    """Places of the parts of a group, in its order; () where one is missing or there twice."""
    if any(len(found) != 1 for found in places.values()):
        return ()
    size = len(_PARTS[group])
    numbered = [tuple(str(first + n) for n in range(size)) for first in (0, 1)]
    orders = [_PARTS[group], *(('x', 'y', 'z'), *numbered)[: 3 if group != 'quaternion' else 0]]
    for order in orders:
        if {*order} == {*places}:
            return tuple(places[part][0] for part in order)
    return ()
