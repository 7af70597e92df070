"""``~/home``: a straight, slow way of the joints, judged before it begins as a chunk is."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.config import HomeConfig
from dysl_vla_ros.core.motion_plan import Knot
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.motion import Planner
from dysl_vla_ros.playback import BESIDE_WAY, Playback

_NO_GOAL = 'home.positions = (): expected the joint positions of home'
BESIDE = 'the arm stands beside the way home that was judged: ask for ~/home again'
_THERE = 'at home.positions'
_ROUNDING = 1e-6


class WayHome:
    """The way that was judged last, and what of the progress were steps on one."""

    def __init__(self, config: HomeConfig, playback: Playback, planner: Planner) -> None:
        """No way yet.

        Args:
            config: Where home is, and how slowly it is gone to.
            playback: Walks the way.
            planner: Judges its targets.
        """
        self._config = config
        self._playback = playback
        self._planner = planner
        self._way: FloatArray | None = None
        self._progress = self._homed = 0.0

    @property
    def no_goal(self) -> str:
        """A sentence where the parameters name no home; else ''."""
        return '' if self._config.positions else _NO_GOAL

    def from_here(self) -> FloatArray:
        """Targets from the measured pose to home, shape (k + 1, n)."""
        start = self._playback.governor.measurement.position
        assert start is not None
        return self._playback.straight_way(start, np.array(self._config.positions))

    def problem(self, way: FloatArray) -> str:
        """Why it may not be gone, else ''; slow, so that no lock is held."""
        problem = getattr(self._planner, 'way_problem', lambda rows: '')(way)
        return f'on the way to home.positions, {problem}' if problem else ''

    def take(self, way: FloatArray) -> None:
        """It was judged: this one may be gone."""
        self._way = way

    def begin(self) -> bool:
        """Go, from where the motion was anchored; False where that lies beside the judged way."""
        assert self._way is not None
        return self._playback.go_along(self._way, self._config.velocity_scale)

    def arrived(self, follows: bool) -> str:
        """The commands are at home: is the arm, too?

        Args:
            follows: Whether it does what is commanded (not so in shadow).
        """
        limits = self._playback.limits
        goal = np.clip(np.array(self._config.positions), limits.lower, limits.upper)
        found = self._playback.governor.farthest(goal, limits.each(*BESIDE_WAY))
        if not follows or found is None:
            return _THERE
        return f'told to be {_THERE}, but {found[1]} from there: blocked, or it lags behind'

    def actions_played(self, knot: Knot) -> int:
        """Whole actions of the policy up to a command: its progress without the ways home."""
        if self._playback.on_way:
            self._homed += knot.progress - self._progress
        self._progress = knot.progress
        return int(knot.progress - self._homed + _ROUNDING)
