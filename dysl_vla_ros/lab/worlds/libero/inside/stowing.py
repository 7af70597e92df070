"""Opens a drawer, and puts an object inside."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.articulated import Drawer
from dysl_vla_ros.lab.worlds.libero.inside.carrying import Carrier
from dysl_vla_ros.lab.worlds.libero.inside.motion import rotation
from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld

_ROOM, _PULLED = 0.12, 0.15
"""How far a drawer is open when something can be put inside; how far it is pulled for that [m]."""
_HALF: Floats = np.array((0.105, 0.10))
"""Of an open drawer, sideways [m]."""
_MARGIN, _BELOW = 0.14, 0.05
"""Around the drawer, sideways, and below its middle: where the hand would hit it going up [m]."""
_ASIDE, _LOW = 0.16, 0.05
"""From the grasp, sideways, to where the hand comes in; how far above the grasp it does [m]."""
_LEAN, _HIGHER = np.radians(27), 0.013
"""Of the hand; above the grasp of a hand that does not lean, whose fingers are level [m]."""


class Stowing:
    """Pursues one object, and a drawer as its place."""

    def __init__(self, world: LiberoWorld, name: str, region: str) -> None:
        """Take an object, and the region of a cabinet that is the drawer's inside."""
        self._drawer = Drawer(world, region)
        self._carrier = _FromBelow(world, name, region)

    def begin(self) -> None:
        """Forget the last episode."""
        self._drawer.begin()
        self._carrier.begin()

    def action(self) -> tuple[Floats, str]:
        """The action (7,) in the controller's units, and the name of the phase."""
        return self._leaves() or self._now().action()

    def ahead(self, count: int) -> Floats | None:
        """The next ``count`` actions (count, 7) in free motion; None where something is held."""
        return None if self._leaves() else self._now().ahead(count)

    def places(self) -> tuple[Floats, Floats]:
        """Of what is being done: the handle, or the object; and where it has to go (3,) [m]."""
        return self._now().places()

    def _now(self) -> Drawer | Carrier:
        opened = self._drawer.opened() > (_PULLED if self._drawer.held() else _ROOM)
        return self._carrier if opened or self._carrier.holds() else self._drawer

    def _leaves(self) -> tuple[Floats, str] | None:
        """Between the two, while the hand is about the handle."""
        between = self._now() is self._carrier and not self._carrier.holds()
        return self._drawer.leave(*self._carrier.first()) if between else None


class _FromBelow(Carrier):
    """Fetches what lies half under the open drawer: in from its side, and out the same way."""

    def frame(self, yaw: float, held: bool) -> Floats:
        """Leaning away from the drawer, under which the arm has no room."""
        upright = super().frame(yaw, held)
        if held and not self._below(self._world.hand()[0]):
            return upright
        x, y, _ = self._side()
        return rotation(_LEAN * np.array((-y, x, 0.0))) @ upright

    def first(self) -> tuple[Floats, Floats]:
        """Where the hand comes in from (3,) [m], and its frame there (3, 3)."""
        grasp, yaw = self._grasp(held=False)
        return grasp + _ASIDE * self._away_from_it(grasp), self.frame(yaw, held=False)

    def _grasp(self, held: bool) -> tuple[Floats, float]:
        grasp, yaw = super()._grasp(held)
        return grasp + (0, 0, _HIGHER), yaw

    def _side(self) -> Floats:
        return self._away_from_it(self._world.body(self._name)[0])

    def _approach(self, hand: Floats, grasp: Floats, high: float) -> tuple[Floats, str]:
        low = np.array((*grasp[:2], grasp[2] + _LOW))
        sideways = np.linalg.norm((hand - grasp)[:2])
        if sideways <= 0.015:
            return grasp, 'descend'
        if self._below(hand):
            return low, 'reach'
        beside = self.first()[0]
        if np.linalg.norm((hand - beside)[:2]) > 0.04:
            beside[2] = max(hand[2], self._middle()[2] + 0.04)
        else:
            beside[2] = low[2]
        return beside, 'reach'

    def _carry(self, hand: Floats, thing: Floats, low: Floats, high: Floats) -> tuple[Floats, str]:
        about = np.abs((hand - self._middle())[:2]) < _HALF + _MARGIN
        if self._below(hand) and about.all():
            target = hand + _ASIDE * self._away_from_it(hand)
            target[2] += self._rest + 0.03 - thing[2]
            return target, 'lift'
        return super()._carry(hand, thing, low, high)

    def _below(self, hand: Floats) -> bool:
        return bool(hand[2] < self._middle()[2] - _BELOW)

    def _middle(self) -> Floats:
        return self._world.spot(self._place)

    def _away_from_it(self, point: Floats) -> Floats:
        """Sideways, from the drawer to a point, of length 1 (3,)."""
        away = point - self._middle()
        away[2] = 0.0
        found: Floats = away / np.linalg.norm(away)
        return found
