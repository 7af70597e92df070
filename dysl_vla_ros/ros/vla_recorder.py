"""The executable `vla_recorder`: what `record:=true` starts beside the node.

Its end, whatever the reason, ends nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

from dysl_vla_ros.ros.process import run_node


def main(args: list[str] | None = None) -> int:
    """Record until a signal.

    Args:
        args: Command line; ``sys.argv`` by default.

    Returns:
        Exit code: 0, or 1 when it could not begin or had to stop.
    """
    return run_node('vla_recorder', _make, lambda node: node.finish(), args)


def _make() -> Any:
    from dysl_vla_ros.errors import ConfigError
    from dysl_vla_ros.ros.recorder_node import RecorderNode

    try:
        return RecorderNode()
    except OSError as error:
        raise ConfigError('record_folder', str(error), 'a folder that can be written') from None


if __name__ == '__main__':
    sys.exit(main())
