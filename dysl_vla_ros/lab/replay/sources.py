"""What of a recording can be replayed: passes, else pictures and joints, else motion alone."""

from __future__ import annotations

from typing import Any, Literal

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.lab.data.bags.bag import Bag
from dysl_vla_ros.lab.replay.motion import ENDING, TYPE
from dysl_vla_ros.lab.replay.steps import PassSteps, passes_in

_PICTURES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


def kind_of_source(bag: Bag, given: Any) -> Literal['passes', 'topics', 'motion']:
    """The most that a recording allows.

    Args:
        bag: Opened.
        given: Options of ``dysl replay``.
    """
    if passes_in(bag) and not given.camera:
        return 'passes'
    if given.camera or bag.find(*_PICTURES) or not bag.find(TYPE, ending=ENDING):
        return 'topics'
    return 'motion'


def open_steps(bag: Bag, manifest: Manifest, given: Any) -> Any:
    """The steps of a recording, with ``notes`` and ``topic``.

    Args:
        bag: Opened.
        manifest: Of the bundle that will see them.
        given: Options of ``dysl replay``.

    Raises:
        ConfigError: The recording lacks what the bundle needs.
    """
    if kind_of_source(bag, given) == 'passes':
        return PassSteps(bag, given.topic)
    raise NotImplementedError
