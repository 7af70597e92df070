"""The limits that the robot description states; nothing else of the arm is needed to judge it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import KinematicsError

_MOVING = ('revolute', 'continuous', 'prismatic')


@dataclass(frozen=True)
class Limits:
    """Of some joints, in the order of ``names``.

    Attributes:
        names: Joint names.
        lower: Lowest positions [rad or m], shape (n,); -inf where there is none.
        upper: Highest positions, shape (n,).
        velocity: Highest speeds [rad/s or m/s], shape (n,); inf where there is none.
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray

    def of(self, names: Sequence[str]) -> Limits:
        """The same for these joints, in this order; a joint nobody describes has no limits."""
        place = {name: index for index, name in enumerate(self.names)}

        def pick(values: FloatArray, missing: float) -> FloatArray:
            return np.array([values[place[n]] if n in place else missing for n in names])

        return Limits(
            tuple(names),
            pick(self.lower, -np.inf),
            pick(self.upper, np.inf),
            pick(self.velocity, np.inf),
        )

    def scaled(self, velocity_scale: float) -> Limits:
        """With a share of the speeds."""
        return Limits(self.names, self.lower, self.upper, self.velocity * velocity_scale)


def read_limits(urdf: str) -> Limits:
    """The limits of every moving joint of a robot description.

    Raises:
        KinematicsError: The text is not a robot description with moving joints.
    """
    try:
        root = ElementTree.fromstring(urdf)
    except ElementTree.ParseError as error:
        raise KinematicsError(f'robot_description: {error}; expected URDF') from error
    names, rows = [], []
    for joint in root.iter('joint'):
        kind, limit = joint.get('type'), joint.find('limit')
        if kind not in _MOVING or not joint.get('name'):
            continue
        attributes = {} if limit is None else limit.attrib
        bounded = kind != 'continuous'
        names.append(str(joint.get('name')))
        rows.append(
            (
                float(attributes.get('lower', 0.0)) if bounded else -np.inf,
                float(attributes.get('upper', 0.0)) if bounded else np.inf,
                float(attributes.get('velocity', np.inf)),
            )
        )
    if not rows:
        raise KinematicsError('robot_description: no moving joint; expected at least one')
    table = np.array(rows)
    return Limits(tuple(names), table[:, 0], table[:, 1], table[:, 2])
