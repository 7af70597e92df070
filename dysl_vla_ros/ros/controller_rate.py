"""Is the command rate below the rate at which a forward controller runs?

Such a controller repeats what it was told until it is told again: below its rate the arm is led
in steps. A trajectory controller interpolates, whatever the rate. The controller is asked for its
``update_rate``; 0 is that of its manager, which is asked then.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from dysl_vla_ros.ros.command_graph import asked_nodes, full_name
from dysl_vla_ros.ros.controller_check import Asked

NAME = 'update_rate'
HIGHEST_HZ = 500.0
"""The highest legal command_rate_hz."""
_NEAR = 0.999
_MANAGER = 'controller_manager'


class ControllerRate:
    """Polled by the executor's thread; who left is forgotten."""

    def __init__(self, node: Node, topic: str, rate: float, warn: Callable[[str], object]) -> None:
        """Nobody has been asked yet.

        Args:
            node: Who asks.
            topic: Resolved name of the command topic.
            rate: Of the commands [Hz].
            warn: Told once per controller that runs faster, and again when it comes back.
        """
        self._node = node
        self._topic = topic
        self._rate = rate
        self._warn = warn
        self._asked: dict[str, Asked] = {}
        self._problems: dict[str, str] = {}

    def poll(self) -> None:
        """Ask who was not asked, hear who answered, forget who left; never waits."""
        managers = {
            full_name(*listener): full_name(listener[0], _MANAGER)
            for listener in asked_nodes(self._node, self._topic)
        }
        for name in self._asked.keys() - {*managers, *managers.values()}:
            self._asked.pop(name).destroy()
        for name in self._problems.keys() - managers.keys():
            del self._problems[name]
        for name, manager in managers.items():
            rate = self._rate_of(name)
            if rate == 0.0:
                rate = self._rate_of(manager)
            if name not in self._problems and rate is not None and rate * _NEAR > self._rate:
                self._problems[name] = rate_problem(name, rate, self._rate)
                self._warn(self._problems[name])

    @property
    def problem(self) -> str:
        """Who of those that listen now runs faster, and what to set; '' when nobody does."""
        return '; '.join(self._problems.values())

    def destroy(self) -> None:
        """Drop the clients."""
        for asked in self._asked.values():
            asked.destroy()
        self._asked.clear()

    def _rate_of(self, name: str) -> float | None:
        """What a node says; 0 where it is another's, None while it has not answered."""
        if name not in self._asked:
            self._asked[name] = Asked(self._node, name, (NAME,))
        answers = self._asked[name].poll()
        if answers is None:
            return None
        value = answers[NAME]
        return float(value) if isinstance(value, (int, float)) else 0.0


def rate_problem(controller: str, update_rate: float, command_rate: float) -> str:
    """That a forward controller runs faster than it is told, and what to set.

    Args:
        controller: Its full name.
        update_rate: How often it runs [Hz].
        command_rate: How often it is told [Hz].
    """
    best = min(update_rate, HIGHEST_HZ)
    more = '' if best == update_rate else ', the highest, and a lower update_rate there'
    return (
        f'{controller} runs at update_rate = {update_rate:g} Hz and is told at command_rate_hz = '
        f'{command_rate:g}: it repeats every target {update_rate / command_rate:.0f} times, and '
        f'the arm moves in steps; set command_rate_hz: {best:g}{more}'
    )
