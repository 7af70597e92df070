"""RGB uint8 arrays of shape (height, width, 3) -> ``sensor_msgs/Image``; back: ``pictures``."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from dysl_vla_ros.data_types import ImageArray


def rgb_message(image: ImageArray, frame_id: str, stamp: Any) -> Any:
    """An rgb8 ``sensor_msgs/Image``; through ``array``, since a numpy array takes rclpy 100 ms."""
    message = Image(height=image.shape[0], width=image.shape[1], encoding='rgb8')
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    message.step = 3 * image.shape[1]
    data = array('B')
    data.frombytes(np.ascontiguousarray(image).tobytes())
    message.data = data
    return message
