"""The life of an executable: start, spin, and end the same way whatever ends it.

A second signal changes nothing, and no signal prints a traceback. The handlers are set before
anything heavy is imported.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from dysl_vla_ros.hardware.garbage import Sweep
from dysl_vla_ros.hardware.parent import end_with_parent

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP: its terminal is closed."""
_SPIN_S = 0.1
"""How soon a signal is noticed when nothing else happens."""


def run_node(
    name: str, make: Callable[[], Any], end: Callable[[Any], None], args: list[str] | None
) -> int:
    """Run one node until a signal, the end of its starter, or its attribute ``failed``.

    Args:
        name: Of the executable, for errors before there is a logger.
        make: Creates the node; called once rclpy is up.
        end: The node's stop path; called before it is destroyed.
        args: Command line; ``sys.argv`` when None.

    Returns:
        Exit code: 0, or 1 when the node could not start or failed.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    end_with_parent()

    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from dysl_vla_ros.errors import DyslError

    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        try:
            node = make()
        except DyslError as error:
            print(f'{name}: {error}', file=sys.stderr)
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        _spin(node, executor, stop)
        end(node)
        executor.shutdown()
        node.destroy_node()
        return 1 if node.failed else 0
    finally:
        rclpy.try_shutdown()
        ignore_signals()


def ignore_signals() -> None:
    """The last a process does: its end resets handlers, and one more Ctrl-C would kill it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _spin(node: Any, executor: Any, stop: threading.Event) -> None:
    """Until a signal, a failure, or the end of the context; no exception ends it."""
    sweep = Sweep()
    while not stop.is_set() and not node.failed and node.context.ok():
        sweep.if_due(time.monotonic())
        try:
            executor.spin_once(timeout_sec=_SPIN_S)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a library's panic is no Exception
            if not node.context.ok():
                return
            node.get_logger().error(f'a callback raised\n{traceback.format_exc()}')
            time.sleep(_SPIN_S)  # one that always raises must not fill the log
