"""What of a recording can be replayed: passes, else pictures and joints, else motion alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.lab.data.bags.bag import Bag, open_bag
from dysl_vla_ros.lab.replay.motion import ENDING, TYPE
from dysl_vla_ros.lab.replay.steps import PassSteps, Step, passes_in
from dysl_vla_ros.lab.replay.topics import TopicSteps, Wishes

_PICTURES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
Kind = Literal['passes', 'topics', 'motion']


def kind_of_source(bag: Bag, cameras: Mapping[str, str]) -> Kind:
    """The most that a recording allows.

    Args:
        bag: Opened.
        cameras: Camera -> topic, as the user says: then it is to be the camera's own pictures.
    """
    if passes_in(bag) and not cameras:
        return 'passes'
    if cameras or bag.find(*_PICTURES) or not bag.find(TYPE, ending=ENDING):
        return 'topics'
    return 'motion'


def open_steps(
    bag: Bag, manifest: Manifest, config: NodeConfig, wishes: Wishes, topic: str = ''
) -> PassSteps | TopicSteps:
    """The steps of a recording.

    Args:
        bag: Opened.
        manifest: Of the bundle that will see them.
        config: Of the node, for recordings without passes.
        wishes: What the user says about those.
        topic: Of the passes, where there are several.

    Raises:
        ConfigError: The recording lacks what the bundle needs.
    """
    if kind_of_source(bag, wishes.cameras) == 'passes':
        return PassSteps(bag, topic)
    return TopicSteps(bag, manifest, config, wishes)


def passes_of(path: Path) -> list[Step]:
    """All passes of a recording of ``record:=true``, as the model saw them, to the bit.

    Raises:
        ConfigError: It is no recording, or has no passes.
        InputError: It holds no observation.
    """
    with open_bag(path) as bag:
        steps = PassSteps(bag)
        found = list(steps)
        if not found:
            said = '; '.join([*bag.notes, *steps.notes])
            raise InputError(f'{path}: no observation in it ({said}): expected some')
    return found
