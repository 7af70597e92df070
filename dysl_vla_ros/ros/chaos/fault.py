"""One fault as data: what is done, what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dysl_vla_ros.ros.chaos.spoil import Filter

if TYPE_CHECKING:
    from dysl_vla_ros.ros.chaos.rig import Rig

Act = Callable[['Rig'], None]

KINDS = (
    'camera', 'joints', 'hand', 'stops', 'requests', 'model', 'node', 'clock', 'commander',
    'bundle', 'server',
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What is put into the graph, and what it may come to.

    Whatever the fault, no command may break a limit, jump, or end in motion, no process may die
    or print a traceback; the other fields ask for more.

    Attributes:
        kind: One of ``KINDS``.
        name: Unique.
        inject: Puts it in; called once the arm moves.
        clear: Takes it out, besides what the relay spoils; None: nothing else to do.
        rest_s: The arm rests within this time and stays so while the fault lasts [s]; 0: it may
            go on.
        says: A state other than playing, a diagnostic WARN or a dead process must tell.
        stays: After the fault is gone, nothing moves before a start is asked for.
        hold: Seconds from the fault to its end.
        after: Seconds of watching afterwards.
        graph: ``plain``, ``deadman`` (a dead-man switch is required), ``server`` (the policy
            runs behind ``dysl serve``), or ``refused``: ``inject`` starts a node that must not
            command anything.
        ends: Processes that the fault itself ends.
        quick: Part of the quick choice.
    """

    kind: str
    name: str
    inject: Act
    clear: Act | None = None
    rest_s: float = 0.0
    says: bool = False
    stays: bool = False
    hold: float = 1.3
    after: float = 0.8
    graph: str = 'plain'
    ends: tuple[str, ...] = ()
    quick: bool = False

    @property
    def expected(self) -> str:
        """In two words, for the table."""
        if self.graph == 'refused':
            return 'refused'
        if self.stays:
            return 'stays put'
        if self.rest_s:
            return 'stops'
        return 'says so' if self.says else 'no jump'


def spoilt(topic: str, make: Callable[[], Filter]) -> Act:
    """Spoil a relayed topic; a fresh filter for each trial."""

    def act(rig: Rig) -> None:
        rig.relay.spoil[topic] = make()

    return act
