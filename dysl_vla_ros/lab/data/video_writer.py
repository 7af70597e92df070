"""Pictures into a video file, as lerobot writes them: AV1, every second frame whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot_video import need_av

_ENCODERS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ('libsvtav1', 'av1', {'crf': '30', 'g': '2', 'preset': '12'}),
    ('libx264', 'h264', {'crf': '23', 'g': '2', 'preset': 'veryfast'}),
)
"""Encoder, what a set calls it, options; the first that PyAV was built with."""


class VideoWriter:
    """One file."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int) -> None:
        """Begin.

        Args:
            path: Of the file; its folders are made.
            size: Rows and columns, even.
            fps: Pictures per second.

        Raises:
            ConfigError: PyAV is missing, or has no encoder.
        """
        av = need_av()
        path.parent.mkdir(parents=True, exist_ok=True)
        found = [entry for entry in _ENCODERS if entry[0] in av.codecs_available]
        if not found:
            raise ConfigError('pictures', 'video', 'png: this PyAV encodes neither AV1 nor H.264')
        os.environ.setdefault('SVT_LOG', '1')  # errors alone: else 25 lines of its own for a file
        encoder, self._codec, options = found[0]
        self._av = av
        self._container: Any = av.open(str(path), 'w')
        self._stream: Any = self._container.add_stream(encoder, rate=fps, options=options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = 'yuv420p'

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add a picture (rows, columns, 3), RGB."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> str:
        """Finish the file; the codec's name."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        return self._codec


def video_info(codec: str, size: tuple[int, int], fps: int) -> dict[str, Any]:
    """What meta/info.json says of a video."""
    return {'video.height': size[0], 'video.width': size[1], 'video.codec': codec,
            'video.pix_fmt': 'yuv420p', 'video.is_depth_map': False, 'video.fps': fps,
            'video.channels': 3, 'has_audio': False}  # fmt: skip
