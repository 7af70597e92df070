"""Listens to a bundle's cameras for a while, as the node would, and says what comes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import InputConfig
from dysl_vla_ros.contract import camera_views
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.cameras import Camera
from dysl_vla_ros.ros.references import Comparison

NODE_NAME = 'dysl_doctor'
_FOLLOW_S = 0.5
_BEGINS_S = 3.0
"""A publisher whose first word was lost is heard again after 3 s: listening begins with the first
picture of every camera, or when this has passed."""
_ENDS_S = 1.0
"""One late picture is no broken camera: what is silent at the end is waited for so long."""


@dataclass(frozen=True)
class CameraReport:
    """What was heard of one camera.

    Attributes:
        camera: Name in the bundle.
        topic: Resolved name.
        text: What comes and how, for people.
        problem: Why the node would not be ready; '' when it would.
        warning: What else is not as it should be; ''.
        comparison: With the reference; None where no picture came.
    """

    camera: str
    topic: str
    text: str
    problem: str
    warning: str
    comparison: Comparison | None


def survey(
    manifest: Manifest,
    references: Mapping[str, ImageArray],
    limits: InputConfig,
    seconds: float,
    topics: Mapping[str, str],
) -> list[CameraReport]:
    """Listen, then report; nothing is published.

    Args:
        manifest: Names the cameras.
        references: Camera -> what the model saw in training.
        limits: As the node's.
        seconds: How long to listen [s], from when every camera can be used; one that cannot is
            waited for 3 s before, and 1 s after.
        topics: Camera -> topic, where it is another.

    Raises:
        ConfigError: A parameter fits no camera of the bundle.
    """
    views = camera_views(limits, manifest)
    remappings = [word for name, topic in topics.items() for word in ('-r', f'{name}:={topic}')]
    context = Context()
    rclpy.init(args=['--ros-args', *remappings] if remappings else [], context=context,
               signal_handler_options=SignalHandlerOptions.NO)  # fmt: skip
    node = Node(NODE_NAME, context=context)
    try:
        arrival = Arrival(node, limits.max_observation_age_s)
        cameras = [
            Camera(node, spec, limits, views[spec.name], arrival) for spec in manifest.cameras
        ]
        _listen(node, cameras, seconds)
        now = time.monotonic()
        return [_report(node, camera, references, now) for camera in cameras]
    finally:
        node.destroy_node()
        context.try_shutdown()


def _listen(node: Node, cameras: list[Camera], seconds: float) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    follow_at = 0.0

    def spin(limit: float, *, till_usable: bool) -> None:
        nonlocal follow_at
        until = time.monotonic() + limit
        while (now := time.monotonic()) < until:
            if till_usable and not any(camera.stream.problem(now) for camera in cameras):
                return
            if now >= follow_at:
                follow_at = now + _FOLLOW_S
                for camera in cameras:
                    camera.follow()
            executor.spin_once(timeout_sec=0.05)

    spin(_BEGINS_S, till_usable=True)
    spin(seconds, till_usable=False)
    spin(_ENDS_S, till_usable=True)
    executor.remove_node(node)
    executor.shutdown()


def _report(
    node: Node, camera: Camera, references: Mapping[str, ImageArray], now: float
) -> CameraReport:
    name, values, rate = camera.spec.name, camera.values(), camera.stream.rate(now)
    problem, comparison = camera.stream.problem(now), None
    try:
        seen = camera.as_seen()
    except InputError as error:
        problem, seen = problem or str(error), None
    parts = [values['picture'], 'n/a' if rate is None else f'{rate:.1f} Hz', values['transport']]
    if values['lost_ratio'] != 'n/a':
        parts.append(f'{100 * float(values["lost_ratio"]):.0f} % lost')
    if seen is not None:
        comparison = Comparison(seen, references.get(name))
        difference = comparison.brightness
        parts.append('no reference picture' if difference is None
                     else f'brightness {difference:+.0f} of 255')  # fmt: skip
    warnings = [camera.warning(now), comparison.problem if comparison is not None else '']
    return CameraReport(
        name, node.resolve_topic_name(name), ', '.join(parts), problem,
        '; '.join(text for text in warnings if text), comparison,
    )  # fmt: skip
