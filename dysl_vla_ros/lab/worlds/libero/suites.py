"""What both sides of the socket know: suites, limits, cameras, units.

Limits and waiting steps are those of the published evaluations (OpenVLA-OFT's
``run_libero_eval``); the units are those of robosuite's OSC_POSE controller.
"""

from __future__ import annotations

STEP_LIMITS = {
    'libero_spatial': 220, 'libero_object': 280, 'libero_goal': 300, 'libero_10': 520,
    'libero_90': 400,
}  # fmt: skip
"""Actions that an episode may take, by suite."""
PERTURBATIONS = ('object', 'swap', 'lan', 'task')
"""LIBERO-PRO's, each a suite of its own: other looks, other places, other words, another task."""
OWN_WORDS = ('_lan', '_task')
"""Suites whose tasks' true words stand in the task file; its name still says the old ones."""
WAITING = 10
"""Actions at rest before the policy's first, while things settle."""
STARTS = 50
"""Official start states of every task."""
TASKS = 10
CAMERAS = {'image': ('agentview', 128), 'wrist_image': ('robot0_eye_in_hand', 64)}
"""Ours -> the benchmark's camera, and the edge of its square picture [pixels]."""
JOINTS = 7
ACTION_DIM = 7
PERIOD_S = 0.05
STEP_M, STEP_RAD = 0.05, 0.5
"""What an action of 1 asks of the controller [m, rad]; it gets about half as far in a period."""
WIDEST_M = 0.08
"""Between the open fingers."""
RECOLOURED = (0.6, 0.4)
"""Share of the demonstrations with other colours, and of the things in each of them."""


def family_of(suite: str) -> str:
    """The unperturbed suite: ``libero_object`` of ``libero_object_swap``."""
    known = [name for name in STEP_LIMITS if suite == name or suite.startswith(f'{name}_')]
    return max(known, key=len, default='')


def known_suites() -> tuple[str, ...]:
    """Every name that ``--suite`` takes."""
    perturbed = [f'{suite}_{how}' for suite in STEP_LIMITS for how in PERTURBATIONS
                 if suite != 'libero_90']  # fmt: skip
    return (*STEP_LIMITS, *perturbed)
