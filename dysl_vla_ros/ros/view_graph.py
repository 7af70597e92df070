"""Which topics a running node has, asked from the graph: remappings are followed by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rclpy.node import Node

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_JOINTS = 'sensor_msgs/msg/JointState'
_BOOL = 'std_msgs/msg/Bool'
_STRING = 'std_msgs/msg/String'
_OF_INTEREST = {IMAGE, COMPRESSED, _JOINTS, _BOOL, _STRING}


@dataclass(frozen=True)
class Topics:
    """What the node subscribes to, by full name.

    Attributes:
        cameras: Topic -> type, of every picture.
        joint_states: Topics.
        robot_description: Topic; '' where it cannot be told.
        instruction: Topic; '' where it cannot be told.
        estop: Topic; '' where it cannot be told.
        unclear: What cannot be told, for people.
    """

    cameras: Mapping[str, str]
    joint_states: tuple[str, ...]
    robot_description: str
    instruction: str
    estop: str
    unclear: str = ''


def full_name(target: str) -> tuple[str, str]:
    """Name and namespace of ``/left/vla_node``: ``vla_node``, ``/left``."""
    namespace, _, name = ('/' + target.strip('/')).rpartition('/')
    return name, namespace or '/'


def topics_of(observer: Node, target: str) -> Topics | None:
    """What a node subscribes to; None while it is not in the graph, or not configured.

    A topic of a usual name is taken by its name, as the observer's own remappings have it. One
    that was renamed is found by its type where no other can be meant.

    Args:
        observer: Whoever asks; in the namespace of the node.
        target: Full name of the other.
    """
    # By topic and not by node: of two nodes of one name, one of them dead and not yet forgotten by
    # the middleware, the graph would speak of either.
    of_type: dict[str, set[str]] = {}
    for topic, types in observer.get_topic_names_and_types():
        for kind in set(types) & _OF_INTEREST:
            ends = observer.get_subscriptions_info_by_topic(topic)
            if any((end.node_name, end.node_namespace) == full_name(target) for end in ends):
                of_type.setdefault(kind, set()).add(topic)

    def resolved(own: str) -> str:
        return observer.resolve_topic_name(own)

    bools, strings = of_type.get(_BOOL, set()), of_type.get(_STRING, set())
    if not bools:
        return None  # not configured: parameters alone
    estop = _one_of(bools, resolved('estop'), resolved('enable'))
    instruction = _one_of(strings, resolved('instruction'), resolved('robot_description'))
    description = _one_of(strings, resolved('robot_description'), instruction)
    cameras = {topic: kind for kind in (IMAGE, COMPRESSED) for topic in of_type.get(kind, set())}
    unclear = '; '.join(
        f'which of {" and ".join(sorted(among))} is {what} is unknown: -r {what}:=TOPIC says it'
        for what, topic, among in (('estop', estop, bools), ('instruction', instruction, strings))
        if not topic
    )
    return Topics(
        dict(sorted(cameras.items())), tuple(sorted(of_type.get(_JOINTS, set()))),
        description, instruction, estop, unclear,
    )  # fmt: skip


def _one_of(among: set[str], name: str, other: str) -> str:
    """The topic of that name; else the only one that is not the other; else ''."""
    if name in among:
        return name
    left = among - {other}
    return next(iter(left)) if len(left) == 1 and other in among else ''
