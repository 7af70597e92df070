"""A scripted expert without memory: what to do next is a function of the present state.

Because it remembers nothing, every recorded frame can be labelled again for every goal that
could be asked of it, by rolling the expert out on a kinematic copy of the state. Its motion
follows funnels: how high the gripper flies is a smooth function of how far away its goal is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.sim import arm, scene
from dysl_vla_ros.sim.scene import Shape
from dysl_vla_ros.sim.tasks import BESIDE_OFFSET, Goal

Point = tuple[float, float, float]

ACTION_PERIOD = 0.05
"""How long one action lasts [s]."""
MAX_STEP = 0.010
"""Farthest that one action moves the gripper [m]."""
OPENING_STEP = 0.04
"""How far the gripper opens or closes during one action."""

_UNLOAD_STEP = 0.005
_MAX_TURN = 0.08
_TRAVEL = 0.10
_LIFT_HEIGHT = 0.19
_RETREAT_HEIGHT = 0.16
_FINGERTIP = scene.FINGER_BELOW_GRASP
_CLOSED_HALF = scene.FINGER_THICKNESS


@dataclass(frozen=True)
class ObjectPose:
    """Where an object is.

    Attributes:
        x, y, z: Its middle in ``base_link`` [m].
        yaw: Direction of a horizontal axis; of a lying cylinder, of its own axis [rad].
        shape: Cube or cylinder.
        lying: Whether it is a cylinder that fell over.
    """

    x: float
    y: float
    z: float
    yaw: float
    shape: Shape
    lying: bool = False

    @property
    def half_height(self) -> float:
        """From its middle down to what it rests on [m]."""
        return scene.CYLINDER_RADIUS if self.lying else scene.half_height(self.shape)


@dataclass(frozen=True)
class ExpertState:
    """Everything the expert looks at; privileged, never an input of a policy.

    Attributes:
        position: Commanded grasp point in ``base_link`` [m].
        yaw: Commanded rotation about the vertical [rad]; see `arm.pointing_down`.
        tilt: Commanded deviation from pointing down, about base x and y [rad].
        gripper_command: Opening that the gripper was told, 0..1.
        opening: Measured opening, 0..1.
        held: Index of the object between the fingers, None if there is none.
        objects: Poses in the scene's order; a held one is shifted along with ``position``.
        bin_position: Middle of the bin (x, y) [m].
    """

    position: Point
    yaw: float
    tilt: tuple[float, float]
    gripper_command: float
    opening: float
    held: int | None
    objects: tuple[ObjectPose, ...]
    bin_position: tuple[float, float]


@dataclass(frozen=True)
class _Move:
    """One action before it becomes an array: displacement [m], turn [rad], gripper target."""

    x: float
    y: float
    z: float
    yaw: float
    gripper: float


def _ramp(value: float, low: float, high: float) -> float:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    u = min(1.0, max(0.0, (value - low) / (high - low)))
    return u * u * (3.0 - 2.0 * u)


def _soft(error: float, gain: float, limit: float) -> float:
    """Proportional step that saturates smoothly at ``limit``."""
    return limit * math.tanh(gain * error / limit)


def _fold(angle: float) -> float:
    """The equivalent turn of a square thing, in +-45 degrees."""
    return (angle + 0.25 * math.pi) % (0.5 * math.pi) - 0.25 * math.pi


def _turn(error: float) -> float:
    return _soft(error, 0.25, _MAX_TURN)


def _support(state: ExpertState, x: float, y: float, but: int | None) -> float:
    """Height of what lies under a point [m]: table, bin floor or an object."""
    height = 0.0
    bx, by = state.bin_position
    if max(abs(x - bx), abs(y - by)) < scene.BIN_HALF:
        height = 0.004
    for index, other in enumerate(state.objects):
        if index != but and math.hypot(other.x - x, other.y - y) < 0.03:
            height = max(height, other.z + other.half_height)
    return height


def _funnel(offset: Point, width: float, above: float, start: float) -> Point:
    """Step towards a point, from above: ``offset`` is where it is, seen from here.

    Args:
        offset: From the point that moves (grasp point or held object) to its goal [m].
        width: Radius of the funnel [m].
        above: Height of its rim above the goal [m].
        start: How far the lowest moving point is above what it may touch [m]; slow near it.
    """
    away = math.hypot(offset[0], offset[1])
    rim = above * (1.0 - math.exp(-((away / width) ** 2)))
    rise = offset[2] + rim
    if rise > 0.0:
        up = _soft(rise, 0.35, MAX_STEP)
        z = min(up, 0.0025 + 0.15 * max(0.0, start))
    else:
        z = max(_soft(rise, 0.35, MAX_STEP), -(0.0022 + 0.11 * max(0.0, -offset[2])))
    # Under the funnel's surface: first up, then sideways.
    sideways = _soft(away, 0.22, MAX_STEP) * (1.0 - _ramp(rise, 0.012, 0.06))
    scale = sideways / away if away > 1e-9 else 0.0
    return offset[0] * scale, offset[1] * scale, z


def _limited(state: ExpertState, step: Point, yaw: float, gripper: float) -> _Move:
    x, y, z = step
    hx, hy, hz = arm.HOME_POSITION
    px, py, pz = state.position
    # Gently away from the home pose; elsewhere at most one centimetre.
    ramp = 0.004 + 0.3 * math.dist((px, py, pz), (hx, hy, hz))
    scale = min(1.0, min(MAX_STEP, ramp) / max(1e-9, math.sqrt(x * x + y * y + z * z)))
    return _Move(x * scale, y * scale, z * scale, yaw, gripper)


def _alignment(yaw: float, thing: ObjectPose) -> float:
    """How far to turn so that the fingers close on opposite faces [rad]."""
    if thing.lying:
        return (thing.yaw - yaw + 0.5 * math.pi) % math.pi - 0.5 * math.pi
    return -yaw if thing.shape == 'cylinder' else _fold(thing.yaw - yaw)


def _reach(state: ExpertState, target: int) -> _Move:
    thing = state.objects[target]
    px, py, pz = state.position
    goal_z = min(0.2, max(thing.z, _FINGERTIP + 0.004))
    yaw_error = _alignment(state.yaw, thing)
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
        return _limited(state, step, 0.2 * yaw_error, 0.0)
    # Fingers that are not open must not come down on the object.
    shut = 1.0 - _ramp(state.opening, 0.72, 0.93)
    lifted = (ex, ey, ez + 0.06 * shut)
    # The rim lets the gripper pass over everything on the way.
    step = _funnel(lifted, 0.018, max(_TRAVEL, 0.135 - goal_z), 0.03)
    return _limited(state, step, _turn(yaw_error), 1.0)


def _lift(state: ExpertState, target: int) -> _Move:
    thing = state.objects[target]
    clear = thing.z - thing.half_height - _support(state, thing.x, thing.y, target)
    rise = _LIFT_HEIGHT - state.position[2]
    if abs(rise) < 0.003:
        return _Move(0.0, 0.0, 0.0, 0.0, 0.0)
    gripped = _ramp(scene.grasp_width(thing.shape) + 0.02 - state.opening, 0.0, 0.02)
    z = min(_soft(rise, 0.25, MAX_STEP), (0.002 + 0.12 * max(0.0, clear)) * gripped)
    return _limited(state, (0.0, 0.0, z), 0.0, 0.0)


def _destination(state: ExpertState, goal: Goal) -> tuple[Point, float, float]:
    """Where the middle of the held object goes, the funnel's width and the tolerance [m]."""
    half = state.objects[goal.target].half_height
    if goal.family == 'bin':
        return (*state.bin_position, half + 0.022), 0.035, 0.012
    assert goal.reference is not None
    other = state.objects[goal.reference]
    if goal.relation == 'onto':
        return (other.x, other.y, other.z + other.half_height + half + 0.002), (
            0.022
        ), 0.004
    base = other.z - other.half_height
    return (other.x + BESIDE_OFFSET, other.y, max(0.0, base) + half + 0.001), 0.018, 0.006


def _carry(state: ExpertState, goal: Goal) -> _Move:
    thing = state.objects[goal.target]
    (dx, dy, dz), width, tolerance = _destination(state, goal)
    ex, ey, ez = dx - thing.x, dy - thing.y, dz - thing.z
    loose = 2.0 if state.gripper_command > 0.5 else 1.0
    if math.hypot(ex, ey) < tolerance * loose and abs(ez) < 0.004 * loose:
        return _Move(0.0, 0.0, 0.0, 0.0, 1.0)
    half = thing.half_height
    clear = thing.z - half - _support(state, thing.x, thing.y, goal.target)
    above = max(0.075, 0.120 + half - dz)
    step = _funnel((ex, ey, ez), width, above, clear)
    gripped = _ramp(scene.grasp_width(thing.shape) + 0.02 - state.opening, 0.0, 0.02)
    step = (step[0] * gripped, step[1] * gripped, step[2] * gripped)
    return _limited(state, step, _turn(-state.yaw), 0.0)


def _put_down(state: ExpertState) -> _Move:
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
        return _Move(0.0, 0.0, 0.0, 0.0, 1.0)
    step = _funnel(offset, 0.02, 0.12, thing.z - half)
    return _limited(state, step, _turn(-state.yaw), 0.0)


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


def _retreat(state: ExpertState, gripper: float) -> _Move:
    rise = _RETREAT_HEIGHT - state.position[2]
    if rise < 0.003:
        return _Move(0.0, 0.0, 0.0, 0.0, gripper)
    free = _ramp(state.opening, 0.62, 0.95) if gripper > 0.5 else 1.0
    low = max(0.0, state.position[2] - 0.02)
    return _limited(
        state, (0.0, 0.0, free * min(_soft(rise, 0.25, MAX_STEP), 0.003 + 0.12 * low)), 0.0,
        gripper,
    )  # fmt: skip


def _push_reach(thing: ObjectPose) -> float:
    """From the middle of a closed gripper to that of an object that it touches, along y [m]."""
    if thing.shape == 'cylinder':
        return scene.CYLINDER_RADIUS + _CLOSED_HALF
    angle = abs(_fold(thing.yaw))
    # A corner beyond the fingers' width does not touch them.
    face = 0.5 * scene.CUBE_SIZE * math.cos(angle) + scene.PAD_HALF_WIDTH * math.sin(angle)
    return face + _CLOSED_HALF


def _push(state: ExpertState, goal: Goal) -> _Move:
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
    contact = -_push_reach(thing)
    behind = contact - 0.030
    low = 1.0 - _ramp(pz - goal_z, 0.008, 0.035)
    limit = behind + low * (contact + 0.012 - behind)
    excess = max(0.0, along - limit)
    lag = max(0.0, behind - along)
    away = max(0.0, math.hypot(across, excess) - 0.005)
    rim = 0.115 * (1.0 - math.exp(-((away / 0.018) ** 2) - (max(0.0, lag - 0.02) / 0.03) ** 2))
    rise = goal_z + rim - pz
    z = _soft(rise, 0.35, MAX_STEP)
    if rise < 0.0:
        z = max(z, -(0.003 + 0.13 * max(0.0, pz - goal_z)))
    under = 1.0 - _ramp(rise, 0.012, 0.06)
    aligned = 1.0 - _ramp(abs(across), 0.004, 0.012)
    pushing = low * aligned
    speed = min(0.0065, 0.0015 + 0.20 * to_line)
    speed = min(speed, 0.0035 + 0.12 * max(0.0, contact - along))
    towards = side * _soft(behind - along, 0.22, MAX_STEP)
    y = pushing * side * speed + (1.0 - pushing) * towards * under
    x = _soft(across, 0.22, MAX_STEP) * under
    shut = 1.0 - _ramp(state.opening, 0.10, 0.30)
    if z < 0.0:
        z *= max(shut, _ramp(pz, 0.06, 0.10))
    return _limited(state, (x, y, z), _turn(-state.yaw), 0.0)


def _decide(state: ExpertState, goal: Goal) -> _Move:
    if state.held is not None and (goal.family == 'push' or state.held != goal.target):
        return _put_down(state)
    if goal.family == 'push':
        return _push(state, goal)
    if state.held == goal.target:
        return _lift(state, goal.target) if goal.family == 'pick' else _carry(state, goal)
    if goal.family != 'pick' and _achieved(state, goal):
        return _retreat(state, 1.0)
    return _reach(state, goal.target)


def _array(state: ExpertState, move: _Move) -> FloatArray:
    # A tilted gripper is turned upright again along the way.
    tilt_x, tilt_y = (-_soft(t, 0.2, 0.05) for t in state.tilt)
    return np.array((move.x, move.y, move.z, tilt_x, tilt_y, move.yaw, move.gripper))


def expert_action(state: ExpertState, goal: Goal) -> FloatArray:
    """The next action, shape (7,): base-frame displacement [m], rotation [rad], gripper."""
    return _array(state, _decide(state, goal))


def expert_chunk(state: ExpertState, goal: Goal, horizon: int = 8) -> FloatArray:
    """The next ``horizon`` actions, shape (horizon, 7), on a kinematic copy of the state."""
    actions = np.empty((horizon, 7))
    for index in range(horizon):
        move = _decide(state, goal)
        actions[index] = _array(state, move)
        state = _rolled(state, move, actions[index], goal)
    return actions


def _rolled(state: ExpertState, move: _Move, action: FloatArray, goal: Goal) -> ExpertState:
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
            base = _support(state, thing.x, thing.y, held)
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
    reach = min(_push_reach(thing), side * (thing.y - before[1]))
    inside = reach - side * (thing.y - after[1])
    if reach > 0.0 and abs(thing.x - after[0]) < 0.03 and inside > 0.0:
        return _with(objects, goal.target, replace(thing, y=thing.y + side * inside))
    return objects
