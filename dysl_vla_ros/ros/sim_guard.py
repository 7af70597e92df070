"""The simulated arm starts beside no other arm, and does not stay beside one.

It is armed, and started by itself: what else publishes joints, a description or pictures on its
topics belongs to an arm that somebody may stand next to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from rclpy.node import Node

from dysl_vla_ros.demo.domain import is_reserved
from dysl_vla_ros.errors import ConfigError

ANNOUNCED_S = 3.5
"""Whoever is there has announced itself within this; `check` goes on afterwards.

Fast DDS answers a newcomer once, and if that is lost it is heard again after 3 s.
"""
OURS_S = 1.5
"""In a domain that a run of ours reserved on this machine: nobody was in it."""
_LOOK_S = 0.05
_NAMELESS = 'a node whose name is not known yet'
_INSTEAD = (
    'nobody else to publish there: sim_arm simulates an arm, and the node that moves it is armed. '
    'For the arm that is there: robot:=PRESET, or robot:=custom params_file:=FILE; to simulate '
    'beside it: another ROS_DOMAIN_ID, or a namespace of its own'
)


class SimGuard:
    """Looks for other publishers on the topics of the simulated arm."""

    def __init__(self, node: Node, topics: Iterable[str]) -> None:
        """Remember the topics.

        Args:
            node: The simulated arm; has no publishers on them yet.
            topics: Relative names, as the node publishes them.
        """
        self._node = node
        self._topics = tuple(node.resolve_topic_name(topic) for topic in topics)
        self._nameless = False

    def wait(self) -> None:
        """Give discovery its time, before the node publishes anything.

        A process that was killed is not announced to one that starts later: whoever is found
        here is alive.

        Raises:
            ConfigError: Somebody publishes on one of the topics; names it and the node.
        """
        ours = is_local(os.environ) and is_reserved(self._node.context.get_domain_id())
        until = time.monotonic() + (OURS_S if ours else ANNOUNCED_S)
        while (left := until - time.monotonic()) > 0:
            self._look(own=0, patient=left > _LOOK_S)
            time.sleep(min(_LOOK_S, left))

    def check(self) -> None:
        """Look once, while the node itself publishes on each topic.

        Raises:
            ConfigError: Somebody else does too.
        """
        self._look(own=1, patient=not self._nameless)

    def _look(self, own: int, patient: bool) -> None:
        """Args: own: our publishers per topic; patient: whether a name may come later."""
        for topic in self._topics:
            found = self._node.get_publishers_info_by_topic(topic)
            names = [_name(end.node_namespace, end.node_name) for end in found]
            if len(names) <= own:
                continue
            if own:
                names.remove(self._node.get_fully_qualified_name())
            if _NAMELESS in names and patient:
                self._nameless = True
                continue
            raise ConfigError(topic, f'published by {", ".join(names)}', _INSTEAD)


def is_local(environment: Mapping[str, str]) -> bool:
    """Whether what runs with it hears this machine alone."""
    asked = environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE')
    return asked == 'LOCALHOST' or environment.get('ROS_LOCALHOST_ONLY') == '1'


def _name(namespace: str, name: str) -> str:
    return _NAMELESS if 'UNKNOWN' in name else f'{namespace.rstrip("/")}/{name}'
