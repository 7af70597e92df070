"""Asks the controllers behind the command topic for their parameters, and has them judged.

Every listener is asked, since a recorder or a relay listens too, and one question holds one name:
an unknown name among several makes the whole answer empty. One question at a time: a service
keeps ten at most. All of it is asynchronous: who does not answer yet is asked again.
"""

from __future__ import annotations

import time
from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node

from dysl_vla_ros.ros.command_graph import asked_nodes, full_name
from dysl_vla_ros.ros.controller_fit import CHECKED, Fit, Sent, Value, judge

_ANSWER_S = 2.0
"""A question that is not answered for longer is asked again [s]."""


class ControllerCheck:
    """Polled and read by the executor's thread."""

    def __init__(self, node: Node, topic: str, sent: Sent) -> None:
        """Nobody has been asked yet.

        Args:
            node: Who asks.
            topic: Resolved name of the command topic.
            sent: What is published there.
        """
        self._node = node
        self._topic = topic
        self._sent = sent
        self._asked: dict[str, Asked] = {}
        self._fits: dict[str, Fit] = {}

    def poll(self) -> None:
        """Look for listeners, ask who was not asked, forget who left; never waits."""
        if self._sent.command_type not in CHECKED:
            return
        found = asked_nodes(self._node, self._topic)
        present = {full_name(*name) for name in found}
        for name in self._asked.keys() - present:
            self._asked.pop(name).destroy()
            self._fits.pop(name, None)
        for name in sorted(present - self._asked.keys()):
            self._asked[name] = Asked(self._node, name, self._sent.questions)
        for name, asked in self._asked.items():
            answers = asked.poll()
            if answers is not None and name not in self._fits:
                self._judge(name, answers)

    @property
    def misfit(self) -> str:
        """Why a controller would not do what is meant; '' when all fit, or nothing is known."""
        return '; '.join(fit.misfit for fit in self._known().values() if fit.misfit)

    @property
    def status(self) -> str:
        """``fits: ``, ``misfit: `` or ``unknown: ``, and what or why."""
        if self._sent.command_type not in CHECKED:
            return f'unknown: no controller takes {self._sent.command_type}'
        if self.misfit:
            return f'misfit: {self.misfit}'
        controllers = {name: fit for name, fit in self._known().items() if fit.is_controller}
        if controllers:
            parts = [f'{name} takes {fit.summary}' for name, fit in controllers.items()]
            parts += [text for fit in controllers.values() for text in fit.warnings]
            return f'fits: {"; ".join(parts)}'
        silent = sorted(self._asked.keys() - self._fits.keys())
        if silent:
            return f'unknown: {" and ".join(silent)} did not answer for the parameters'
        return 'unknown: no controller listens'

    def destroy(self) -> None:
        """Drop the clients."""
        for asked in self._asked.values():
            asked.destroy()
        self._asked.clear()

    def _known(self) -> dict[str, Fit]:
        return dict(sorted(self._fits.items()))

    def _judge(self, name: str, answers: dict[str, Value]) -> None:
        fit = self._fits[name] = judge(name, self._sent, answers)
        log = self._node.get_logger()
        if fit.misfit:
            log.error(f'{fit.misfit}; the arm is neither armed nor started like this')
        for text in fit.warnings:
            log.warning(text)


class Asked:
    """One listener: its questions one after the other, and the answers so far."""

    def __init__(self, node: Node, name: str, questions: tuple[str, ...]) -> None:
        self._node = node
        self._client: Client = node.create_client(GetParameters, f'{name}/get_parameters')
        self._left = list(questions)
        self._answers: dict[str, Value] = {}
        self._future: Any = None
        self._asked_at = 0.0

    def poll(self) -> dict[str, Value] | None:
        """Go on asking; the answers once all are there."""
        if not self._left:
            return self._answers
        if self._future is not None and time.monotonic() - self._asked_at > _ANSWER_S:
            self._client.remove_pending_request(self._future)
            self._future = None
        if self._future is None and self._client.service_is_ready():
            self._ask()
        return None

    def destroy(self) -> None:
        """Drop the client, and whatever it still brings."""
        self._left.clear()
        self._future = None
        self._node.destroy_client(self._client)

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        future = self._client.call_async(GetParameters.Request(names=self._left[:1]))
        self._future = future
        future.add_done_callback(self._take)

    def _take(self, future: Any) -> None:
        if future is not self._future:
            return  # given up before
        self._future = None
        try:
            values = list(future.result().values)
        except Exception:  # cancelled, or the service went away: asked again at a later poll
            return
        self._answers[self._left.pop(0)] = _value(values)
        if self._left:
            self._ask()


def _value(values: list[Any]) -> Value:
    """The answer to one question; None when the parameter is not declared, or of another type."""
    if len(values) != 1:
        return None
    value = values[0]
    if value.type == ParameterType.PARAMETER_BOOL:
        return bool(value.bool_value)
    if value.type == ParameterType.PARAMETER_DOUBLE:
        return float(value.double_value)
    if value.type == ParameterType.PARAMETER_INTEGER:
        return float(value.integer_value)
    if value.type == ParameterType.PARAMETER_STRING:
        return str(value.string_value)
    if value.type == ParameterType.PARAMETER_STRING_ARRAY:
        return [str(item) for item in value.string_array_value]
    return None
