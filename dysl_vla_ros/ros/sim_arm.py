"""The executable `sim_arm`: the simulated arm, with the topics of a real one.

Publishes cameras, `joint_states` and `robot_description`; takes `joint_trajectory` as a
joint_trajectory_controller does, and `gripper_command`. With `episodes.auto` it also gives
instructions, judges them, and lays out the next scene.
"""

from __future__ import annotations

import sys
from typing import Any

from dysl_vla_ros.ros.process import run_node


def main(args: list[str] | None = None) -> int:
    """Run the simulated arm until a signal.

    Args:
        args: Command line; ``sys.argv`` by default.

    Returns:
        Exit code: 0, or 1 when a parameter is wrong or the physics failed.
    """
    return run_node('sim_arm', _make, lambda node: node.finish(), args)


def _make() -> Any:
    from dysl_vla_ros.hardware.garbage import give_back_large_blocks, set_aside
    from dysl_vla_ros.ros.sim_node import SimNode

    give_back_large_blocks()
    node = SimNode()
    set_aside()
    node.start()
    return node


if __name__ == '__main__':
    sys.exit(main())
