"""Scripted experts for LIBERO-Object, -Spatial and -Goal: functions of the state, no history.

They read privileged poses and answer with the official action (dx, dy, dz, rx, ry, rz, gripper),
so they can label any state, also one that noise or a policy has led to. All that is kept from one
step to the next is the choice of the grasp, which is made again when the object has moved.
"""

from __future__ import annotations

from typing import Protocol

from dysl_vla_ros.lab.worlds.libero.inside.articulated import Drawer, Knob
from dysl_vla_ros.lab.worlds.libero.inside.carrying import Carrier
from dysl_vla_ros.lab.worlds.libero.inside.goals import Goal
from dysl_vla_ros.lab.worlds.libero.inside.stowing import Stowing
from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld

FREE = ('reach', 'descend')
"""Phases in which the open hand holds nothing: any other goal could be named as well."""


class Expert(Protocol):
    """Pursues one goal."""

    def begin(self) -> None:
        """Forget the last episode."""

    def action(self) -> tuple[Floats, str]:
        """The action (7,) in the controller's units, and the name of the phase."""

    def ahead(self, count: int) -> Floats | None:
        """The next ``count`` actions (count, 7) towards this goal, by rolling forward.

        Only for free motion, with the hand open and nothing held; None where something would be
        touched within them.
        """

    def places(self) -> tuple[Floats, Floats]:
        """Where the thing is, and where it has to go (3,) [m]."""


def expert_of(world: LiberoWorld, goal: Goal) -> Expert:
    """Who can pursue a goal; call ``begin`` at the start of every episode.

    Raises:
        ValueError: Nobody can.
    """
    if goal.predicate == 'open':
        return Drawer(world, goal.thing)
    if goal.predicate == 'turnon':
        return Knob(world, goal.thing)
    if goal.predicate == 'in' and not goal.place.endswith('_contain_region'):
        return Stowing(world, goal.thing, goal.place)
    if goal.predicate in ('on', 'in'):
        return Carrier(world, goal.thing, goal.place)
    raise ValueError(f'no expert for {" ".join(goal.atom)}')
