"""One camera: raw or compressed pictures, judged on arrival; keeps the newest message only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.config import InputConfig
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.image_tensor import View, as_seen
from dysl_vla_ros.pictures import messages
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.camera_topic import CameraTopic, type_name, types_on
from dysl_vla_ros.ros.losses import Losses
from dysl_vla_ros.ros.streams import Newest, Stream

COMPRESSED_SUFFIX = '/compressed'
_MOST_LOST = 0.1
_RATE_SHARE = 0.9
_JUDGE_EVERY_S = 1.0
_RAW_SHARE = 0.5
"""Raw pictures are gone back to once they come at this share of the compressed ones' rate."""
_UNUSABLE_CLOCK = (
    ', or image.use_arrival_time: true where the clock of the camera cannot be trusted'
)


class Camera:
    """Subscribes to ``<name>``, ``<name>/compressed``, or to what of them comes."""

    def __init__(
        self, node: Node, spec: CameraSpec, limits: InputConfig, view: View, arrival: Arrival
    ) -> None:
        """Subscribe.

        Args:
            node: Owner of the subscriptions.
            spec: Its name is the topic and the key in ``Observation.images``.
            limits: What is too old, and the choices about pictures.
            view: What of the picture is used.
            arrival: Turns stamps into steady time, and reports refusals.
        """
        self.stream = Stream(spec.name, limits.image_timeout_s)
        self.spec = spec
        self._node = node
        self._limits = limits
        self._view = view
        self._arrival = arrival
        self._losses = Losses()
        self._topic = node.resolve_topic_name(spec.name)
        self._judged: tuple[Any, ...] = ()
        self._judged_at = float('-inf')
        self._explained = ''
        self._decoded: tuple[Newest, ImageArray] | None = None
        self._since = time.monotonic()
        self._sizes: tuple[str, str] | None = None
        """Of the first picture and of the newest."""
        self._raw: CameraTopic | None = None
        self._compressed: CameraTopic | None = None
        if limits.image_transport != 'compressed':
            self._raw = CameraTopic(node, Image, self._topic, self._on_image)
        if limits.image_transport == 'compressed':
            self._subscribe_compressed()

    def follow(self) -> None:
        """Follow what is published; called about once a second, since it asks the graph."""
        now = time.monotonic()
        for topic in (self._raw, self._compressed):
            if topic is not None:
                topic.follow()
        if self._limits.image_transport == 'auto':
            self._choose(now)
        if self.stream.problem(now):
            self._explain()

    def picture(self, newest: Newest) -> ImageArray:
        """A kept message as RGB, shape (height, width, 3), read-only; decoded once.

        Raises:
            InputError: The data cannot be decoded.
        """
        kept = self._decoded
        if kept is not None and kept[0] is newest:
            return kept[1]
        whole = messages.rgb_of(self.stream.name, newest.message)
        image = np.ascontiguousarray(self._view.apply(whole, self.spec))
        image.setflags(write=False)
        self._decoded = (newest, image)
        return image

    def as_seen(self) -> ImageArray | None:
        """The newest picture as the model sees it, (height, width, 3); None before the first.

        Raises:
            InputError: The data cannot be decoded.
        """
        newest = self.stream.newest
        return None if newest is None else as_seen(self.picture(newest), self.spec)

    def warning(self, now: float) -> str:
        """That pictures changed, are lost or come too slowly, for people: nothing gets stale."""
        first, size = self._sizes or ('', '')
        if size != first:
            return (
                f'{self.spec.name}: {size} pixels now, {first} at first: another camera or '
                'setting; what the model sees of the scene may be another part of it'
            )
        rate, wanted = self.stream.rate(now), self._limits.image_expected_rate_hz
        if wanted and rate is not None and rate < _RATE_SHARE * wanted:
            return (
                f'{self.spec.name}: {rate:.1f} pictures a second: expected '
                f'image.expected_rate_hz = {wanted:g}'
            )
        report = self._losses.report()
        if report is None or self.stream.problem(now) or report.ratio <= _MOST_LOST:
            return ''
        return (
            f'{self.spec.name}: {report.lost} of {report.lost + report.arrived} pictures lost on '
            f'the way: the camera takes {report.taken_hz:.1f} a second by its stamps, '
            f'{self.transport}; expected at most {100 * _MOST_LOST:.0f} %'
        )

    @property
    def transport(self) -> str:
        """``raw`` or ``compressed``, whichever the newest is, and how reliably it is received."""
        newest = self.stream.newest
        is_raw = newest is None or not isinstance(newest.message, CompressedImage)
        topic = self._raw if is_raw else self._compressed
        if newest is None or topic is None:
            return 'n/a'
        kind = 'raw' if is_raw else 'compressed'
        return f'{kind}, {"reliable" if topic.reliable else "best effort"}'

    def values(self) -> Mapping[str, str]:
        """For diagnostics."""
        report = self._losses.report()
        return {
            'transport': self.transport,
            'picture': ' '.join(map(str, self._judged[:2])) or 'n/a',
            'lost_ratio': 'n/a' if report is None else f'{report.ratio:.3f}',
        }

    def destroy(self) -> None:
        """Drop the subscriptions."""
        for topic in (self._raw, self._compressed):
            if topic is not None:
                topic.destroy()

    # ---- which transport -----------------------------------------------------------------------

    def _choose(self, now: float) -> None:
        """Raw pictures while they come; else compressed ones, where they are published."""
        raw, patience = self._raw, 2.0 * self._limits.image_timeout_s
        assert raw is not None
        if self._compressed is None:
            offered = self._node.count_publishers(self._topic + COMPRESSED_SUFFIX) > 0
            absent = self._node.count_publishers(self._topic) == 0
            if offered and (absent or raw.silent(now, patience, self._since)):
                self._subscribe_compressed()
        elif raw.rate(now) > 0 and raw.rate(now) >= _RAW_SHARE * self._compressed.rate(now):
            self._compressed.destroy()
            self._compressed = None

    def _subscribe_compressed(self) -> None:
        self._compressed = CameraTopic(
            self._node, CompressedImage, self._topic + COMPRESSED_SUFFIX, self._on_compressed
        )

    def _explain(self) -> None:
        """Put into words why nothing comes, where the graph shows it."""
        stream = self.stream
        if stream.newest is not None or stream.last_refusal != self._explained:
            return
        stream.last_refusal = self._explained = self._why_nothing_comes()

    def _why_nothing_comes(self) -> str:
        raw, packed = type_name(Image), type_name(CompressedImage)
        found = types_on(self._node, self._topic)
        others = types_on(self._node, self._topic + COMPRESSED_SUFFIX)
        name, chosen = self.spec.name, self._limits.image_transport
        if packed in found and self._topic.endswith(COMPRESSED_SUFFIX):
            return (
                f'{name}: {self._topic} carries {packed}: expected its name without '
                f'{COMPRESSED_SUFFIX}, {self._topic.removesuffix(COMPRESSED_SUFFIX)}'
            )
        if found - {raw}:
            return (
                f'{name}: {self._topic} carries {", ".join(sorted(found))}: expected {raw}; '
                f'compressed pictures come on {self._topic}{COMPRESSED_SUFFIX}'
            )
        if chosen == 'raw' and packed in others and raw not in found:
            return (
                f'{name}: {self._topic}{COMPRESSED_SUFFIX} alone is published: expected '
                'image.transport = auto or compressed'
            )
        if chosen == 'compressed' and raw in found and packed not in others:
            return (
                f'{name}: {self._topic} alone is published: expected image.transport = auto or raw'
            )
        if not found and not others:
            return (
                f'{name}: nothing received yet: nobody publishes on {self._topic}; expected {raw} '
                f'there, or its topic in the launch line, camera_topics:={name}=TOPIC'
            )
        return ''

    # ---- arrival -------------------------------------------------------------------------------

    def _on_image(self, message: Any) -> None:
        self._take(self._raw, message)

    def _on_compressed(self, message: Any) -> None:
        self._take(self._compressed, message)

    def _take(self, topic: CameraTopic | None, message: Any) -> None:
        by_arrival = self._limits.image_use_arrival_time
        if topic is not None:
            topic.heard(time.monotonic())

        def build(stamp: float) -> Newest:
            height, width = messages.check_message(self.stream.name, message)
            self._view.check(height, width, self.spec)
            newest = Newest(stamp, message)
            size = f'{width}x{height}'
            self._sizes = (self._sizes[0] if self._sizes else size, size)
            encoding, step = messages.kind_of(message), getattr(message, 'step', 0)
            kind = (size, encoding, type(message), step)
            now = time.monotonic()
            # What cannot be decoded is said now, not in the first pass; seldom, for it takes time.
            if kind != self._judged and now - self._judged_at > _JUDGE_EVERY_S:
                self.picture(newest)
                self._judged, self._judged_at = kind, now
            if not by_arrival:
                header = message.header.stamp
                self._losses.add(header.sec + 1e-9 * header.nanosec)
            return newest

        self._arrival.take(
            self.stream, None if by_arrival else message.header.stamp, build, _UNUSABLE_CLOCK
        )
