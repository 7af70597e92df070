"""Where to take hold of an object: candidates, and what the open hand would hit there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld

PALM = 0.035
"""From the point between the fingers up to where the palm would touch [m]."""
RIMS = {'bowl': (0.047, 0.033), 'plate': (0.060, 0.009)}
"""Of what is held by its rim: the wall from the axis, the grasp above the base [m]."""
REACH = 0.74
"""Of the hand from the foot of the arm; further out the controller stops short [m]."""
WIDEST = 0.072
"""What goes between the fingers with a little room [m]."""
_MARGIN = 0.006
_ELLIPSOID, _CYLINDER, _BOX = 4, 5, 6
_ROBOT = ('robot', 'gripper', 'mount')


def turn(yaw: float) -> Floats:
    """About the vertical."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def _lattice(low: Any, high: Any, counts: Any) -> Floats:
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, counts)]  # noqa: B905
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)


_HAND = np.concatenate((
    _lattice((-0.011, 0.038, -0.012), (0.011, 0.064, 0.05), (3, 3, 4)),
    _lattice((-0.011, -0.064, -0.012), (0.011, -0.038, 0.05), (3, 3, 4)),
    _lattice((-0.032, -0.10, 0.048), (0.032, 0.10, 0.14), (3, 9, 3)),
))  # fmt: skip
"""The open hand around the point between its fingers, which open along y."""


class Grasps:
    """The grasps of one object of a scene."""

    def __init__(self, world: LiberoWorld, name: str) -> None:
        """Read the shapes once."""
        self._world, self._name = world, name
        self._rim = next((rim for kind, rim in RIMS.items() if kind in name), None)
        self._corners = _own_corners(world, name)
        self._geoms, self._sizes = _others(world, name)
        self._foot: Floats = np.array(world.robot.base_pos)

    def extent(self) -> tuple[Floats, Floats]:
        """The lowest and the highest corner of the object as it lies now."""
        position, matrix = self._world.body(self._name)
        corners = self._corners @ matrix.T + position
        return corners.min(0), corners.max(0)

    def best(self, side: Floats | None = None) -> tuple[Floats, float]:
        """Offset from the object's position, and yaw: the fewest hits, then the easiest.

        Args:
            side: Way (3,), of length 1, from the object to the side where it is rather taken.
        """
        position, _ = self._world.body(self._name)
        found: list[tuple[float, float, int, Floats, float]] = []
        for number, (cost, offset, yaw) in enumerate(self._candidates()):
            point = position + offset
            hits = 0 if side is not None else self._hits(_HAND @ turn(yaw).T + point)
            out = np.linalg.norm((point - self._foot)[:2])
            far = np.hypot(out, max(0.0, point[2] - self._foot[2] - 0.05))
            cost -= 20 * float(offset @ side) if side is not None else 0.0
            # With a straight elbow the controller stops short: rather take the near side.
            cost += 20 * max(0.0, far - REACH)
            found.append((hits + 1000 * (cost > 50), cost, number, offset, yaw))
        chosen = min(found, key=lambda entry: entry[:3])
        return chosen[3], chosen[4]

    def _candidates(self) -> Iterator[tuple[float, Floats, float]]:
        """Cost, offset, yaw."""
        position, matrix = self._world.body(self._name)
        if self._rim is not None:  # one wall between the fingers, from any side
            radius, height = self._rim
            for number in range(12):
                angle = number * np.pi / 6
                out = turn(angle) @ np.array((0, 1.0, 0))
                yaw = (angle + np.pi / 2) % np.pi - np.pi / 2
                yield 0.2 * abs(yaw), matrix[:, 2] * height + out * radius, yaw
            return
        low, high = self.extent()
        middle, extent = (low + high) / 2, high - low
        # Flat boxes as low as the fingers go; others at mid height, or as deep as the palm lets.
        above = 0.010 if extent[2] < 0.035 else 0.5 * extent[2]
        middle[2] = max(low[2] + above, high[2] - PALM)
        square = abs(extent[0] - extent[1]) < 0.008
        for yaw in (0.0, np.pi / 6, -np.pi / 6, np.pi / 2):
            straight = not yaw % (np.pi / 2)
            if not straight and not square:
                continue
            across, along = turn(yaw)[:, 1], turn(yaw)[:, 0]
            wide = np.abs(across) @ extent * (1 if straight else 0.8) > WIDEST
            for shift in (0.0, 0.012, -0.012, 0.022, -0.022):
                fits = abs(shift) < 0.35 * (np.abs(along) @ extent)
                if fits and (shift == 0 or not square):
                    cost = abs(yaw) + 10 * abs(shift) + 100 * wide
                    yield float(cost), middle + along * shift - position, yaw

    def _hits(self, points: Floats) -> int:
        """How many of the points (N, 3) lie in something else."""
        data = self._world.data
        away = points[None] - data.geom_xpos[self._geoms][:, None]
        turned = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        local = np.einsum('gni,gij->gnj', away, turned)
        return int((np.abs(local) < self._sizes[:, None]).all(-1).any(0).sum())


def _own_corners(world: LiberoWorld, name: str) -> Floats:
    """Corners of an object's collision boxes in its own frame."""
    model, data = world.model, world.data
    body = world.inner.obj_body_id[name]
    position, matrix = world.body(name)
    signs = _lattice((-1, -1, -1), (1, 1, 1), (2, 2, 2))
    found = []
    for geom in range(model.ngeom):
        own = model.geom_bodyid[geom] == body and model.geom_group[geom] == 0
        if own and model.geom_type[geom] == _BOX:
            seen = signs * model.geom_size[geom] @ data.geom_xmat[geom].reshape(3, 3).T
            found.append((seen + data.geom_xpos[geom] - position) @ matrix)
    return np.concatenate(found)


def _others(world: LiberoWorld, name: str) -> tuple[Any, Floats]:
    """Collision shapes of everything but the robot and the object, as boxes: half sizes [m]."""
    model, own = world.model, world.inner.obj_body_id[name]
    keep = []
    for geom in range(model.ngeom):
        body = model.geom_bodyid[geom]
        touches = model.geom_contype[geom] + model.geom_conaffinity[geom] > 0
        robot = model.body(body).name.startswith(_ROBOT)
        if (
            not robot
            and body not in (own, 0)
            and touches
            and model.geom_type[geom] in (_ELLIPSOID, _CYLINDER, _BOX)
        ):
            keep.append(geom)
    geoms = np.array(keep)
    sizes = model.geom_size[geoms].copy()
    round_ = model.geom_type[geoms] == _CYLINDER
    sizes[round_, 2], sizes[round_, 1] = sizes[round_, 1].copy(), sizes[round_, 0].copy()
    return geoms, sizes + _MARGIN
