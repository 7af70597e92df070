"""A scripted expert without memory: what to do next is a function of the present state.

Because it remembers nothing, every recorded frame can be labelled again for every goal that
could be asked of it, by rolling the expert out on a kinematic copy of the state. Its motion
follows funnels: how high the gripper flies is a smooth function of how far away its goal is.
"""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.sim.expert_state import ExpertState, Move
from dysl_vla_ros.sim.forecast import rolled
from dysl_vla_ros.sim.funnel import soft
from dysl_vla_ros.sim.goals import Goal
from dysl_vla_ros.sim.skills import decide

ACTION_PERIOD = 0.05
"""How long one action lasts [s]."""


def _array(state: ExpertState, move: Move) -> FloatArray:
    # A tilted gripper is turned upright again along the way.
    tilt_x, tilt_y = (-soft(t, 0.2, 0.05) for t in state.tilt)
    return np.array((move.x, move.y, move.z, tilt_x, tilt_y, move.yaw, move.gripper))


def expert_action(state: ExpertState, goal: Goal) -> FloatArray:
    """The next action, shape (7,): base-frame displacement [m], rotation [rad], gripper."""
    return _array(state, decide(state, goal))


def expert_chunk(state: ExpertState, goal: Goal, horizon: int = 8) -> FloatArray:
    """The next ``horizon`` actions, shape (horizon, 7), on a kinematic copy of the state."""
    actions = np.empty((horizon, 7))
    for index in range(horizon):
        move = decide(state, goal)
        actions[index] = _array(state, move)
        state = rolled(state, move, actions[index], goal)
    return actions
