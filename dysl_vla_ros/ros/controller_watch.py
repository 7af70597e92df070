"""Is the controller behind the command topic active, and was it stopped and started meanwhile?

Two sources, both asynchronous. Every ros2_control controller announces its transitions (Humble and
newer): at once, but only while we listen. `controller_manager`'s `list_controllers` is asked at
every poll, where `controller_manager_msgs` is installed: late by a poll, but it also knows the
state that held before we came. What neither tells is unknown, and no problem.
"""

from __future__ import annotations

import time
from typing import Any

from lifecycle_msgs.msg import TransitionEvent
from rclpy.client import Client
from rclpy.node import Node
from rclpy.subscription import Subscription

from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.command_graph import asked_nodes, full_name

SERVICE_TYPE = 'controller_manager_msgs/srv/ListControllers'
_SEARCH_S = 1.0
"""How often new managers are looked for [s]."""
_ANSWER_S = 1.0
"""A manager that is silent for longer does not answer [s]."""

try:  # optional: not on every machine, and no wheel exists
    from controller_manager_msgs.srv import ListControllers  # type: ignore[import-not-found]
except ImportError:
    ListControllers = None


class ControllerWatch:
    """Polled by a timer of the executor, five times a second; read from any thread."""

    def __init__(self, node: Node, topic: str) -> None:
        """Nothing is known yet.

        Args:
            node: Who asks.
            topic: Resolved name of the command topic.
        """
        self._node = node
        self._topic = topic
        self._events: dict[str, Subscription] = {}
        self._managers: dict[str, _Manager] = {}
        self._states: dict[str, str] = {}
        self._listeners: tuple[tuple[str, str], ...] = ()
        self._searched_at = float('-inf')
        self.changed_at: float | None = None
        """Steady time at which a controller's state was last seen to change [s]."""
        self.restarted_at: float | None = None
        """Steady time at which a controller was last seen to become active again [s]."""

    def poll(self) -> None:
        """Look at the graph, ask every manager; never waits."""
        now = time.monotonic()
        self._listeners = asked_nodes(self._node, self._topic)
        self._listen()
        if ListControllers is not None:
            if now - self._searched_at >= _SEARCH_S:
                self._searched_at = now
                self._search()
            for manager in self._managers.values():
                manager.ask(now)

    @property
    def status(self) -> str:
        """``active``, ``inactive``, or ``unknown: `` and why."""
        states = tuple(self._states.values())
        silent = bool(self._managers) and all(m.is_silent() for m in self._managers.values())
        if 'active' in states:
            return 'unknown: controller_manager does not answer' if silent else 'active'
        if states:
            return 'inactive'
        if ListControllers is None:
            return 'unknown: not installed'
        if not self._managers:
            return 'unknown: no controller_manager'
        if silent:
            return 'unknown: controller_manager does not answer'
        return 'unknown: no controller of controller_manager takes the commands'

    def problem(self) -> str:
        """Why the arm would not follow; '' when a controller is active, or nothing is known."""
        states = dict(self._states)
        if not states or 'active' in states.values():
            return ''
        found = ', '.join(f'{name} is {state}' for name, state in sorted(states.items()))
        return f'the controller does not run: {found}; expected active'

    def destroy(self) -> None:
        """Drop clients and subscriptions."""
        for subscription in self._events.values():
            self._node.destroy_subscription(subscription)
        for manager in self._managers.values():
            manager.destroy()
        self._events.clear()
        self._managers.clear()

    # ---- what the controllers announce -------------------------------------------------------

    def _listen(self) -> None:
        present = {full_name(*listener) for listener in self._listeners}
        for name in present - self._events.keys():
            self._events[name] = self._node.create_subscription(
                TransitionEvent, f'{name}/transition_event', self._hear(name), qos.REPORT
            )
        for name in self._events.keys() - present:
            self._node.destroy_subscription(self._events.pop(name))
            if name in self._states:
                self._note(name, 'gone')

    def _hear(self, name: str) -> Any:
        def on_event(event: Any) -> None:
            self._note(name, event.goal_state.label)

        return on_event

    # ---- what controller_manager says ----------------------------------------------------------

    def _search(self) -> None:
        for service, types in self._node.get_service_names_and_types():
            if SERVICE_TYPE in types and service not in self._managers:
                client = self._node.create_client(ListControllers, service)
                self._managers[service] = _Manager(self._node, client, service, self._on_list)

    def _on_list(self, manager: _Manager, controllers: Any) -> None:
        states = {controller.name: controller.state for controller in controllers}
        for namespace, name in self._listeners:
            if not f'{namespace.rstrip("/")}/'.startswith(manager.namespace):
                continue
            controller = full_name(namespace, name)
            if name in states:
                manager.known.add(controller)
                self._note(controller, states[name])
            elif controller in manager.known:
                self._note(controller, 'unloaded')

    def _note(self, name: str, state: str) -> None:
        before = self._states.get(name)
        if state == before:
            return
        now = time.monotonic()
        self._states[name] = state
        if before is not None:
            self.changed_at = now
            if state == 'active':
                self.restarted_at = now


class _Manager:
    """One `list_controllers` service: at most one question at a time, and none is waited for."""

    def __init__(self, node: Node, client: Client, service: str, on_list: Any) -> None:
        self.namespace = service.rsplit('/', 2)[0] + '/'
        self.known: set[str] = set()
        self._node = node
        self._client = client
        self._on_list = on_list
        self._future: Any = None
        self._asked_at = 0.0
        self._answered_at = time.monotonic()

    def ask(self, now: float) -> None:
        """Ask again, unless an answer is still on its way."""
        if self._future is not None:
            if now - self._asked_at < _ANSWER_S:
                return
            self._client.remove_pending_request(self._future)
            self._future = None
        if self._client.service_is_ready():
            self._asked_at = now
            self._future = self._client.call_async(ListControllers.Request())
            self._future.add_done_callback(self._on_answer)

    def is_silent(self) -> bool:
        """Whether it has not answered for longer than it may."""
        return time.monotonic() - self._answered_at > _ANSWER_S

    def destroy(self) -> None:
        """Drop the client, and whatever it still brings."""
        self._on_list = lambda manager, controllers: None
        self._node.destroy_client(self._client)

    def _on_answer(self, future: Any) -> None:
        if future is self._future:
            self._future = None
        try:
            controllers = future.result().controller
        except Exception:  # cancelled, or the service went away: the next question tells
            return
        self._answered_at = time.monotonic()
        self._on_list(self, controllers)
