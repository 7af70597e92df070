"""A film as MP4: H.264, at a steady rate, so that any player shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dysl_vla_ros.errors import ConfigError

RATE_HZ = 20
_CODEC = 'libx264'


def need_encoder(field: str = '--out', value: str = '.mp4', other: str = 'a .gif') -> Any:
    """The library, or what to install.

    Args:
        field: Name of the option, for the message.
        value: What was asked for.
        other: What needs no such library.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import av
    except ImportError:
        raise ConfigError(
            field, value, f"PyAV, which writes it: pip install 'dysl_vla_ros[film]', or {other}"
        ) from None
    return av


def write_video(
    path: Path, pictures: Iterator[Image.Image], shown_ms: Sequence[int], comment: str
) -> None:
    """Write pictures one after the other.

    Args:
        path: Of the file; its name may end in anything.
        pictures: All of one size.
        shown_ms: How long each is shown [ms].
        comment: Stands in the file.
    """
    av = need_encoder()
    with av.open(str(path), 'w', format='mp4', options={'movflags': 'faststart'}) as out:
        out.metadata['comment'] = comment
        stream, due, written = None, 0.0, 0
        for picture, ms in zip(pictures, shown_ms, strict=True):
            pixels = np.asarray(picture.convert('RGB'))
            pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
            if stream is None:
                stream = out.add_stream(_CODEC, rate=RATE_HZ)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = 'yuv420p'
                stream.options = {'crf': '20', 'preset': 'veryfast'}
            due += 1e-3 * ms * RATE_HZ
            for _ in range(max(1, round(due) - written)):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
                out.mux(stream.encode(frame))
                written += 1
        if stream is not None:
            out.mux(stream.encode(None))
