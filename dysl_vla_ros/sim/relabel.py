"""One recorded frame, many lessons: every goal that could be asked of it."""

from __future__ import annotations

import math

from dysl_vla_ros.sim import scene, tasks
from dysl_vla_ros.sim.expert_state import ExpertState, ObjectPose
from dysl_vla_ros.sim.goals import Goal, Thing
from dysl_vla_ros.sim.tasks import nameable_goals

_LANE = 0.07


def sensible_goals(state: ExpertState, things: tuple[Thing, ...]) -> tuple[Goal, ...]:
    """Goals that fitted the layout at the start and still make sense in this state.

    Args:
        state: The state as it is now.
        things: The episode's objects as they lay at its start.
    """
    return tuple(goal for goal in nameable_goals(things) if _sensible(state, goal))


def _sensible(state: ExpertState, goal: Goal) -> bool:
    target = state.objects[goal.target]
    held = state.held == goal.target
    if not held and not _free(state, goal.target):
        # In the bin is where "into the bin" ends, and on top where "onto" ends.
        return goal.family == 'bin' and _in_bin(state, target)
    if goal.family == 'push':
        side = -1.0 if goal.relation == 'left' else 1.0
        return not held and all(
            abs(other.x - target.x) > _LANE or side * (other.y - target.y) < -0.12
            for index, other in enumerate(state.objects)
            if index != goal.target
        )
    if goal.reference is None:
        return True
    reference = state.objects[goal.reference]
    if goal.reference == state.held or _in_bin(state, reference) or reference.lying:
        return False
    if reference.z > reference.half_height + 0.01 or not _reachable(reference):
        return False
    slot = tasks.BESIDE_OFFSET if goal.relation == 'beside' else 0.0
    return all(
        math.hypot(other.x - reference.x - slot, other.y - reference.y) > 0.05
        for index, other in enumerate(state.objects)
        if index not in (goal.target, goal.reference)
    )


def _free(state: ExpertState, index: int) -> bool:
    """Whether the expert can take the object where it is now."""
    thing = state.objects[index]
    covered = any(
        other.z > thing.z + 0.02 and math.hypot(other.x - thing.x, other.y - thing.y) < 0.04
        for other in state.objects
    )
    return not covered and _reachable(thing) and not _in_bin(state, thing)


def _reachable(thing: ObjectPose) -> bool:
    return thing.z > 0.0 and 0.38 < thing.x < 0.72 and abs(thing.y) < 0.30


def _in_bin(state: ExpertState, thing: ObjectPose) -> bool:
    bx, by = state.bin_position
    near = max(abs(thing.x - bx), abs(thing.y - by)) < scene.BIN_HALF
    return near and thing.z < scene.BIN_HEIGHT + 0.02
