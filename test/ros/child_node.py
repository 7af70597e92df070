"""The executable with a fake policy, for tests that send signals: python child_node.py ..."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

if __name__ == '__main__':
    from fakes import FakePolicy

    import dysl_vla_ros.ros.lifecycle_node as module
    from dysl_vla_ros.ros.vla_node import main

    module.open_policy = lambda config: FakePolicy()
    sys.exit(main(sys.argv))
