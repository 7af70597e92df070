"""`~/layers`: which layers ran, pass by pass, as a picture that any viewer of images shows."""

from __future__ import annotations

from collections import deque

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.images import rgb_message

PASSES = 120
_CELL = 4
"""Width and height of one layer in one pass [pixels], the gap included."""
_RAN = {'skipped': (42, 120, 181), 'full': (232, 163, 61), 'rerun': (184, 71, 143)}
_JUMPED, _GAP = (231, 235, 239), (255, 255, 255)


class LayerView:
    """Keeps the newest passes; draws them where somebody looks."""

    def __init__(self, node: Node) -> None:
        """Create the publisher."""
        self._node = node
        self._passes: deque[tuple[str, str]] = deque(maxlen=PASSES)
        self._publisher = node.create_publisher(Image, '~/layers', qos.REPORT)

    def destroy(self) -> None:
        """Drop the publisher."""
        self._node.destroy_publisher(self._publisher)

    def show(self, mask: str, mode: str) -> None:
        """One more pass.

        Args:
            mask: '1' for each layer that ran.
            mode: ``full``, ``skipped`` or ``rerun``.
        """
        self._passes.append((mask, mode))
        if not self._publisher.get_subscription_count():
            return
        picture = heat_picture(list(self._passes))
        now = self._node.get_clock().now().to_msg()
        self._publisher.publish(rgb_message(picture, 'layers', now))


def heat_picture(passes: list[tuple[str, str]]) -> ImageArray:
    """Layers downwards, passes to the right, the newest at the right edge.

    Args:
        passes: Mask and mode of each, oldest first; those with another number of layers than
            the newest stay blank.

    Returns:
        Shape (layers * 4, PASSES * 4, 3), RGB: blue ran while others were jumped, orange a full
        pass, purple run again, grey jumped.
    """
    layers = len(passes[-1][0])
    out = np.empty((layers * _CELL, PASSES * _CELL, 3), np.uint8)
    out[:] = _GAP
    first = PASSES - len(passes)
    for column, (mask, mode) in enumerate(passes, first):
        if len(mask) != layers:
            continue
        left = column * _CELL
        for layer, bit in enumerate(mask):
            top = layer * _CELL
            colour = _RAN.get(mode, _RAN['skipped']) if bit == '1' else _JUMPED
            out[top : top + _CELL - 1, left : left + _CELL - 1] = colour
    return out
