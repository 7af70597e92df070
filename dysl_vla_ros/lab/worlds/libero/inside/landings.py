"""How something is put down, by the kind of its place; heights above the place's own point [m]."""

from __future__ import annotations

from dataclasses import dataclass

from dysl_vla_ros.lab.worlds.libero.inside.world import Floats


@dataclass(frozen=True)
class Landing:
    """Onto a level, from straight above.

    Attributes:
        clear: Of the lowest corner, when it is let go.
        low: Of the lowest corner: above this nothing is let go, whatever the hand's height.
        high: Of the lowest corner, on the way there.
        lift: Of the hand above where the object lay, on the way there.
        near: Sideways, where it is let go.
        lower: Sideways, from where it goes down.
        by_middle: Whether the object's middle has to come there, rather than its own point.
    """

    clear: float = 0.006
    low: float = 0.03
    high: float = 0.06
    lift: float = 0.13
    near: float = 0.018
    lower: float = 0.04
    by_middle: bool = False

    def drop(self, goal: Floats, hand: Floats, thing: Floats, low: Floats) -> float:
        """Height of the hand at which the object is let go [m]."""
        return float(goal[2] + self.clear + hand[2] - low[2])

    def over(self, goal: Floats, hand: Floats, low: Floats, rest: float) -> float:
        """Height of the hand on the way there [m]."""
        return float(max(goal[2] + self.high + hand[2] - low[2], rest + self.lift))


class _Plate(Landing):
    """By the object's own point, which is what the official check looks at."""

    def drop(self, goal: Floats, hand: Floats, thing: Floats, low: Floats) -> float:
        return float(goal[2] + 0.010 + hand[2] - thing[2])

    def over(self, goal: Floats, hand: Floats, low: Floats, rest: float) -> float:
        return float(max(goal[2] + 0.16, rest + 0.13))


class _Basket(Landing):
    """What hangs down passes over the rim; the palm stays above it."""

    def drop(self, goal: Floats, hand: Floats, thing: Floats, low: Floats) -> float:
        return float(max(goal[2] + 0.125, hand[2] - low[2] + goal[2] + 0.035))

    def over(self, goal: Floats, hand: Floats, low: Floats, rest: float) -> float:
        return float(max(goal[2] + 0.24, goal[2] + 0.175 + hand[2] - low[2]))


def landing_on(kind: str) -> Landing:
    """The way for a kind of place."""
    if 'basket' in kind:
        return _Basket(low=0.15, near=0.035, lower=0.05, by_middle=True)
    if kind == 'plate':
        return _Plate()
    if 'bowl' in kind:
        return Landing(clear=0.045, low=0.07, high=0.10, near=0.016)
    if kind.endswith('_top_region') and 'cabinet' in kind:  # its point is the drawer's middle
        return Landing(clear=0.010, low=0.03, high=0.11, near=0.02)
    if kind.endswith('stove_front_region'):  # pushed there
        return Landing(clear=0.0, low=0.05, high=0.012, lift=0.0, near=0.03)
    return Landing()
