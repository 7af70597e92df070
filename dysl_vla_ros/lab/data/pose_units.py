"""A pose in millimetres or degrees is refused: the node gives and takes metres and radians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.side import Side

_FARTHEST = 10.0
"""No tip is farther from the base of its arm [m]."""
_MOST_TURNED = 4.0 * np.pi
"""No angle of a hand is counted beyond [rad]."""


def refuse_other_pose_units(
    side: Side, values: Sequence[NDArray[np.float32]], scalable: bool
) -> None:
    """Refuse poses, no increments, whose numbers can be no metres and radians.

    Args:
        side: What they are; numbers that are no pose pass.
        values: Of each episode, (frames, size).
        scalable: Whether ``--action-scale`` would bring them there.

    Raises:
        ConfigError: Says of which columns, how far they go, and what would be right.
    """
    if not side.rotation:
        return
    reach = np.max([np.abs(part[:, :6]).max(axis=0) for part in values], axis=0)
    for first, most, unit, factor, scale in (
        (0, _FARTHEST, 'metres', '0.001', '0.001 0.001 0.001 1 1 1'),
        (3, _MOST_TURNED, 'radians', '0.0174533', '1 1 1 0.0174533 0.0174533 0.0174533'),
    ):
        far = float(reach[first : first + 3].max())
        if far <= most:
            continue
        right = f'--action-scale {scale}' if scalable else f'convert them (by {factor}?)'
        raise ConfigError(
            f'{", ".join(side.columns)}: {"rotation" if first else "position"}',
            f'up to {far:.3g}', f'{unit}, up to {most:.3g}, as the node counts them: {right}',
        )  # fmt: skip
