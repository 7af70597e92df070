"""The executable with a fake policy, for tests that send signals: python child_node.py ..."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]


def make():
    """As ``vla_node`` makes it: imports come after the signal handlers."""
    from fakes import FakePolicy

    import dysl_vla_ros.ros.lifecycle_node as module

    module.open_policy = lambda config: FakePolicy()
    return module.VlaNode()


if __name__ == '__main__':
    from dysl_vla_ros.ros import vla_node

    vla_node._make = make
    sys.exit(vla_node.main(sys.argv))
