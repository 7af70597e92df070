"""Warns when the trajectory controller would restart every spline from the measured state.

`joint_trajectory_controller` does so unless `interpolate_from_desired_state` (Humble:
`open_loop_control`) is true; at 30 windows a second the arm then lags and shivers. The parameter
is asked for once, asynchronously, from whoever subscribes to the command topic.
"""

from __future__ import annotations

from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node

NAMES = ('interpolate_from_desired_state', 'open_loop_control')
_TRIES = 10


class ControllerCheck:
    """Called about once a second until it has an answer, or gives up."""

    def __init__(self, node: Node, topic: str) -> None:
        """Args: who asks, and the resolved command topic."""
        self._node = node
        self._topic = topic
        self._tries = 0
        self._client: Client | None = None
        self._asked = False

    def poll(self) -> None:
        """One step; cheap."""
        if self._asked or self._tries >= _TRIES:
            return
        self._tries += 1
        if self._client is None:
            self._client = self._find()
        if self._client is not None and self._client.service_is_ready():
            self._asked = True
            request = GetParameters.Request(names=list(NAMES))
            self._client.call_async(request).add_done_callback(self._on_answer)

    def destroy(self) -> None:
        """Drop the client."""
        if self._client is not None:
            self._node.destroy_client(self._client)

    def _find(self) -> Client | None:
        for endpoint in self._node.get_subscriptions_info_by_topic(self._topic):
            if endpoint.node_name in ('', '_NODE_NAME_UNKNOWN_', self._node.get_name()):
                continue
            full_name = f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'
            return self._node.create_client(GetParameters, f'{full_name}/get_parameters')
        return None

    def _on_answer(self, future: Any) -> None:
        answer = None if future.exception() else future.result()
        if answer is None:
            return
        values = list(answer.values)
        declared = [value for value in values if value.type == 1]  # PARAMETER_BOOL
        if declared and not any(value.bool_value for value in declared):
            self._node.get_logger().warning(
                f'the controller behind {self._topic} has {" and ".join(NAMES)} false: it '
                'restarts each spline from the measured state, so that motion lags; set it to true'
            )
