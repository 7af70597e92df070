"""Which names ROS 2 takes: told without rclpy, before anything is started."""

from __future__ import annotations

import re

_WORD = '[A-Za-z_][A-Za-z0-9_]*'
_NAME = re.compile(f'/?{_WORD}(/{_WORD})*')


def is_name(name: str) -> bool:
    """Whether a node, a topic or an action can be called so, relative or ``/absolute``."""
    return _NAME.fullmatch(name) is not None


def is_topic(name: str) -> bool:
    """The same, or a node's own ``~/topic``."""
    private = name.removeprefix('~/')
    return is_name(private) and not (private != name and private.startswith('/'))
