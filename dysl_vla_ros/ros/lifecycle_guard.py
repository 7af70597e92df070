"""An invalid lifecycle request is answered with ``success = False`` instead of killing the node.

On Humble and Jazzy the error leaves ``spin`` and the client waits for ever (rclpy issue 1209);
Kilted answers by itself.
"""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode

RCLError: type[Exception] = rclpy_implementation.RCLError


def answer_invalid_transitions(node: LifecycleNode) -> None:
    """Wrap the node's `change_state` service; without that service nothing is done."""
    service = getattr(node, '_service_change_state', None)
    if service is None:
        return
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RCLError as error:
            asked = request.transition.label or request.transition.id
            node.get_logger().warning(f'transition {asked!r} refused: {error}')
            response.success = False
            return response

    service.callback = answer
