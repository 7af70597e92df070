"""What the bundled robot's datasets look like: one place for collection and training."""

from __future__ import annotations

from dysl_vla_ros.lab.data.dataset_format import features
from dysl_vla_ros.lab.data.dataset_reader import Contract
from dysl_vla_ros.lab.worlds.cell import CAMERA_SIZES, HORIZON
from dysl_vla_ros.lab.worlds.goals import all_goals
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.expert import ACTION_PERIOD

ROBOT = 'ur5e'
FPS = round(1.0 / ACTION_PERIOD)
LARGEST_STEP = 0.011
"""No expert action moves the gripper further [m]; absolute poses do."""


def goal_names() -> list[str]:
    """Every goal in words, by number: ``'on: red cube, blue cylinder'``."""
    return [
        f'{goal.relation}: {goal.target}' + (f', {goal.reference}' if goal.reference else '')
        for goal in all_goals()
    ]


def contract(label_goals: int = 1) -> Contract:
    """What training asks of a dataset.

    Args:
        label_goals: Most goals labelled per frame; a reader takes any number.
    """
    columns = features(CAMERA_SIZES, arm.JOINT_NAMES, HORIZON, label_goals)
    return Contract(columns, FPS, goal_names(), LARGEST_STEP)
