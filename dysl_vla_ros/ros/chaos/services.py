"""Calls the node's services from a thread that is not the executor's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from dysl_vla_ros.ros.chaos.graph import NODE


class Services:
    """Clients, made when first used and kept."""

    def __init__(self, node: Node) -> None:
        """Args: whose executor spins in another thread."""
        self._node = node
        self._clients: dict[tuple[str, str], Any] = {}

    def ask(self, service: str, data: bool | None = None, timeout: float = 3.0) -> bool | None:
        """Call ``<node>/<service>``; whether it was granted, None without an answer."""
        name = service if service.startswith('/') else f'/{NODE}/{service}'
        if data is None:
            answer = self._call(Trigger, name, Trigger.Request(), timeout)
        else:
            answer = self._call(SetBool, name, SetBool.Request(data=data), timeout)
        return None if answer is None else bool(answer.success)

    def change_state(self, transition: int, timeout: float = 5.0) -> bool | None:
        """Ask for a transition of the node's life cycle."""
        request = ChangeState.Request()
        request.transition.id = transition
        answer = self._call(ChangeState, f'/{NODE}/change_state', request, timeout)
        return None if answer is None else bool(answer.success)

    def _call(self, kind: Any, name: str, request: Any, timeout: float) -> Any:
        key = (kind.__name__, name)
        if key not in self._clients:
            self._clients[key] = self._node.create_client(kind, name)
        client = self._clients[key]
        until = time.monotonic() + timeout
        if not _wait(client.service_is_ready, until):
            return None
        future = client.call_async(request)
        if not _wait(future.done, until):
            client.remove_pending_request(future)
            return None
        return future.result()


def _wait(ready: Callable[[], bool], until: float) -> bool:
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(0.003)
    return True
