"""What the scripted expert looks at, and the geometry of it; privileged, all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.scene import Shape

Point = tuple[float, float, float]


@dataclass(frozen=True)
class ObjectPose:
    """Where an object is.

    Attributes:
        x, y, z: Its middle in ``base_link`` [m].
        yaw: Direction of a horizontal axis; of a lying cylinder, of its own axis [rad].
        shape: Cube or cylinder.
        lying: Whether it is a cylinder that fell over.
    """

    x: float
    y: float
    z: float
    yaw: float
    shape: Shape
    lying: bool = False

    @property
    def half_height(self) -> float:
        """From its middle down to what it rests on [m]."""
        return scene.CYLINDER_RADIUS if self.lying else scene.half_height(self.shape)


@dataclass(frozen=True)
class ExpertState:
    """Everything the expert looks at; privileged, never an input of a policy.

    Attributes:
        position: Commanded grasp point in ``base_link`` [m].
        yaw: Commanded rotation about the vertical [rad]; see `arm.pointing_down`.
        tilt: Commanded deviation from pointing down, about base x and y [rad].
        gripper_command: Opening that the gripper was told, 0..1.
        opening: Measured opening, 0..1.
        held: Index of the object between the fingers, None if there is none.
        objects: Poses in the scene's order; a held one is shifted along with ``position``.
        bin_position: Middle of the bin (x, y) [m].
    """

    position: Point
    yaw: float
    tilt: tuple[float, float]
    gripper_command: float
    opening: float
    held: int | None
    objects: tuple[ObjectPose, ...]
    bin_position: tuple[float, float]


@dataclass(frozen=True)
class Move:
    """One action before it becomes an array: displacement [m], turn [rad], gripper target."""

    x: float
    y: float
    z: float
    yaw: float
    gripper: float


def fold(angle: float) -> float:
    """The equivalent turn of a square thing, in +-45 degrees."""
    return (angle + 0.25 * math.pi) % (0.5 * math.pi) - 0.25 * math.pi


def alignment(yaw: float, thing: ObjectPose) -> float:
    """How far to turn so that the fingers close on opposite faces [rad]."""
    if thing.lying:
        return (thing.yaw - yaw + 0.5 * math.pi) % math.pi - 0.5 * math.pi
    return -yaw if thing.shape == 'cylinder' else fold(thing.yaw - yaw)


def support(state: ExpertState, x: float, y: float, but: int | None) -> float:
    """Height of what lies under a point [m]: table, bin floor or an object."""
    height = 0.0
    bx, by = state.bin_position
    if max(abs(x - bx), abs(y - by)) < scene.BIN_HALF:
        height = 0.004
    for index, other in enumerate(state.objects):
        if index != but and math.hypot(other.x - x, other.y - y) < 0.03:
            height = max(height, other.z + other.half_height)
    return height


def push_reach(thing: ObjectPose) -> float:
    """From the middle of a closed gripper to that of an object that it touches, along y [m]."""
    if thing.shape == 'cylinder':
        return scene.CYLINDER_RADIUS + scene.FINGER_THICKNESS
    angle = abs(fold(thing.yaw))
    # A corner beyond the fingers' width does not touch them.
    face = 0.5 * scene.CUBE_SIZE * math.cos(angle) + scene.PAD_HALF_WIDTH * math.sin(angle)
    return face + scene.FINGER_THICKNESS
