"""A robot description as the few numbers from which the page draws the arm, and its limits."""

from __future__ import annotations

from typing import Any

from dysl_vla_ros.description import read_description


def skeleton(text: str) -> list[dict[str, Any]]:
    """Joints in an order in which each comes after the one that carries it.

    Args:
        text: The description (URDF).

    Returns:
        Per joint ``name``, ``kind``, ``parent``, ``child``, ``xyz`` [m], ``rpy`` [rad], ``axis``,
        ``lower`` and ``upper`` [rad or m] (None without), ``mimic``: name, factor, offset.

    Raises:
        KinematicsError: It cannot be read; names joint or link.
    """
    found = []
    for joint in read_description(text).joints:
        movable = joint.kind in ('revolute', 'continuous', 'prismatic')
        limited = joint.kind in ('revolute', 'prismatic')
        mimic = None
        if joint.mimic:
            mimic = [joint.mimic.get('joint', ''), joint.number('mimic', 'multiplier', 1.0),
                     joint.number('mimic', 'offset', 0.0)]  # fmt: skip
        found.append({
            'name': joint.name, 'kind': joint.kind, 'parent': joint.parent, 'child': joint.child,
            'xyz': joint.xyz.tolist(), 'rpy': joint.rpy.tolist(),
            'axis': joint.direction().tolist() if movable else [0.0, 0.0, 1.0],
            'lower': joint.number('limit', 'lower') if limited else None,
            'upper': joint.number('limit', 'upper') if limited else None,
            'mimic': mimic,
        })  # fmt: skip
    return found
