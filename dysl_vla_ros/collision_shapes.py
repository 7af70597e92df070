"""The collision shapes of a robot description, as Pinocchio's collision library takes them.

Boxes, cylinders, spheres and capsules are exact. A mesh becomes its convex hull: larger than the
mesh, never smaller. A link whose shape cannot be read is left out and named.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin  # type: ignore[import-untyped]

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.description import parse_xml

try:
    import coal  # type: ignore[import-untyped]
except ImportError:  # the name it had before Pinocchio 3.3
    import hppfcl as coal  # type: ignore[import-untyped,no-redef]

_MAX_MESH_BYTES = 50_000_000
_MESH_SUFFIXES = ('.stl', '.dae', '.obj', '.ply')


@dataclass(frozen=True)
class Shape:
    """One solid of a link: the sum of a box, a flat disc and a ball; or the hull of points.

    Every primitive is such a sum, so that one formula gives how far it reaches in a direction.

    Attributes:
        link: Whose it is.
        placement: Of the solid's frame in the link's, a ``pin.SE3``.
        geometry: For the collision library.
        box: Half sides, shape (3,) [m].
        disc: Radius of the disc in the x-y plane [m].
        ball: Radius of the ball [m].
        points: Corners of a hull in the solid's frame, shape (p, 3) [m]; None for a primitive.
    """

    link: str
    placement: Any
    geometry: Any
    box: FloatArray
    disc: float = 0.0
    ball: float = 0.0
    points: FloatArray | None = None

    def reach(self, directions: FloatArray) -> FloatArray:
        """How far the solid reaches from its frame's origin.

        Args:
            directions: Unit vectors in the solid's frame, shape (k, 3).

        Returns:
            Shape (k,) [m].
        """
        if self.points is not None:
            return np.asarray((directions @ self.points.T).max(axis=1))
        across = np.hypot(directions[:, 0], directions[:, 1])
        return np.asarray(np.abs(directions) @ self.box + self.disc * across + self.ball)


@dataclass(frozen=True)
class RobotShapes:
    """All shapes of a robot description.

    Attributes:
        shapes: Link by link.
        parents: Link -> the nearest link above it that has a body; the root is missing.
        left_out: Link -> why its shape could not be read, or that it has none.
    """

    shapes: tuple[Shape, ...]
    parents: Mapping[str, str]
    left_out: Mapping[str, str]


def read_shapes(urdf: str) -> RobotShapes:
    """Read every ``<collision>`` of a robot description; what cannot be read is left out.

    Args:
        urdf: Its text, whose links and joints were accepted.

    Raises:
        KinematicsError: Not XML.
    """
    robot = parse_xml(urdf)
    shapes: list[Shape] = []
    left_out: dict[str, str] = {}
    bodies = set()
    for link in robot.iter('link'):
        name = link.get('name', '')
        elements = link.findall('collision')
        if elements or link.find('visual') is not None or link.find('inertial') is not None:
            bodies.add(name)
        if name in bodies and not elements:
            left_out[name] = 'no <collision>'
        try:
            shapes += [_shape(name, element) for element in elements]
        except _UnreadableError as error:
            left_out[name] = str(error)
    return RobotShapes(tuple(shapes), dict(_parents(robot, bodies)), left_out)


class _UnreadableError(Exception):
    """Why a shape is left out."""


def _shape(link: str, element: ElementTree.Element) -> Shape:
    placement = _placement(element.find('origin'))
    geometry = element.find('geometry')
    solid = None if geometry is None or not len(geometry) else geometry[0]
    kind = 'nothing' if solid is None else str(solid.tag)
    if solid is None or kind not in ('box', 'cylinder', 'sphere', 'capsule', 'mesh'):
        raise _UnreadableError(f'{kind} is none of box, cylinder, sphere, capsule, mesh')
    if kind == 'mesh':
        return _hull(link, placement, solid)
    if kind == 'box':
        size = _numbers(solid, 'size', 3)
        return Shape(link, placement, coal.Box(size), 0.5 * size)
    radius = float(_numbers(solid, 'radius', 1)[0])
    if kind == 'sphere':
        return Shape(link, placement, coal.Sphere(radius), np.zeros(3), ball=radius)
    length = float(_numbers(solid, 'length', 1)[0])
    axis = np.array((0.0, 0.0, 0.5 * length))
    if kind == 'cylinder':
        return Shape(link, placement, coal.Cylinder(radius, length), axis, disc=radius)
    return Shape(link, placement, coal.Capsule(radius, length), axis, ball=radius)


def _placement(origin: ElementTree.Element | None) -> Any:
    if origin is None:
        return pin.SE3.Identity()
    xyz, rpy = (_numbers(origin, key, 3, '0 0 0', signed=True) for key in ('xyz', 'rpy'))
    return pin.SE3(pin.rpy.rpyToMatrix(*rpy), xyz)


def _numbers(
    element: ElementTree.Element, key: str, count: int, default: str = '', signed: bool = False
) -> FloatArray:
    text = element.get(key, default)
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    legal = all(math.isfinite(value) and (signed or value > 0.0) for value in values)
    if len(values) != count or not legal:
        wanted = f'{count} number{"s" * (count > 1)}{"" if signed else " above 0"}'
        raise _UnreadableError(f'{element.tag} {key} = {text!r}: expected {wanted}')
    return np.array(values)


def _hull(link: str, placement: Any, mesh: ElementTree.Element) -> Shape:
    path = _mesh_file(mesh.get('filename', ''))
    scale = _numbers(mesh, 'scale', 3, '1 1 1', signed=True)
    try:
        corners = np.asarray(coal.MeshLoader().load(str(path), scale).vertices())
        points = coal.StdVec_Vec3s()
        points.extend(list(corners))
        hull = coal.Convex.convexHull(points, True, '')
        corners = np.asarray(hull.points())
    except Exception as error:  # whatever the loader raises, the link is left out
        raise _UnreadableError(f'{path.name}: {error}') from None
    return Shape(link, placement, hull, np.zeros(3), points=corners)


def _mesh_file(name: str) -> Path:
    """The file behind ``package://``, ``file://`` or a plain path.

    The text came over the network: only a regular file of a mesh's kind and size is opened.
    """
    scheme, _, rest = name.rpartition('://')
    places = [Path(rest)]
    if scheme == 'package':
        prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
        places = [Path(prefix) / 'share' / rest for prefix in prefixes if prefix]
    for place in places:
        if place.suffix.lower() in _MESH_SUFFIXES and place.is_file():
            if place.stat().st_size > _MAX_MESH_BYTES:
                raise _UnreadableError(f'{name} is larger than {_MAX_MESH_BYTES} bytes')
            return place
    raise _UnreadableError(f'mesh {name!r} is not found')


def _parents(robot: ElementTree.Element, bodies: set[str]) -> Iterator[tuple[str, str]]:
    """(link, nearest link above it that has a body): frames in between are no links."""
    direct = {}
    for joint in robot.iter('joint'):
        parent, child = joint.find('parent'), joint.find('child')
        if parent is not None and child is not None:
            direct[child.get('link', '')] = parent.get('link', '')
    for link in direct:
        above = direct[link]
        while above in direct and above not in bodies:
            above = direct[above]
        yield link, above
