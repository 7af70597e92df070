"""The executable `vla_node`.

SIGINT and SIGTERM run the stop path of deactivation: the arm brakes along its path and the last
window ends at rest.
"""

from __future__ import annotations

import sys
from typing import Any

from dysl_vla_ros.ros.process import run_node


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal.

    Args:
        args: Command line; ``sys.argv`` by default.

    Returns:
        Exit code: 0, or 1 when the node could not be configured.
    """
    return run_node('vla_node', _make, _shut_down, args)


def _make() -> Any:
    from dysl_vla_ros.hardware.garbage import set_aside
    from dysl_vla_ros.ros.lifecycle_node import VlaNode

    return VlaNode(settle=set_aside)


def _shut_down(node: Any) -> None:
    from dysl_vla_ros.ros.lifecycle_guard import RCLError

    try:
        node.trigger_shutdown()
    except RCLError:
        node.close('shut down')  # it was finalised already


if __name__ == '__main__':
    sys.exit(main())
