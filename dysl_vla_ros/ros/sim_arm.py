"""The executable `sim_arm`: the simulated arm, with the topics of a real one.

Publishes cameras, `joint_states` and `robot_description`; takes `joint_trajectory` as a
joint_trajectory_controller does, and `gripper_command`. With `episodes.auto` it also gives
instructions, judges them, and lays out the next scene. Physics run in a thread of their own.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any

_SPIN_S = 0.1


def main(args: list[str] | None = None) -> int:
    """Run the simulated arm until a signal.

    Args:
        args: Command line; ``sys.argv`` by default.

    Returns:
        Exit code: 0, or 1 when a parameter is wrong or the physics failed.
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
    from dysl_vla_ros.ros.sim_node import SimNode

    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        try:
            node = SimNode()
        except DyslError as error:
            print(f'sim_arm: {error}', file=sys.stderr)
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.start()
        _spin(node, executor, stop)
        node.finish()
        executor.shutdown()
        node.destroy_node()
        return 1 if node.failed else 0
    finally:
        rclpy.try_shutdown()


def _spin(node: Any, executor: Any, stop: threading.Event) -> None:
    """Until a signal, failed physics, or the end of the context; no exception ends it."""
    while not stop.is_set() and not node.failed and node.context.ok():
        try:
            executor.spin_once(timeout_sec=_SPIN_S)
        except Exception:
            if not node.context.ok():
                return
            node.get_logger().error(f'a callback raised\n{traceback.format_exc()}')
            time.sleep(_SPIN_S)


if __name__ == '__main__':
    sys.exit(main())
