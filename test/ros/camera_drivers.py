"""Cameras as their drivers publish them, for tests of the node."""

from __future__ import annotations

import io
from array import array
from typing import Any

import numpy as np

HEIGHT, WIDTH = 480, 640
COLOURS = ((220, 40, 30), (30, 200, 60), (40, 50, 210), (235, 220, 60))


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Four quarters of four colours, with a grey frame on the left and right eighths."""
    picture = np.full((height, width, 3), 128, np.uint8)
    left, right, half = width // 8, width - width // 8, height // 2
    picture[:half, left : width // 2] = COLOURS[0]
    picture[:half, width // 2 : right] = COLOURS[1]
    picture[half:, left : width // 2] = COLOURS[2]
    picture[half:, width // 2 : right] = COLOURS[3]
    return picture


def yuyv(picture: np.ndarray) -> np.ndarray:
    """(rows, columns, 2), BT.601 with brightness from 16 to 235, colours of every other pixel."""
    red, green, blue = np.moveaxis(picture.astype(float), -1, 0)
    y = 16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256
    u = 128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256
    v = 128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256
    packed = np.empty((*y.shape, 2))
    packed[:, :, 0] = y
    packed[:, ::2, 1], packed[:, 1::2, 1] = u[:, ::2], v[:, ::2]
    return packed.round().clip(0, 255).astype(np.uint8)


def coded(picture: np.ndarray, kind: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **({'quality': 95} if kind == 'JPEG' else {}))
    return stream.getvalue()


class Driver:
    """One publisher of one picture; ``stamp`` is what it writes into its headers."""

    def __init__(
        self,
        rig: Any,
        encoding: str = 'rgb8',
        picture: np.ndarray | None = None,
        topic: str = 'image',
        hz: float = 20.0,
        reliable: bool = False,
    ) -> None:
        """Publish on a topic, in place of what the rig's robot publishes there.

        Args:
            rig: Of conftest.
            encoding: Of a raw picture, or ``JPEG`` or ``PNG``.
            picture: RGB; ``scene()`` by default.
            topic: Without ``/compressed``.
            hz: Pictures per second.
            reliable: Of the publisher.
        """
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image

        self.node, self.graph = rig.robot.node, rig.graph
        mine = rig.robot.images.pop(topic, None)
        if mine is not None:
            self.graph.call(lambda: self.node.destroy_publisher(mine[0]))
        picture = scene() if picture is None else picture
        self.on, self.stamped, self.sent = True, True, 0
        self.compressed = encoding in ('JPEG', 'PNG')
        if self.compressed:
            kind, topic = CompressedImage, f'{topic}/compressed'
            self.message = CompressedImage(format=f'rgb8; {encoding.lower()} compressed bgr8')
            self.fill(coded(picture, encoding))
        else:
            data = {'bgr8': lambda: picture[:, :, ::-1], 'yuyv': lambda: yuyv(picture)}
            pixels = np.ascontiguousarray(data.get(encoding, lambda: picture)())
            kind = Image
            self.message = Image(
                height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                step=pixels.shape[2] * pixels.shape[1],
            )  # fmt: skip
            self.fill(pixels.tobytes())
        offer = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        profile = QoSProfile(depth=1, reliability=offer)
        self.publisher = self.node.create_publisher(kind, topic, profile)
        self.timer = self.graph.call(lambda: self.node.create_timer(1.0 / hz, self.publish))

    def fill(self, data: bytes) -> None:
        content = array('B')
        content.frombytes(data)
        self.message.data = content

    def publish(self) -> None:
        if not self.on:
            return
        self.sent += 1
        if self.stamped:
            self.message.header.stamp = self.node.get_clock().now().to_msg()
        self.publisher.publish(self.message)

    def stop(self) -> None:
        """The driver is gone."""

        def stop() -> None:
            self.node.destroy_timer(self.timer)
            self.node.destroy_publisher(self.publisher)

        self.graph.call(stop)
