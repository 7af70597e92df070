"""Rotations of a set, as it stores them, as the rotation vectors that actions are made of.

An action of the end effector, ``eef_pose`` or ``eef_delta``, turns it by a rotation vector about
the axes of the base. Sets store roll, pitch and yaw, or quaternions: they are read as vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.correlation import correlation

_TURN = 2.0 * np.pi
_TINY = 1e-9
_SURE, _APART = 0.9, 0.05
"""Correlation that shows what increments are, and by how much it is above the other one."""
_MOVES = 1e-4
"""A step of less [rad] is none."""
_LEAST = 12
"""Steps."""
Rows = NDArray[np.floating[Any]]
Found = NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """How a rotation that follows three numbers of a position is read as a vector.

    Attributes:
        kind: ``angles``: roll, pitch, yaw. ``quaternion``: x, y, z, w. ``steps``: differences of
            roll, pitch and yaw from one frame to the next.
        near: One rotation has many vectors; the one nearest to this [rad] is taken, so that a
            hand that is half a turn from no turn at all does not jump.
        scale: Radians of 1.0, of each angle.
        columns: Of ``steps``: where the angles lie that they are added to, joined.
        places: Likewise, in the joined columns.
    """

    kind: Literal['angles', 'quaternion', 'steps']
    near: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    columns: tuple[str, ...] = ()
    places: tuple[int, ...] = ()

    def read(self, stored: Rows, numbers: Mapping[str, NDArray[np.float32]]) -> Found:
        """Stored numbers, (frames, size), with the rotation as a vector behind the position.

        Args:
            stored: In the policy's order.
            numbers: All columns of the episode.
        """
        values = np.asarray(stored, np.float64)
        size = 4 if self.kind == 'quaternion' else 3
        turn, rest = values[:, 3 : 3 + size], values[:, 3 + size :]
        if self.kind == 'quaternion':
            turned = turn
        elif self.kind == 'angles':
            turned = quaternions(turn * np.asarray(self.scale))
        else:
            joined = np.concatenate([numbers[name] for name in self.columns], axis=1)
            angles = joined[:, list(self.places)].astype(np.float64)
            turned = between(quaternions(angles), quaternions(angles + turn * self.scale))
        return np.concatenate([values[:, :3], vectors(turned, self.near), rest], axis=1)


def turn_from(values: Mapping[str, Any] | None) -> Turn | None:
    """The inverse of ``dataclasses.asdict``, after JSON."""
    if values is None:
        return None
    parts: dict[str, Any] = {name: tuple(part) for name, part in values.items() if name != 'kind'}
    return Turn(values['kind'], **parts)


def quaternions(angles: Rows) -> Found:
    """(n, 4), x, y, z, w, of roll, pitch and yaw (n, 3) [rad] about the fixed axes x, y, z."""
    half = 0.5 * np.asarray(angles, np.float64)
    (cr, cp, cy), (sr, sp, sy) = np.cos(half).T, np.sin(half).T
    parts = [sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
             cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy]  # fmt: skip
    return np.stack(parts, axis=1)


def of_vectors(turns: Rows) -> Found:
    """(n, 4), x, y, z, w, of rotation vectors (n, 3) [rad]."""
    turns = np.asarray(turns, np.float64)
    angle = np.linalg.norm(turns, axis=1, keepdims=True)
    # sin(a / 2) / a, which is 1 / 2 at 0.
    return np.concatenate([turns * 0.5 * np.sinc(angle / _TURN), np.cos(0.5 * angle)], axis=1)


def between(first: Found, then: Found) -> Found:
    """What turns ``first`` into ``then`` about the fixed axes, quaternions (n, 4) all."""
    x, y, z, w = then.T
    a, b, c, d = first.T * np.array([[-1.0], [-1.0], [-1.0], [1.0]])
    parts = [w * a + x * d + y * c - z * b, w * b - x * c + y * d + z * a,
             w * c + x * b - y * a + z * d, w * d - x * a - y * b - z * c]  # fmt: skip
    return np.stack(parts, axis=1)


def vectors(turned: Rows, near: Sequence[float] = (0.0, 0.0, 0.0)) -> Found:
    """Rotation vectors (n, 3) [rad] of quaternions (n, 4), each the one nearest to ``near``."""
    turned = np.asarray(turned, np.float64)
    turned = np.where(turned[:, 3:] < 0.0, -turned, turned)
    sine = np.linalg.norm(turned[:, :3], axis=1, keepdims=True)
    centre = np.asarray(near, np.float64)
    length = float(np.linalg.norm(centre))
    any_axis = centre / length if length > _TINY else np.array([1.0, 0.0, 0.0])
    axis = np.where(sine > _TINY, turned[:, :3] / np.maximum(sine, _TINY), any_axis)
    angle = 2.0 * np.arctan2(sine, turned[:, 3:])
    angle += _TURN * np.round((axis @ centre[:, None] - angle) / _TURN)
    return np.asarray(axis * angle)


def middle(turned: Rows) -> tuple[float, ...]:
    """The rotation vector in the middle of quaternions (n, 4)."""
    turned = np.asarray(turned, np.float64)
    turned = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), _TINY)
    # The two quaternions of one rotation count as one in these products.
    _, axes = np.linalg.eigh(turned.T @ turned)
    return tuple(float(number) for number in vectors(axes[:, -1][None])[0])


def are_differences(angles: Sequence[Rows], steps: Sequence[Rows]) -> bool:
    """Whether increments are differences of roll, pitch and yaw, and clearly no rotation vectors.

    Args:
        angles: Roll, pitch and yaw of each episode, (frames, 3) [rad].
        steps: What actions add to them, in whatever unit.
    """
    said = np.concatenate([part[:-1] for part in steps]).astype(np.float64)
    turns = [quaternions(part) for part in angles]
    vector = np.concatenate([vectors(between(part[:-1], part[1:])) for part in turns])
    plain = np.concatenate([np.diff(part.astype(np.float64), axis=0) for part in angles])
    plain -= _TURN * np.round(plain / _TURN)
    found = [(correlation(one, what), correlation(other, what))
             for one, other, what in zip(plain.T, vector.T, said.T, strict=True)
             if len(what) >= _LEAST and min(one.std(), other.std()) > _MOVES]  # fmt: skip
    if not found:
        return False
    as_angles, as_vector = np.min(np.array(found), axis=0)
    return bool(as_angles > _SURE and as_angles > as_vector + _APART)
