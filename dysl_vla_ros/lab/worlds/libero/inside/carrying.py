"""Takes an object, and puts it into a basket, onto something or into it."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.goals import kind
from dysl_vla_ros.lab.worlds.libero.inside.grasps import Grasps, turn
from dysl_vla_ros.lab.worlds.libero.inside.landings import landing_on
from dysl_vla_ros.lab.worlds.libero.inside.motion import CLOSE, DOWN, OPEN, rolled, towards
from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld

_UP = 0.10


class Carrier:
    """Pursues one object and one place for it."""

    def __init__(self, world: LiberoWorld, name: str, place: str) -> None:
        """Read an object's shapes."""
        self._world, self._name, self._place = world, name, place
        self._flat = kind(name) == 'plate'
        self._landing = landing_on(kind(place))
        self._grasps = Grasps(world, name)
        self.begin()

    def begin(self) -> None:
        """Forget the grasp."""
        self._rest = self._world.body(self._name)[0][2]
        self._planned: tuple[Floats, Floats, float] | None = None

    def holds(self) -> bool:
        """Whether both fingers touch the object, or are shut on the slanting rim of a plate."""
        if self._world.grasped(self._name):
            return True
        return self._flat and self._world.shut and 0.01 < self._world.opening() < 0.036

    def frame(self, yaw: float, held: bool) -> Floats:
        """Of the hand, as it takes the object and carries it (3, 3)."""
        return turn(yaw) @ DOWN

    def action(self) -> tuple[Floats, str]:
        """The action (7,) in the controller's units, and the name of the phase."""
        world = self._world
        hand, frame = world.hand()
        thing, _ = world.body(self._name)
        held = self.holds()
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
            target, phase = self._approach(hand, grasp, high[2])
        return towards(hand, frame, target, self.frame(yaw, held), gripper), phase

    def ahead(self, count: int) -> Floats | None:
        """The next ``count`` actions (count, 7) towards this object, by rolling forward.

        Only for free motion, with the hand open and nothing held; None where the grasp would be
        reached within them.
        """
        grasp, yaw = self._grasp(held=False)
        high, wanted = self._grasps.extent()[1][2], self.frame(yaw, held=False)

        def free(hand: Floats, _: Floats) -> tuple[Floats, Floats] | None:
            if np.linalg.norm((hand - grasp)[:2]) < 0.014 and abs(hand[2] - grasp[2]) < 0.012:
                return None
            return self._approach(hand, grasp, high)[0], wanted

        return rolled(*self._world.hand(), free, count)

    def places(self) -> tuple[Floats, Floats]:
        """Where the object is, and where it has to go (3,) [m]."""
        return self._world.body(self._name)[0], self._world.spot(self._place)

    def _grasp(self, held: bool) -> tuple[Floats, float]:
        thing, _ = self._world.body(self._name)
        moved = self._planned is None or np.linalg.norm(thing - self._planned[0]) > 0.015
        if self._planned is None or (moved and not held and not self._world.shut):
            self._planned = (thing.copy(), *self._grasps.best(self._side()))
        return thing + self._planned[1], self._planned[2]

    def _side(self) -> Floats | None:
        """Where the object is rather taken, seen from it (3,); None: where nothing is hit."""
        return None

    def _near(self, hand: Floats, grasp: Floats) -> bool:
        sideways, above = np.linalg.norm((hand - grasp)[:2]), abs(hand[2] - grasp[2])
        if self._world.shut:  # closing: stay, unless nothing is there
            return bool(sideways < 0.025 and above < 0.025 and self._world.opening() > 0.002)
        return bool(sideways < 0.010 and above < 0.007 and self._world.opening() > 0.070)

    def _away(self, thing: Floats, low: Floats, high: Floats) -> Floats:
        """From the object to its place, sideways (2,)."""
        goal = self._world.spot(self._place)
        away: Floats = goal - ((low + high) / 2 if self._landing.by_middle else thing)
        return away[:2]

    def _there(self, hand: Floats, low: Floats, high: Floats, held: bool) -> bool:
        thing, _ = self._world.body(self._name)
        goal, landing = self._world.spot(self._place), self._landing
        apart = np.linalg.norm(self._away(thing, low, high))
        down = not held or hand[2] < landing.drop(goal, hand, thing, low) + 0.012
        return bool(apart < landing.near and down and low[2] < goal[2] + landing.low)

    def _carry(self, hand: Floats, thing: Floats, low: Floats, high: Floats) -> tuple[Floats, str]:
        goal, landing = self._world.spot(self._place), self._landing
        away, drop = self._away(thing, low, high), landing.drop(goal, hand, thing, low)
        over = landing.over(goal, hand, low, self._rest)
        target, apart = np.array((*(hand[:2] + away), over)), np.linalg.norm(away)
        if apart <= landing.lower:
            target[2] = drop if apart < 0.02 else max(drop, hand[2])
            return target, 'lower'
        if hand[2] < over - 0.06:  # up first
            target[:2] = hand[:2]
            return target, 'lift'
        return target, 'carry'

    def _approach(self, hand: Floats, grasp: Floats, high: float) -> tuple[Floats, str]:
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
