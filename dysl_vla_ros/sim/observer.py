"""Reads the physics: contacts, phase, poses of objects. Privileged: for judge and expert only."""

from __future__ import annotations

from typing import Literal, get_args

import mujoco  # type: ignore[import-untyped]
import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.expert_state import ObjectPose
from dysl_vla_ros.sim.goals import Family
from dysl_vla_ros.sim.scene import Shape

Phase = Literal['reach', 'grasp', 'carry', 'release']
PHASES: tuple[Phase, ...] = get_args(Phase)

_HOLDING_OPENING = 0.35
_FIRST_OBJECT_VELOCITY = 8


class Observer:
    """A reader of one scene's state; changes nothing.

    Args:
        model: The compiled scene.
        data: Its state, read anew at every call.
        shapes: Shapes of its objects, in the scene's order.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, shapes: tuple[Shape, ...]
    ) -> None:
        self._data = data
        self._shapes = shapes
        first = model.body('object_0').id
        self._bodies = slice(first, first + len(shapes))
        self._object_of = {model.geom(f'object_{i}').id: i for i in range(len(shapes))}
        self._fingers = {model.geom(name).id for name in scene.FINGER_NAMES}

    def positions(self) -> FloatArray:
        """Middles of the objects, shape (n, 3) [m]."""
        return np.array(self._data.xpos[self._bodies])

    def object_speeds(self) -> FloatArray:
        """How fast the objects move, shape (n,) [m/s]."""
        velocities = self._data.qvel[_FIRST_OBJECT_VELOCITY:].reshape(-1, 6)
        return np.array(np.linalg.norm(velocities[:, :3], axis=1))

    def object_poses(self, held: int | None, shift: FloatArray) -> tuple[ObjectPose, ...]:
        """Where the objects are, with the held one moved by ``shift``, shape (3,) [m]."""
        poses = []
        for index, shape in enumerate(self._shapes):
            matrix = self._data.xmat[self._bodies][index].reshape(3, 3)
            # Of a toppled object, an axis that lies flat gives the direction.
            lying = shape == 'cylinder' and abs(matrix[2, 2]) < 0.7
            flat = not lying and abs(matrix[2, 0]) < 0.7
            axis = matrix[:, 0] if flat else matrix[:, 2]
            at = self._data.xpos[self._bodies][index]
            x, y, z = (float(value) for value in (at + shift if index == held else at))
            yaw = float(np.arctan2(axis[1], axis[0]))
            poses.append(ObjectPose(x, y, z, yaw, shape, lying))
        return tuple(poses)

    def held_object(self, opening: float) -> int | None:
        """Index of the object that both fingers touch, at an opening that leaves it room."""
        if opening < _HOLDING_OPENING:
            return None
        touching: dict[int, set[int]] = {}
        for one, other in self._contacts():
            if one in self._fingers and other in self._object_of:
                touching.setdefault(self._object_of[other], set()).add(one)
        held = [index for index, fingers in touching.items() if len(fingers) == 2]
        return min(held) if held else None

    def phase(self, family: Family, closing: bool, opening: float) -> Phase:
        """What the arm is doing.

        Args:
            family: While pushing, contact counts as carrying.
            closing: Whether the gripper is told to close.
            opening: Measured opening, 0..1.
        """
        supported: set[int] = set()
        touched: set[int] = set()
        for one, other in self._contacts():
            if one in self._object_of:
                (touched if other in self._fingers else supported).add(self._object_of[one])
        held = self.held_object(opening)
        near = float(np.linalg.norm(self.positions() - self._data.site_xpos[0], axis=1).min())
        if not closing:
            return 'release' if near < 0.06 and opening < 0.9 else 'reach'
        if held is not None:
            return 'grasp' if held in supported else 'carry'
        if family == 'push':
            return 'carry' if touched else 'reach'
        return 'grasp' if near < 0.03 and opening > 0.1 else 'reach'

    def _contacts(self) -> list[tuple[int, int]]:
        """Pairs of touching geoms, each in both orders."""
        pairs = self._data.contact.geom[: self._data.ncon]
        ordered = [(int(a), int(b)) for a, b in pairs]
        return ordered + [(b, a) for a, b in ordered]
