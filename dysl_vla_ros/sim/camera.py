"""A camera that casts rays through the physics model: no OpenGL, the same pixels everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, ImageArray
from dysl_vla_ros.rotations import rotation_matrix
from dysl_vla_ros.sim import scene

CAMERAS: dict[str, int] = {'image': 96, 'wrist_image': 64}
"""Cameras of the scene and the edge of their square pictures [pixels]."""

COLOURS: dict[str, tuple[float, float, float]] = {
    'red': (0.85, 0.12, 0.10),
    'green': (0.15, 0.62, 0.18),
    'blue': (0.12, 0.28, 0.85),
    'yellow': (0.95, 0.83, 0.12),
    'purple': (0.55, 0.18, 0.68),
    'orange': (0.98, 0.48, 0.06),
}
_TABLE = (0.74, 0.72, 0.68)
_LINE = (0.30, 0.32, 0.34)
_BIN = (0.36, 0.26, 0.20)
_ARM = (0.55, 0.60, 0.66)
_FINGER = (0.10, 0.10, 0.12)
_BACKGROUND = (0.86, 0.90, 0.93)
_LINE_HALF_WIDTH = 0.006


@dataclass(frozen=True)
class Look:
    """How an episode looks: light, colours and small camera errors, all drawn from its seed.

    Attributes:
        light: Direction towards the light, unit vector, shape (3,).
        ambient: Share of light that reaches every face, 0..1.
        gain: Brightness of the whole picture, per channel, shape (3,).
        tint: Name of a material or colour -> factor per channel, shape (3,).
        shift: Camera -> displacement of its position [m], shape (3,).
        turn: Camera -> rotation vector of its orientation error [rad], shape (3,).
    """

    light: FloatArray = field(default_factory=lambda: np.array((0.35, -0.25, 0.90)))
    ambient: float = 0.55
    gain: FloatArray = field(default_factory=lambda: np.ones(3))
    tint: dict[str, FloatArray] = field(default_factory=dict)
    shift: dict[str, FloatArray] = field(default_factory=dict)
    turn: dict[str, FloatArray] = field(default_factory=dict)

    @classmethod
    def drawn(cls, generator: np.random.Generator) -> Look:
        """Draw the look of one episode."""
        light = np.array((0.35, -0.25, 0.90)) + generator.normal(0.0, 0.15, 3)
        names = ('table', 'line', 'bin', 'arm', 'finger', 'background', *COLOURS)
        return cls(
            light=light / np.linalg.norm(light),
            ambient=float(generator.uniform(0.48, 0.62)),
            gain=generator.uniform(0.90, 1.08) * generator.uniform(0.97, 1.03, 3),
            tint={name: generator.uniform(0.94, 1.06, 3) for name in names},
            shift={name: generator.normal(0.0, s, 3) for name, s in _CAMERA_SHIFT.items()},
            turn={name: generator.normal(0.0, s, 3) for name, s in _CAMERA_TURN.items()},
        )


_CAMERA_SHIFT = {'image': 0.004, 'wrist_image': 0.0008}
_CAMERA_TURN = {'image': 0.004, 'wrist_image': 0.004}


class RayCamera:
    """Renders one scene in the look of one episode.

    Args:
        model: The compiled scene.
        colours: Colour name of each object, in the scene's order.
        look: Light, colours and camera errors of the episode.
    """

    def __init__(self, model: mujoco.MjModel, colours: tuple[str, ...], look: Look) -> None:
        self._model = model
        self._look = look
        self._table = model.geom('table').id
        one = np.ones(3)

        def painted(name: str, colour: tuple[float, float, float]) -> FloatArray:
            return np.array(colour) * look.tint.get(name, one)

        self._line = painted('line', _LINE)
        # One row more than geoms: index -1 (nothing hit) is the background.
        palette = np.tile(painted('arm', _ARM), (model.ngeom + 1, 1))
        palette[self._table] = painted('table', _TABLE)
        palette[-1] = painted('background', _BACKGROUND)
        for index in range(model.ngeom):
            name = model.geom(index).name
            if name in scene.FINGER_NAMES:
                palette[index] = painted('finger', _FINGER)
            elif name.startswith('bin'):
                palette[index] = painted('bin', _BIN)
            elif name.startswith('object_'):
                colour = colours[int(name.removeprefix('object_'))]
                palette[index] = painted(colour, COLOURS[colour])
        self._palette = palette
        self._rays: dict[tuple[str, int, int], FloatArray] = {}

    def render(self, data: mujoco.MjData, camera: str, height: int, width: int) -> ImageArray:
        """Return the picture, shape (height, width, 3), RGB uint8; ``data`` must be up to date.

        Pixels are square: a wider picture shows more on the left and right.
        """
        origin, directions = self._cast_lines(data, camera, height, width)
        count = height * width
        geoms = np.empty(count, dtype=np.int32)
        distances = np.empty(count)
        normals = np.empty(3 * count)
        mujoco.mj_multiRay(
            self._model, data, origin, directions.ravel(), None, True, -1,
            geoms, distances, normals, count, 4.0,
        )  # fmt: skip
        shade = np.clip(normals.reshape(-1, 3) @ self._look.light, 0.0, 1.0)
        shade = self._look.ambient + (1.0 - self._look.ambient) * shade
        shade[geoms < 0] = 1.0
        colour: FloatArray = self._palette[geoms]
        on_table = geoms == self._table
        lateral = origin[1] + directions[:, 1] * distances
        painted = on_table & (np.abs(np.abs(lateral) - scene.PUSH_LINE) < _LINE_HALF_WIDTH)
        colour[painted] = self._line
        colour = colour * shade[:, None] * self._look.gain
        picture: NDArray[np.uint8] = (np.clip(colour, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        return picture.reshape(height, width, 3)

    def _cast_lines(
        self, data: mujoco.MjData, camera: str, height: int, width: int
    ) -> tuple[FloatArray, FloatArray]:
        index = self._model.camera(camera).id
        key = (camera, height, width)
        if key not in self._rays:
            half = math.tan(0.5 * math.radians(float(self._model.cam_fovy[index])))
            across = ((np.arange(width) + 0.5) / width * 2.0 - 1.0) * (width / height)
            down = (np.arange(height) + 0.5) / height * 2.0 - 1.0
            rays = np.empty((height, width, 3))
            rays[..., 0] = half * across[None, :]
            rays[..., 1] = -half * down[:, None]
            rays[..., 2] = -1.0
            rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
            self._rays[key] = rays.reshape(-1, 3)
        rotation = data.cam_xmat[index].reshape(3, 3)
        origin = data.cam_xpos[index].copy()
        if camera in self._look.turn:
            rotation = rotation @ rotation_matrix(self._look.turn[camera])
        if camera in self._look.shift:
            origin += rotation @ self._look.shift[camera]
        return origin, self._rays[key] @ rotation.T
