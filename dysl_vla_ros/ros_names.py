"""Which names ROS 2 takes: told without rclpy, before anything is started."""

from __future__ import annotations

import re

_WORD = '[A-Za-z_][A-Za-z0-9_]*'
_WORDS = f'{_WORD}(/{_WORD})*'
_NAME, _TOPIC = re.compile(f'/?{_WORDS}'), re.compile(f'(~?/)?{_WORDS}')


def is_name(name: str) -> bool:
    """Whether a node, a topic or an action can be called so, relative or ``/absolute``."""
    return _NAME.fullmatch(name) is not None


def is_topic(name: str) -> bool:
    """The same, or a node's own ``~/topic``."""
    return _TOPIC.fullmatch(name) is not None
