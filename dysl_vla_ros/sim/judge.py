"""Success of an episode, judged from the state of the physics alone."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.goals import Episode

LIFTED = 0.05
"""A picked object is held at least this far above where it lay [m]."""
PUSHED = 0.04
"""A pushed object has moved at least this far [m]."""


def succeeded(
    episode: Episode, positions: FloatArray, held: int | None, speeds: FloatArray
) -> bool:
    """Judge the goal from the final state.

    Args:
        episode: What was asked, and where everything started.
        positions: Where the objects' middles are now, shape (n, 3) [m].
        held: Index of the object between the fingers, None if there is none.
        speeds: How fast the objects move, shape (n,) [m/s].
    """
    goal = episode.goal
    position, start = positions[goal.target], np.array(episode.target.position)
    if goal.family == 'pick':
        return held == goal.target and bool(position[2] - start[2] >= LIFTED)
    if held is not None or speeds[goal.target] > 0.05:
        return False
    if goal.family == 'bin':
        inside = np.abs(position[:2] - episode.bin_position).max() < scene.BIN_HALF
        return bool(inside and position[2] < scene.BIN_HEIGHT)
    if goal.family == 'push':
        side = -1.0 if goal.relation == 'left' else 1.0
        return bool(side * (position[1] - start[1]) >= PUSHED and position[2] > 0.0)
    assert goal.reference is not None
    reference = positions[goal.reference]
    apart = float(np.linalg.norm(position[:2] - reference[:2]))
    lies_on_table = abs(position[2] - start[2]) < 0.012
    if goal.relation == 'beside':
        # About 6 cm from face to face, and both on the table.
        return bool(lies_on_table and apart < 0.105)
    return bool(apart < 0.03 and position[2] - reference[2] > 0.03 and not lies_on_table)
