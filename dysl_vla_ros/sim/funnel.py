"""The shapes of the expert's motion: soft steps, and funnels that lead down to a point."""

from __future__ import annotations

import math

from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.expert_state import ExpertState, Move, Point

MAX_STEP = 0.010
"""Farthest that one action moves the gripper [m]."""
_MAX_TURN = 0.08


def ramp(value: float, low: float, high: float) -> float:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    u = min(1.0, max(0.0, (value - low) / (high - low)))
    return u * u * (3.0 - 2.0 * u)


def soft(error: float, gain: float, limit: float) -> float:
    """Proportional step that saturates smoothly at ``limit``."""
    return limit * math.tanh(gain * error / limit)


def turn(error: float) -> float:
    """Turn by a part of ``error`` [rad], at most what one action may."""
    return soft(error, 0.25, _MAX_TURN)


def funnel(offset: Point, width: float, above: float, start: float) -> Point:
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
        up = soft(rise, 0.35, MAX_STEP)
        z = min(up, 0.0025 + 0.15 * max(0.0, start))
    else:
        z = max(soft(rise, 0.35, MAX_STEP), -(0.0022 + 0.11 * max(0.0, -offset[2])))
    # Under the funnel's surface: first up, then sideways.
    sideways = soft(away, 0.22, MAX_STEP) * (1.0 - ramp(rise, 0.012, 0.06))
    scale = sideways / away if away > 1e-9 else 0.0
    return offset[0] * scale, offset[1] * scale, z


def limited(state: ExpertState, step: Point, yaw: float, gripper: float) -> Move:
    """The step as a move, shortened to what one action may do."""
    x, y, z = step
    hx, hy, hz = arm.HOME_POSITION
    px, py, pz = state.position
    # Gently away from the home pose; elsewhere at most one centimetre.
    ramp = 0.004 + 0.3 * math.dist((px, py, pz), (hx, hy, hz))
    scale = min(1.0, min(MAX_STEP, ramp) / max(1e-9, math.sqrt(x * x + y * y + z * z)))
    return Move(x * scale, y * scale, z * scale, yaw, gripper)
