"""How the hand is moved: an action towards a pose, and what actions ahead would lead to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.world import Floats
from dysl_vla_ros.lab.worlds.libero.suites import STEP_M, STEP_RAD

OPEN, CLOSE = -1.0, 1.0
DOWN: Floats = np.array(((0, 1.0, 0), (1.0, 0, 0), (0, 0, -1.0)))
"""The hand as it begins; its fingers open along its x (first column), it points along its z."""
_GLIDE, _PULL = 0.57, 0.11
_TURN_GLIDE, _TURN_PULL = 0.71, 0.09
"""How the hand follows in free motion: displacement = glide x the last + pull x what is asked;
least squares over 540 disturbed actions, rms 0.65 of 6.3 mm."""

Free = Callable[[Floats, Floats], 'tuple[Floats, Floats] | None']
"""Hand (3,) and its frame (3, 3) -> where to and in which frame; None once it is there."""


def towards(
    hand: Floats, frame: Floats, target: Floats, wanted: Floats, gripper: float,
    most: float = 0.5,
) -> Floats:  # fmt: skip
    """The official action (7,) towards a pose.

    Args:
        hand: Position (3,) [m].
        frame: Orientation (3, 3).
        target: Position to come to (3,) [m].
        wanted: Orientation to come to (3, 3).
        gripper: ``OPEN`` or ``CLOSE``.
        most: What is at most asked of a turn, 0 to 1.
    """
    action = np.zeros(7)
    action[:3] = (target - hand) / STEP_M
    largest = np.abs(action[:3]).max()
    if largest > 1:
        action[:3] /= largest
    turned = _vector(wanted @ frame.T) / STEP_RAD
    action[3:6] = np.clip(turned, -most, most)
    action[6] = gripper
    return action


def apart(frame: Floats, wanted: Floats) -> float:
    """Angle between two orientations [rad]."""
    return float(np.linalg.norm(_vector(wanted @ frame.T)))


def rolled(
    hand: Floats, frame: Floats, free: Free, count: int, most: float = 0.5
) -> Floats | None:
    """The next ``count`` actions (count, 7) of a free motion with the hand open.

    None where ``free`` is there within them.
    """
    moving, turning = np.zeros(3), np.zeros(3)
    found = []
    for _ in range(count):
        way = free(hand, frame)
        if way is None:
            return None
        action = towards(hand, frame, *way, OPEN, most)
        found.append(action)
        moving = _GLIDE * moving + _PULL * STEP_M * action[:3]
        turning = _TURN_GLIDE * turning + _TURN_PULL * STEP_RAD * action[3:6]
        hand, frame = hand + moving, rotation(turning) @ frame
    return np.array(found)


def _vector(matrix: Floats) -> Floats:
    angle = np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))
    axis = np.array((matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0],
                     matrix[1, 0] - matrix[0, 1]))  # fmt: skip
    length = np.linalg.norm(axis)
    return np.zeros(3) if length < 1e-9 else axis / length * angle


def rotation(vector: Floats) -> Floats:
    """Of a rotation vector (3,) [rad], by Rodrigues' formula (3, 3)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
