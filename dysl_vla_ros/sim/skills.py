"""What the expert can do: reach, lift, carry, put down, retreat, push; and which is due."""

from __future__ import annotations

import math

from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.expert_state import (
    ExpertState,
    Move,
    Point,
    alignment,
    push_reach,
    support,
)
from dysl_vla_ros.sim.funnel import MAX_STEP, funnel, limited, ramp, soft, turn
from dysl_vla_ros.sim.goals import Goal
from dysl_vla_ros.sim.tasks import BESIDE_OFFSET

_TRAVEL = 0.10
_LIFT_HEIGHT = 0.19
_RETREAT_HEIGHT = 0.16
_FINGERTIP = scene.FINGER_BELOW_GRASP


def _reach(state: ExpertState, target: int) -> Move:
    thing = state.objects[target]
    px, py, pz = state.position
    goal_z = min(0.2, max(thing.z, _FINGERTIP + 0.004))
    yaw_error = alignment(state.yaw, thing)
    ex, ey, ez = thing.x - px, thing.y - py, goal_z - pz
    width = scene.grasp_width(thing.shape)
    started = state.opening < 0.93
    loose = 2.5 if started else 1.0
    there = (
        math.hypot(ex, ey) < 0.004 * loose
        and abs(ez) < 0.004 * loose
        and abs(yaw_error) < 0.08 * loose
        and state.opening > width - 0.08
    )
    if there:
        step = (0.15 * ex, 0.15 * ey, 0.15 * ez)
        return limited(state, step, 0.2 * yaw_error, 0.0)
    # Fingers that are not open must not come down on the object.
    shut = 1.0 - ramp(state.opening, 0.72, 0.93)
    lifted = (ex, ey, ez + 0.06 * shut)
    # The rim lets the gripper pass over everything on the way.
    step = funnel(lifted, 0.018, max(_TRAVEL, 0.135 - goal_z), 0.03)
    return limited(state, step, turn(yaw_error), 1.0)


def _lift(state: ExpertState, target: int) -> Move:
    thing = state.objects[target]
    clear = thing.z - thing.half_height - support(state, thing.x, thing.y, target)
    rise = _LIFT_HEIGHT - state.position[2]
    if abs(rise) < 0.003:
        return Move(0.0, 0.0, 0.0, 0.0, 0.0)
    gripped = ramp(scene.grasp_width(thing.shape) + 0.02 - state.opening, 0.0, 0.02)
    z = min(soft(rise, 0.25, MAX_STEP), (0.002 + 0.12 * max(0.0, clear)) * gripped)
    return limited(state, (0.0, 0.0, z), 0.0, 0.0)


def _destination(state: ExpertState, goal: Goal) -> tuple[Point, float, float]:
    """Where the middle of the held object goes, the funnel's width and the tolerance [m]."""
    half = state.objects[goal.target].half_height
    if goal.family == 'bin':
        return (*state.bin_position, half + 0.022), 0.035, 0.012
    assert goal.reference is not None
    other = state.objects[goal.reference]
    if goal.relation == 'onto':
        return (other.x, other.y, other.z + other.half_height + half + 0.002), 0.022, 0.009
    base = other.z - other.half_height
    return (other.x + BESIDE_OFFSET, other.y, max(0.0, base) + half + 0.001), 0.030, 0.016


def _carry(state: ExpertState, goal: Goal) -> Move:
    thing = state.objects[goal.target]
    (dx, dy, dz), width, tolerance = _destination(state, goal)
    ex, ey, ez = dx - thing.x, dy - thing.y, dz - thing.z
    loose = 2.0 if state.gripper_command > 0.5 else 1.0
    # Letting go from a little above is fine; waiting for the last millimetres is what a policy
    # cannot learn, since the camera does not show them.
    if math.hypot(ex, ey) < tolerance * loose and abs(ez) < 0.008 * loose:
        return Move(0.0, 0.0, 0.0, 0.0, 1.0)
    half = thing.half_height
    clear = thing.z - half - support(state, thing.x, thing.y, goal.target)
    above = max(0.075, 0.120 + half - dz)
    step = funnel((ex, ey, ez), width, above, clear)
    gripped = ramp(scene.grasp_width(thing.shape) + 0.02 - state.opening, 0.0, 0.02)
    step = (step[0] * gripped, step[1] * gripped, step[2] * gripped)
    return limited(state, step, turn(-state.yaw), 0.0)


def _put_down(state: ExpertState) -> Move:
    """Set the wrong object down where it is, or beside what stands there."""
    assert state.held is not None
    thing = state.objects[state.held]
    half = thing.half_height
    push_x = push_y = 0.0
    obstacles = [(o.x, o.y, 0.095) for i, o in enumerate(state.objects) if i != state.held]
    obstacles.append((*state.bin_position, 0.16))
    for ox, oy, radius in obstacles:
        away = math.hypot(thing.x - ox, thing.y - oy)
        if away < radius:
            # Exactly above something, leave towards the robot's own middle line.
            ux, uy = ((thing.x - ox) / away, (thing.y - oy) / away) if away > 1e-3 else (0.0, -1.0)
            push_x += ux * (radius - away)
            push_y += uy * (radius - away)
    target_x = min(0.66, max(0.40, thing.x + push_x))
    target_y = min(0.24, max(-0.24, thing.y + push_y))
    offset = (target_x - thing.x, target_y - thing.y, half + 0.001 - thing.z)
    if math.hypot(offset[0], offset[1]) < 0.012 and abs(offset[2]) < 0.005:
        return Move(0.0, 0.0, 0.0, 0.0, 1.0)
    step = funnel(offset, 0.02, 0.12, thing.z - half)
    return limited(state, step, turn(-state.yaw), 0.0)


def _achieved(state: ExpertState, goal: Goal) -> bool:
    """Whether the target already is where it should be, for bin and place."""
    thing = state.objects[goal.target]
    if goal.family == 'bin':
        bx, by = state.bin_position
        inside = max(abs(thing.x - bx), abs(thing.y - by)) < scene.BIN_HALF
        return inside and thing.z < scene.BIN_HEIGHT + 0.02
    assert goal.reference is not None
    other = state.objects[goal.reference]
    apart = math.hypot(thing.x - other.x, thing.y - other.y)
    if goal.relation == 'onto':
        return apart < 0.022 and thing.z - other.z > 0.03
    return apart < 0.095 and abs(thing.z - thing.half_height) < 0.010


def _retreat(state: ExpertState, gripper: float) -> Move:
    rise = _RETREAT_HEIGHT - state.position[2]
    if rise < 0.003:
        return Move(0.0, 0.0, 0.0, 0.0, gripper)
    free = ramp(state.opening, 0.62, 0.95) if gripper > 0.5 else 1.0
    low = max(0.0, state.position[2] - 0.02)
    return limited(
        state, (0.0, 0.0, free * min(soft(rise, 0.25, MAX_STEP), 0.003 + 0.12 * low)), 0.0,
        gripper,
    )  # fmt: skip


def _push(state: ExpertState, goal: Goal) -> Move:
    thing = state.objects[goal.target]
    side = -1.0 if goal.relation == 'left' else 1.0
    px, py, pz = state.position
    to_line = scene.PUSH_LINE + 0.003 - side * thing.y
    if to_line <= 0.003:
        return _retreat(state, 0.0)
    goal_z = _FINGERTIP + 0.008
    along = side * (py - thing.y)
    across = thing.x - px
    # The gripper comes down behind the object, then everything from there to the object is
    # floor of the funnel: low it may go on up to contact, high it must stay behind.
    contact = -push_reach(thing)
    behind = contact - 0.030
    low = 1.0 - ramp(pz - goal_z, 0.008, 0.035)
    limit = behind + low * (contact + 0.012 - behind)
    excess = max(0.0, along - limit)
    lag = max(0.0, behind - along)
    away = max(0.0, math.hypot(across, excess) - 0.005)
    rim = 0.115 * (1.0 - math.exp(-((away / 0.018) ** 2) - (max(0.0, lag - 0.02) / 0.03) ** 2))
    rise = goal_z + rim - pz
    z = soft(rise, 0.35, MAX_STEP)
    if rise < 0.0:
        z = max(z, -(0.003 + 0.13 * max(0.0, pz - goal_z)))
    under = 1.0 - ramp(rise, 0.012, 0.06)
    aligned = 1.0 - ramp(abs(across), 0.004, 0.012)
    pushing = low * aligned
    speed = min(0.0065, 0.0015 + 0.20 * to_line)
    speed = min(speed, 0.0035 + 0.12 * max(0.0, contact - along))
    towards = side * soft(behind - along, 0.22, MAX_STEP)
    y = pushing * side * speed + (1.0 - pushing) * towards * under
    x = soft(across, 0.22, MAX_STEP) * under
    shut = 1.0 - ramp(state.opening, 0.10, 0.30)
    if z < 0.0:
        z *= max(shut, ramp(pz, 0.06, 0.10))
    return limited(state, (x, y, z), turn(-state.yaw), 0.0)


def decide(state: ExpertState, goal: Goal) -> Move:
    """The next move towards a goal, from this state alone."""
    if state.held is not None and (goal.family == 'push' or state.held != goal.target):
        return _put_down(state)
    if goal.family == 'push':
        return _push(state, goal)
    if state.held == goal.target:
        return _lift(state, goal.target) if goal.family == 'pick' else _carry(state, goal)
    if goal.family != 'pick' and _achieved(state, goal):
        return _retreat(state, 1.0)
    return _reach(state, goal.target)
