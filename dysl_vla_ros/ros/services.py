"""Services and request topics of the node; the rules are in ``requests``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from dysl_vla_ros.policy import MAX_INSTRUCTION_BYTES
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.requests import Answer, Requests


class Services:
    """`~/start` `~/stop` `~/home` `~/estop_reset` `~/arm` `~/pause`, and the request topics."""

    def __init__(self, node: Node, requests: Requests) -> None:
        """Create services and subscriptions."""
        self._node = node
        self._requests = requests
        self._answered: Answer | None = None
        self._services = [
            self._trigger('~/start', requests.start),
            self._trigger('~/stop', requests.stop),
            self._trigger('~/home', requests.home),
            self._trigger('~/estop_reset', requests.reset_estop),
            self._switch('~/arm', requests.arm),
            self._switch('~/pause', requests.pause),
        ]
        self._subscriptions = [
            node.create_subscription(String, 'instruction', self._on_instruction, qos.REQUEST),
            node.create_subscription(Bool, 'enable', self._on_enable, qos.REQUEST),
        ]

    def destroy(self) -> None:
        """Drop services and subscriptions."""
        for service in self._services:
            self._node.destroy_service(service)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def instruct(self, text: str) -> None:
        """Pass an instruction on, and log what came of it."""
        answer = self._requests.instruct(text)
        log = self._node.get_logger()
        if answer == self._answered:
            return  # a text that is repeated every second is no news
        self._answered = answer
        if answer.success:
            log.info(answer.message)
        else:
            log.error(answer.message)

    def _on_instruction(self, message: Any) -> None:
        # Bounded before anything looks at it; what is cut is refused for its length all the same.
        self.instruct(message.data[: 4 * MAX_INSTRUCTION_BYTES])

    def _on_enable(self, message: Any) -> None:
        self._requests.enable(message.data)

    def _trigger(self, name: str, ask: Callable[[], Answer]) -> Any:
        def answer(request: Any, response: Any) -> Any:
            return self._fill(name, response, ask())

        return self._node.create_service(Trigger, name, answer)

    def _switch(self, name: str, ask: Callable[[bool], Answer]) -> Any:
        def answer(request: Any, response: Any) -> Any:
            return self._fill(f'{name} {str(request.data).lower()}', response, ask(request.data))

        return self._node.create_service(SetBool, name, answer)

    def _fill(self, name: str, response: Any, answer: Answer) -> Any:
        response.success, response.message = answer.success, answer.message
        if answer.success:
            self._node.get_logger().info(f'{name}: {answer.message}')
        else:
            self._node.get_logger().warning(f'{name} refused: {answer.message}')
        return response
