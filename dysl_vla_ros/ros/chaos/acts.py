"""Small acts that faults are made of."""

from __future__ import annotations

import time

from dysl_vla_ros.ros.chaos.fault import Act
from dysl_vla_ros.ros.chaos.rig import Rig


def pause(seconds: float) -> Act:
    """Wait, while the fault lasts."""
    return lambda rig: time.sleep(seconds)


def in_turn(*acts: Act) -> Act:
    """One after the other."""

    def act(rig: Rig) -> None:
        for one in acts:
            one(rig)

    return act


def ask(service: str, data: bool | None = None) -> Act:
    """Call a service of the node, whatever it answers."""

    def act(rig: Rig) -> None:
        rig.relay.ask(service, data)

    return act


def times(count: int, act: Act) -> Act:
    """The same again and again."""
    return in_turn(*[act] * count)


def say(text: str) -> Act:
    """Publish an instruction."""
    return lambda rig: rig.relay.instruct(text)


def new_task(rig: Rig) -> None:
    """A new instruction."""
    rig.new_task()


def push(offset: float, seconds: float, index: int = 0) -> Act:
    """Someone turns a joint; the arm truly moves, and the node is not heard."""
    return lambda rig: rig.relay.hand(offset, seconds, index)
