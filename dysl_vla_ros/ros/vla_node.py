"""The executable `vla_node`: start, spin, and end the same way whatever ends it.

SIGINT and SIGTERM run the stop path of deactivation: the arm brakes along its path and the last
window ends at rest. A second signal changes nothing. Heavy imports come after the handlers.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any

_SPIN_S = 0.1
"""How soon a signal is noticed when nothing else happens."""


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal.

    Args:
        args: Command line; ``sys.argv`` by default.

    Returns:
        Exit code: 0, or 1 when the node could not be configured.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)

    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from dysl_vla_ros.errors import DyslError
    from dysl_vla_ros.ros.lifecycle_node import VlaNode

    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        try:
            node = VlaNode()
        except DyslError as error:
            print(f'vla_node: {error}', file=sys.stderr)
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        _spin(node, executor, stop)
        _shut_down(node)
        executor.shutdown()
        node.destroy_node()
        return 1 if node.failed else 0
    finally:
        rclpy.try_shutdown()


def _spin(node: Any, executor: Any, stop: threading.Event) -> None:
    """Until a signal, a failed start, or the end of the context; no exception ends it."""
    while not stop.is_set() and not node.failed and node.context.ok():
        try:
            executor.spin_once(timeout_sec=_SPIN_S)
        except Exception:
            if not node.context.ok():
                return
            node.get_logger().error(f'a callback raised\n{traceback.format_exc()}')


def _shut_down(node: Any) -> None:
    from dysl_vla_ros.ros.lifecycle_guard import RCLError

    try:
        node.trigger_shutdown()
    except RCLError:
        node.close('shut down')  # it was finalised already


if __name__ == '__main__':
    sys.exit(main())
