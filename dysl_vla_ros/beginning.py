"""Where a motion begins: what is asked before a start, and the anchor of what was started.

A request only says that a motion shall begin. It does begin in a tick, once the arm rests, and
with the pose that is measured then: ``settle``.
"""

from __future__ import annotations

from dataclasses import dataclass

from dysl_vla_ros.core.run_state import CHANGED
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.motion import Planner
from dysl_vla_ros.playback import Playback
from dysl_vla_ros.standing import Standing
from dysl_vla_ros.way_home import BESIDE, WayHome


@dataclass(frozen=True)
class Way:
    """A way home that was asked for.

    Attributes:
        targets: From ``WayHome.from_here``, shape (k + 1, n).
        epoch: In which it was asked for.
    """

    targets: FloatArray
    epoch: int


class Beginning:
    """Lets a motion begin at the measured pose; called under the loop's lock.

    Attributes:
        controller_is_new: Whether it was started again since: it holds the arm where that is,
            and knows no last command.
    """

    def __init__(
        self, standing: Standing, playback: Playback, home: WayHome, planner: Planner
    ) -> None:
        """Nothing was asked for.

        Args:
            standing: State and epoch of the loop.
            playback: Anchors the motion.
            home: Walks home.
            planner: Knows the workspace, where there is one.
        """
        self.controller_is_new = False
        self._standing = standing
        self._playback = playback
        self._home = home
        self._workspace_problem = getattr(planner, 'workspace_problem', lambda joints: '')

    def start(self, epoch: int | None = None, place: FloatArray | None = None) -> str:
        """Begin to act; returns why it is refused, else ''.

        Args:
            epoch: In which it was asked for; None is now.
            place: Where the arm was then, shape (n,); None where it is now.
        """
        if epoch not in (None, self._standing.epoch):
            return CHANGED
        refusal = self._problem()
        if not refusal and place is not None:
            refusal = self._playback.governor.elsewhere(place)
        refusal = refusal or self._standing.run.start()
        if not refusal:
            self._from_measured('waiting for the first chunk')
        return refusal

    def way_home(self) -> Way | str:
        """The way home from where the arm is, not judged yet; or why it is refused."""
        refusal = self._home.no_goal or self._problem()
        return refusal or Way(self._home.from_here(), self._standing.epoch)

    def home(self, way: Way) -> str:
        """Begin to go home by a way that was judged; returns why it is refused, else ''."""
        if way.epoch != self._standing.epoch:
            return CHANGED
        refusal = self._standing.run.home()
        if not refusal:
            self._home.take(way.targets)
            self._from_measured('on the way to home.positions')
        return refusal

    def arm(self, armed: bool, now: float) -> None:
        """Stop what is under way: what begins next begins with a start, at the measured pose."""
        self._standing.armed = armed
        self._standing.stop('armed, not started' if armed else 'disarmed')
        self._playback.release(now)
        self._playback.governor.forget(now)
        self._standing.from_measured = True

    def settle(self, now: float) -> None:
        """Anchor the motion anew, once at rest; the next pass is full."""
        standing = self._standing
        if self.controller_is_new:
            self._playback.governor.forget(now)
        settled, reason = self._playback.settle(now, standing.from_measured)
        if settled == 'wait':
            standing.hold_reason = reason
            return
        if settled == 'go':
            self.controller_is_new = False
            standing.renewed()
            if not standing.run.homing or self._home.begin():
                return
        standing.stop(reason if settled == 'ask' else BESIDE)
        self._playback.release(now)

    def _from_measured(self, reason: str) -> None:
        self._standing.begin_from_measured(reason)

    def _problem(self) -> str:
        """Why no motion may begin where the arm is, else ''."""
        measurement = self._playback.governor.measurement
        if measurement.position is None:
            return measurement.refusal or 'no joint states received yet'
        if measurement.doubtful:
            return measurement.refusal
        return str(self._workspace_problem(measurement.position))
