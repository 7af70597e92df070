"""Warns when the trajectory controller would restart every spline from the measured state.

`joint_trajectory_controller` does so unless `interpolate_from_desired_state` (Humble:
`open_loop_control`) is true; at 30 windows a second the arm then lags and shivers. The parameters
are asked for asynchronously, of every node that listens to the command topic, and one by one: an
unknown name among several makes the answer empty.
"""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node

from dysl_vla_ros.ros.command_graph import full_name, listening_nodes

NAMES = ('interpolate_from_desired_state', 'open_loop_control')
_TRIES = 10


class ControllerCheck:
    """Called about once a second until every listener has answered, or it gives up."""

    def __init__(self, node: Node, topic: str) -> None:
        """Args: who asks, and the resolved command topic."""
        self._node = node
        self._topic = topic
        self._tries = 0
        self._clients: dict[str, Client] = {}
        self._answers: dict[str, dict[str, bool | None]] = {}

    def poll(self) -> None:
        """One step; cheap."""
        if self._tries >= _TRIES:
            return
        self._tries += 1
        for name in (full_name(*found) for found in listening_nodes(self._node, self._topic)):
            if name not in self._clients:
                service = f'{name}/get_parameters'
                self._clients[name] = self._node.create_client(GetParameters, service)
            client = self._clients[name]
            if name not in self._answers and client.service_is_ready():
                self._answers[name] = {}
                for parameter in NAMES:
                    request = GetParameters.Request(names=[parameter])
                    client.call_async(request).add_done_callback(self._taker(name, parameter))

    def destroy(self) -> None:
        """Drop the clients."""
        self._tries = _TRIES
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()

    def _taker(self, controller: str, parameter: str) -> Any:
        def take(future: Any) -> None:
            answers = self._answers[controller]
            answers[parameter] = _value(future)
            if len(answers) == len(NAMES):
                self._judge(controller, answers)

        return take

    def _judge(self, controller: str, answers: dict[str, bool | None]) -> None:
        declared = {name: value for name, value in answers.items() if value is not None}
        if declared and not any(declared.values()):
            self._node.get_logger().warning(
                f'{controller} has {" and ".join(sorted(declared))} false: it restarts each '
                'spline from the measured state, so that motion lags; set it to true'
            )


def _value(future: Any) -> bool | None:
    """The answer to one question; None when the parameter is not declared, or not a bool."""
    try:
        values = list(future.result().values)
    except Exception:  # cancelled, or the service went away
        return None
    if len(values) == 1 and values[0].type == ParameterType.PARAMETER_BOOL:
        return bool(values[0].bool_value)
    return None
