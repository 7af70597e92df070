"""A scripted expert for LIBERO-Object and LIBERO-Spatial: a function of the state, no history.

It reads privileged poses and answers with the official action (dx, dy, dz, rx, ry, rz, gripper),
so it can label any state, also one that noise or a policy has led to. All that is kept from one
step to the next is the choice of the grasp, which is made again when the object has moved.
"""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.grasps import Grasps, turn
from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld
from dysl_vla_ros.lab.worlds.libero.suites import STEP_M, STEP_RAD

OPEN, CLOSE = -1.0, 1.0
FREE = ('reach', 'descend')
"""Phases in which the open hand holds nothing: any other object could be named as well."""
_UP = 0.10
_DOWN: Floats = np.array(((0, 1.0, 0), (1.0, 0, 0), (0, 0, -1.0)))
_GLIDE, _PULL = 0.57, 0.11
_TURN_GLIDE, _TURN_PULL = 0.71, 0.09
"""How the hand follows in free motion: displacement = glide x the last + pull x what is asked;
least squares over 540 disturbed actions, rms 0.65 of 6.3 mm."""


class Expert:
    """Pursues the object that the world asks for."""

    def __init__(self, world: LiberoWorld, name: str) -> None:
        """Read an object's shapes; call ``begin`` at the start of every episode."""
        self._world, self._name = world, name
        self._bowl, self._basket = 'bowl' in name, 'basket' in world.target
        self._grasps = Grasps(world, name)
        self.begin()

    def begin(self) -> None:
        """Forget the grasp."""
        self._rest = self._world.body(self._name)[0][2]
        self._planned: tuple[Floats, Floats, float] | None = None

    def action(self) -> tuple[Floats, str]:
        """The action (7,) in the controller's units, and the name of the phase."""
        world = self._world
        hand, frame = world.hand()
        thing, _ = world.body(self._name)
        held = world.grasped(self._name)
        grasp, yaw = self._grasp(held)
        low, high = self._grasps.extent()
        gripper, phase = OPEN, 'reach'
        if self._there(hand, low, high, held):
            phase = 'release'  # over its place: let go, leave
            target = hand if held or world.opening() < 0.03 else hand + (0, 0, 0.05)
        elif held:
            gripper = CLOSE
            target, phase = self._carry(hand, thing, low, high)
        elif self._near(hand, grasp):
            # Do not follow what the fingers push: only the height is kept.
            target, gripper, phase = np.array((*hand[:2], grasp[2])), CLOSE, 'grasp'
        else:
            target, phase = _approach(hand, grasp, high[2])
        return _towards(hand, frame, target, yaw, gripper), phase

    def ahead(self, count: int) -> Floats | None:
        """The next ``count`` actions (count, 7) towards this object, by rolling forward.

        Only for free motion, with the hand open and nothing held; None where the grasp would be
        reached within them.
        """
        world = self._world
        grasp, yaw = self._grasp(held=False)
        high = self._grasps.extent()[1][2]
        hand, frame = world.hand()
        moving, turning = np.zeros(3), np.zeros(3)
        found = []
        for _ in range(count):
            if np.linalg.norm((hand - grasp)[:2]) < 0.014 and abs(hand[2] - grasp[2]) < 0.012:
                return None
            target, _ = _approach(hand, grasp, high)
            action = _towards(hand, frame, target, yaw, OPEN)
            found.append(action)
            moving = _GLIDE * moving + _PULL * STEP_M * action[:3]
            turning = _TURN_GLIDE * turning + _TURN_PULL * STEP_RAD * action[3:6]
            hand, frame = hand + moving, _rotation(turning) @ frame
        return np.array(found)

    def places(self) -> tuple[Floats, Floats]:
        """Where the object is, and where it has to go (3,) [m]."""
        return self._world.body(self._name)[0], self._world.body(self._world.target)[0]

    def _grasp(self, held: bool) -> tuple[Floats, float]:
        thing, _ = self._world.body(self._name)
        moved = self._planned is None or np.linalg.norm(thing - self._planned[0]) > 0.015
        if self._planned is None or (moved and not held and not self._world.shut):
            self._planned = (thing.copy(), *self._grasps.best())
        return thing + self._planned[1], self._planned[2]

    def _near(self, hand: Floats, grasp: Floats) -> bool:
        sideways, above = np.linalg.norm((hand - grasp)[:2]), abs(hand[2] - grasp[2])
        if self._world.shut:  # closing: stay, unless nothing is there
            return bool(sideways < 0.025 and above < 0.025 and self._world.opening() > 0.002)
        return bool(sideways < 0.010 and above < 0.007 and self._world.opening() > 0.070)

    def _away(self, thing: Floats, low: Floats, high: Floats) -> Floats:
        """From the object to its place, sideways (2,)."""
        goal, _ = self._world.body(self._world.target)
        away: Floats = ((goal - (low + high) / 2) if self._basket else (goal - thing))[:2]
        return away

    def _drop(self, hand: Floats, thing: Floats, low: Floats) -> float:
        """Height of the hand at which the object is let go [m]."""
        goal, _ = self._world.body(self._world.target)
        if self._basket:
            return float(max(goal[2] + 0.125, hand[2] - low[2] + goal[2] + 0.035))
        return float(goal[2] + 0.010 + hand[2] - thing[2])

    def _there(self, hand: Floats, low: Floats, high: Floats, held: bool) -> bool:
        thing, _ = self._world.body(self._name)
        goal, _ = self._world.body(self._world.target)
        apart = np.linalg.norm(self._away(thing, low, high))
        down = not held or hand[2] < self._drop(hand, thing, low) + 0.012
        near = apart < (0.035 if self._basket else 0.018)
        return bool(near and down and low[2] < goal[2] + (0.15 if self._basket else 0.03))

    def _carry(self, hand: Floats, thing: Floats, low: Floats, high: Floats) -> tuple[Floats, str]:
        goal, _ = self._world.body(self._world.target)
        away, drop = self._away(thing, low, high), self._drop(hand, thing, low)
        over = max(goal[2] + 0.16, self._rest + 0.13)
        if self._basket:  # what hangs down passes over the rim; the palm stays above it
            over = max(goal[2] + 0.24, goal[2] + 0.175 + hand[2] - low[2])
        target, apart = np.array((*(hand[:2] + away), over)), np.linalg.norm(away)
        if apart <= (0.05 if self._basket else 0.04):
            target[2] = drop if apart < 0.02 else max(drop, hand[2])
            return target, 'lower'
        if hand[2] < over - 0.06:  # up first
            target[:2] = hand[:2]
            return target, 'lift'
        return target, 'carry'


def _approach(hand: Floats, grasp: Floats, high: float) -> tuple[Floats, str]:
    """Over the object, then down; ``high`` is its highest point [m]."""
    target = grasp.copy()
    sideways = np.linalg.norm((hand - grasp)[:2])
    if sideways <= 0.015:
        return target, 'descend'
    over = high + 0.03
    target[2] = max(grasp[2] + _UP, over) if sideways > 0.03 else max(hand[2], over)
    if hand[2] < target[2] - 0.03 and sideways > 0.03:
        target[:2] = hand[:2] + 0.3 * (grasp - hand)[:2]
    return target, 'reach'


def _towards(hand: Floats, frame: Floats, target: Floats, yaw: float, gripper: float) -> Floats:
    action = np.zeros(7)
    action[:3] = (target - hand) / STEP_M
    most = np.abs(action[:3]).max()
    if most > 1:
        action[:3] /= most
    turned = _rotation_vector(turn(yaw) @ _DOWN @ frame.T) / STEP_RAD
    action[3:6] = np.clip(turned, -0.5, 0.5)
    action[6] = gripper
    return action


def _rotation_vector(matrix: Floats) -> Floats:
    angle = np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))
    axis = np.array((matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0],
                     matrix[1, 0] - matrix[0, 1]))  # fmt: skip
    length = np.linalg.norm(axis)
    return np.zeros(3) if length < 1e-9 else axis / length * angle


def _rotation(vector: Floats) -> Floats:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
