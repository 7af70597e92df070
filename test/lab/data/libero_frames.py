"""Frames as the simulator of LIBERO sends them, without LIBERO."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from dysl_vla_ros.lab.data.libero import HORIZON
from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS


def jpeg(value, edge):
    stream = BytesIO()
    Image.fromarray(np.full((edge, edge, 3), value, np.uint8)).save(stream, 'JPEG', quality=95)
    return stream.getvalue()


def frame(number):
    action = np.array([0.5, 0, 0, 0.2, 0, 0, 1.0 if number > 5 else -1.0])
    place = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    pixel = np.array([[0.5, 0.6], [np.nan, np.nan]])
    return {
        'images': {name: jpeg(10 * number, edge) for name, (_, edge) in CAMERAS.items()},
        'state': np.full(8, 0.1 * number, np.float32).tobytes(), 'action': action.tobytes(),
        'hand': np.zeros(3).tobytes(),
        'labels': {1: np.zeros((HORIZON, 7)).tobytes()} if number < 3 else {},
        'places': {0: (place.tobytes(), pixel.tobytes()), 1: (place.tobytes(), pixel.tobytes())},
    }  # fmt: skip
