"""Frames of a video file, by when they are shown. PyAV reads AV1, H.264 and the like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError

_SOONER = 1.0
"""Seconds in front of the first wanted frame from which on frames are decoded."""


def need_av() -> Any:
    """The library, or what to install.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import av
    except ImportError:
        raise ConfigError(
            'av',
            'missing',
            'PyAV, which reads the videos of a data set: '
            "pip install 'dysl_vla_ros[train]', or pip install av",
        ) from None
    return av


def read_frames(
    path: Path, times: Sequence[float], tolerance: float
) -> Iterator[NDArray[np.uint8]]:
    """Pictures (height, width, 3) of a video, RGB.

    Args:
        path: The file.
        times: When they are shown [s], ascending.
        tolerance: How far off a frame may be [s].

    Raises:
        ConfigError: The file cannot be read, or has no frame near a time.
    """
    av = need_av()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = 'NONE'  # the caller decides how many cores are used
            container.seek(max(int((times[0] - _SOONER) / stream.time_base), 0), stream=stream)
            yield from _nearest(path, container.decode(stream), times, tolerance)
    except (av.FFmpegError, IndexError) as error:
        raise ConfigError(str(path), str(error), 'a video with one picture stream; copy it again'
                          ) from None  # fmt: skip


def _nearest(
    path: Path, frames: Iterator[Any], times: Sequence[float], tolerance: float
) -> Iterator[NDArray[np.uint8]]:
    """Of the frames, in order, the nearest to each time."""
    best: Any = None
    upcoming = next(frames, None)
    for time in times:
        while upcoming is not None and (
            best is None or abs(_shown(upcoming) - time) <= abs(_shown(best) - time)
        ):
            best, upcoming = upcoming, next(frames, None)
        if best is None or abs(_shown(best) - time) > tolerance:
            near = 'none' if best is None else f'the nearest at {_shown(best):.3f} s'
            raise ConfigError(f'{path}: frame at {time:.3f} s', near,
                              f'one within {tolerance:.3f} s: the video is shorter than its '
                              'episodes, or damaged')  # fmt: skip
        picture: NDArray[np.uint8] = best.to_ndarray(format='rgb24')
        yield picture


def _shown(frame: Any) -> float:
    return float(frame.time)
