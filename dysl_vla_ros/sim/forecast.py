"""The expert's own forecast: one action on a kinematic copy of the state."""

from __future__ import annotations

import math
from dataclasses import replace

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.expert_state import ExpertState, Move, ObjectPose, Point, push_reach, support
from dysl_vla_ros.sim.goals import Goal

OPENING_STEP = 0.04
"""How far the gripper opens or closes during one action."""
_UNLOAD_STEP = 0.005


def rolled(state: ExpertState, move: Move, action: FloatArray, goal: Goal) -> ExpertState:
    """The state one action later, as geometry alone predicts it."""
    x, y, z = state.position
    position = (x + move.x, y + move.y, z + move.z)
    change = min(OPENING_STEP, max(-OPENING_STEP, move.gripper - state.opening))
    opening = state.opening + change
    objects, held = state.objects, state.held
    if held is None and change < 0.0:
        for index, thing in enumerate(objects):
            width = scene.grasp_width(thing.shape)
            if (
                opening <= width <= state.opening + 1e-9
                and math.hypot(thing.x - x, thing.y - y) < 0.02
                and abs(thing.z - z) < thing.half_height
            ):
                held, opening = index, width
    elif held is not None:
        thing = objects[held]
        width = scene.grasp_width(thing.shape)
        if move.gripper < 0.5:
            opening = max(opening, min(width, state.opening))
        elif state.opening < width:
            # The fingers first let go of what they squeeze.
            opening = min(opening, state.opening + _UNLOAD_STEP)
        if opening > width + 0.03:
            base = support(state, thing.x, thing.y, held)
            fallen = min(thing.z, base + thing.half_height)
            objects = _with(objects, held, replace(thing, z=fallen))
            held = None
        else:
            objects = _with(
                objects, held,
                replace(thing, x=thing.x + move.x, y=thing.y + move.y, z=thing.z + move.z,
                        yaw=thing.yaw + move.yaw),
            )  # fmt: skip
    if goal.family == 'push' and held is None and position[2] < 0.05:
        objects = _pushed(objects, state.position, position, goal)
    return ExpertState(
        position=position,
        yaw=state.yaw + move.yaw,
        tilt=(state.tilt[0] + float(action[3]), state.tilt[1] + float(action[4])),
        gripper_command=move.gripper,
        opening=opening,
        held=held,
        objects=objects,
        bin_position=state.bin_position,
    )


def _with(
    objects: tuple[ObjectPose, ...], index: int, thing: ObjectPose
) -> tuple[ObjectPose, ...]:
    return (*objects[:index], thing, *objects[index + 1 :])


def _pushed(
    objects: tuple[ObjectPose, ...], before: Point, after: Point, goal: Goal
) -> tuple[ObjectPose, ...]:
    thing = objects[goal.target]
    side = -1.0 if goal.relation == 'left' else 1.0
    # The commanded pose leads the real one, so the gap may be smaller than contact allows.
    reach = min(push_reach(thing), side * (thing.y - before[1]))
    inside = reach - side * (thing.y - after[1])
    if reach > 0.0 and abs(thing.x - after[0]) < 0.03 and inside > 0.0:
        return _with(objects, goal.target, replace(thing, y=thing.y + side * inside))
    return objects
