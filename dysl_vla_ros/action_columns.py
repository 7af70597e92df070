"""Where an action holds joints and where openings: one arm after the other, its gripper last.

So it is with one arm, ``[joints, opening]``, and with two under one policy, as in ALOHA's data
sets: ``[left joints, left opening, right joints, right opening]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ActionColumns:
    """Columns of an action, or places in what the policy reads of the joints.

    Attributes:
        motion: Of the joints, arm by arm (or of the pose of an end effector).
        grippers: Of the openings, one per arm; () without grippers.
    """

    motion: tuple[int, ...]
    grippers: tuple[int, ...]


def action_columns(has_gripper: bool, sizes: Sequence[int]) -> ActionColumns:
    """The columns of an action.

    Args:
        has_gripper: Whether each arm ends with an opening.
        sizes: Joints of each arm.
    """
    motion: list[int] = []
    grippers: list[int] = []
    at = 0
    for size in sizes:
        motion += range(at, at + size)
        at += size
        if has_gripper:
            grippers.append(at)
            at += 1
    return ActionColumns(tuple(motion), tuple(grippers))
