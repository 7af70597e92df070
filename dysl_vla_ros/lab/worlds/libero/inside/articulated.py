"""Opens a drawer by its handle; turns a stove's knob."""

from __future__ import annotations

from typing import Any

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.grasps import turn
from dysl_vla_ros.lab.worlds.libero.inside.motion import CLOSE, OPEN, apart, rolled, towards
from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld

_UPWARDS: Floats = np.array((0, 0, 1.0))
_TILT, _ROLL = np.radians(88), np.radians(20)
"""Of the hand before a drawer, from straight down; and about the way it points: the open fingers
would touch the handles above and below."""
_DEEP = 0.008
"""How far beyond the middle of a handle the point between the fingers comes [m]."""
_LEAN = np.radians(20)
"""Of the hand over a knob: straight above it, so near to its foot, the arm is folded up."""
_BEFORE = 0.08
"""From the handle, against the way the hand points, to where the hand begins to come in [m]."""
_WITHIN = 0.018
"""Sideways, where the open fingers pass on both sides of what they will hold [m]."""
_SHUT_ALONG, _SHUT_SIDEWAYS = 0.03, 0.04
"""How far the shut hand may be from what it holds: the way that it points, and sideways [m]."""
_TURNING, _TURNED = 1.0, 0.3
"""What is asked of a turn at most; how near to its frame the hand is turned enough [rad]."""
_NEAR = 0.6
"""Of the hand from the foot of the arm, where it can turn over [m]."""
_SHUT, _ABOUT = 0.004, 0.03
"""Between the fingers: nothing is there; what they are shut about [m]."""
_LEAD_M, _LEAD_RAD = 0.05, 0.4
"""How far ahead of the part the hand is sent."""


class Holder:
    """Takes hold of a part that moves on a joint, and moves it along."""

    def __init__(self, world: LiberoWorld, body: str) -> None:
        """Take the body that moves."""
        self._world = world
        self._body = world.model.body(body).id
        self._part = [world.model.geom(geom).name for geom in _solid(world, self._body)]

    def begin(self) -> None:
        """Nothing is kept from one step to the next."""

    def grip(self) -> tuple[Floats, Floats]:
        """Where the part is held (3,) [m], and the hand's frame then (3, 3)."""
        raise NotImplementedError

    def onward(self) -> tuple[Floats, Floats]:
        """Where the closed hand goes, and its frame."""
        raise NotImplementedError

    def destination(self) -> Floats:
        """Where the part's grip has to be (3,) [m]; where it is, when it only turns."""
        return self.grip()[0]

    def held(self) -> bool:
        """Whether the hand is shut about the part, or about to be."""
        along, sideways = _apart_from(self._world.hand()[0], *self.grip())
        return self._world.shut and abs(along) < _SHUT_ALONG and sideways < _SHUT_SIDEWAYS

    def action(self) -> tuple[Floats, str]:
        """The action (7,) in the controller's units, and the name of the phase."""
        world = self._world
        hand, frame = world.hand()
        point, wanted = self.grip()
        along, sideways = _apart_from(hand, point, wanted)
        if self.held():
            if _SHUT < world.opening() < _ABOUT or world.grips(self._part):
                return towards(hand, frame, *self.onward(), CLOSE), 'pull'
            if world.opening() > _SHUT:
                return towards(hand, frame, hand, wanted, CLOSE), 'grasp'
        if abs(along) < 0.010 and sideways < _WITHIN and world.opening() > 0.065:
            return towards(hand, frame, hand, wanted, CLOSE), 'grasp'
        target, phase = _into(hand, frame, point, wanted)
        return towards(hand, frame, target, wanted, OPEN, _TURNING), phase

    def ahead(self, count: int) -> Floats | None:
        """The next ``count`` actions (count, 7) in free motion; None where it would be held."""
        point, wanted = self.grip()

        def free(hand: Floats, frame: Floats) -> tuple[Floats, Floats] | None:
            along, sideways = _apart_from(hand, point, wanted)
            if abs(along) < 0.016 and sideways < _WITHIN:
                return None
            return _into(hand, frame, point, wanted)[0], wanted

        return rolled(*self._world.hand(), free, count, _TURNING)

    def places(self) -> tuple[Floats, Floats]:
        """Where the part is held, and where that has to be (3,) [m]."""
        return self.grip()[0], self.destination()


class Drawer(Holder):
    """Pulls a drawer open by its handle."""

    _FAR = 0.16

    def __init__(self, world: LiberoWorld, region: str) -> None:
        """Find the handle; ``region`` is of the cabinet, ``wooden_cabinet_1_top_region``."""
        cabinet, level, _ = region.rsplit('_', 2)
        super().__init__(world, f'{cabinet}_cabinet_{level}')
        self._slide = world.model.joint(f'{cabinet}_{level}_level').qposadr[0]
        # What is furthest out is the bar of its handle.
        shapes = _solid(world, self._body)
        self._handle = min(shapes, key=lambda geom: float(world.model.geom_pos[geom][1]))

    def opened(self) -> float:
        """How far [m]."""
        return -float(self._world.data.qpos[self._slide])

    def leave(self, to: Floats, then: Floats) -> tuple[Floats, str] | None:
        """Away from the handle as the hand has come, and back; None where it need not leave.

        Args:
            to: Where the hand goes after that (3,) [m].
            then: The frame that it will be in (3, 3).
        """
        hand, frame = self._world.hand()
        point, wanted = self.grip()
        if apart(frame, then) < _TURNED or hand[2] < point[2] - 0.03:
            return None
        along, sideways = _apart_from(hand, point, wanted)
        if along > 0.01 - _BEFORE and sideways < 0.06:
            return towards(hand, frame, hand - _BEFORE * wanted[:, 2], wanted, OPEN), 'leave'
        # So far out an arm that is stretched cannot turn its hand down.
        back = (self._world.robot.base_pos - hand)[:2]
        target = np.array((*hand[:2], point[2] + 0.05))
        if np.linalg.norm(back) > _NEAR:
            target[:2] += _BEFORE * back / np.linalg.norm(back)
        else:
            target[:2], wanted = to[:2], then
        return towards(hand, frame, target, wanted, OPEN, _TURNING), 'leave'

    def grip(self) -> tuple[Floats, Floats]:
        """The middle of the handle, and the hand in front of it."""
        wanted = _facing(self._out())
        return self._world.data.geom_xpos[self._handle] + _DEEP * wanted[:, 2], wanted

    def onward(self) -> tuple[Floats, Floats]:
        """Further out, with the handle."""
        point, wanted = self.grip()
        return point + _LEAD_M * self._out(), wanted

    def destination(self) -> Floats:
        """Of the handle, with the drawer open."""
        return self.grip()[0] + max(0.0, self._FAR - self.opened()) * self._out()

    def _out(self) -> Floats:
        found: Floats = -self._world.data.xmat[self._body].reshape(3, 3)[:, 1]
        return found


class Knob(Holder):
    """Turns a stove on."""

    _GRIP: Floats = np.array((0.0012, -0.010, 0.024))

    def __init__(self, world: LiberoWorld, name: str) -> None:
        """Find the knob of a stove."""
        super().__init__(world, f'{name}_button')

    def grip(self) -> tuple[Floats, Floats]:
        """The ridge of the knob, and the hand over it."""
        data = self._world.data
        matrix = data.xmat[self._body].reshape(3, 3)
        return data.xpos[self._body] + matrix @ self._GRIP, _over(matrix[:, 0], matrix[:, 1])

    def onward(self) -> tuple[Floats, Floats]:
        """Round, with the knob."""
        point, wanted = self.grip()
        return point, turn(_LEAD_RAD) @ wanted


def _into(hand: Floats, frame: Floats, point: Floats, wanted: Floats) -> tuple[Floats, str]:
    """Before the part, turned as it is held; then straight in."""
    along, sideways = _apart_from(hand, point, wanted)
    turned = apart(frame, wanted)
    ahead = wanted[:, 2]
    if sideways < _WITHIN and turned < 0.25:
        return point, 'descend'
    if sideways < 0.04 and turned < 0.5 and along < -0.03:
        return point + max(along, -_BEFORE) * ahead, 'reach'
    return point - _BEFORE * ahead, 'reach'


def _apart_from(hand: Floats, point: Floats, wanted: Floats) -> tuple[float, float]:
    """How far the hand is beyond a point along the way that it points, and sideways [m]."""
    ahead, away = wanted[:, 2], hand - point
    along = float(away @ ahead)
    return along, float(np.linalg.norm(away - along * ahead))


def _facing(out: Floats) -> Floats:
    """The hand before something that looks ``out``."""
    points = -np.sin(_TILT) * out - np.cos(_TILT) * _UPWARDS
    # Upside down, as the last joint has more room.
    upright = np.sin(_TILT) * _UPWARDS - np.cos(_TILT) * out
    opens = np.cos(_ROLL) * upright + np.sin(_ROLL) * np.cross(points, upright)
    return np.stack((opens, np.cross(points, opens), points), 1)


def _over(across: Floats, along: Floats) -> Floats:
    """The hand over a ridge, its fingers opening across it, leaning back along it."""
    points = np.sin(_LEAN) * along - np.cos(_LEAN) * _UPWARDS
    return np.stack((across, np.cross(points, across), points), 1)


def _solid(world: LiberoWorld, body: int) -> list[int]:
    """Collision shapes of a body."""
    model: Any = world.model
    return [geom for geom in range(model.ngeom)
            if model.geom_bodyid[geom] == body and model.geom_group[geom] == 0]  # fmt: skip
