"""A camera picture as text: two pixels per cell, or brightness where there is no colour."""

from __future__ import annotations

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from dysl_vla_ros.data_types import ImageArray

_RAMP = ' .:-=+*#%@'
"""Dark to bright."""
_LUMA = np.array([0.299, 0.587, 0.114])


def camera_text(image: ImageArray, columns: int, rows: int, colour: bool) -> Text:
    """The picture in at most ``columns`` x ``rows`` cells, its shape kept (a cell is 1 x 2).

    Args:
        image: Shape (height, width, 3), uint8 RGB.
        columns: Cells across, at least 1.
        rows: Cells down, at least 1.
        colour: False draws brightness with characters.
    """
    height, width = image.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    across, down = max(1, int(width * scale)), max(2, int(height * scale) // 2 * 2)
    small = _shrunk(image, down, across)
    text = Text(no_wrap=True)
    for top, bottom in zip(small[::2], small[1::2], strict=True):
        if colour:
            for upper, lower in zip(top, bottom, strict=True):
                text.append('▀', Style(color=_colour(upper), bgcolor=_colour(lower)))
        else:
            bright = (np.stack((top, bottom)) @ _LUMA).mean(axis=0) / 255
            text.append(''.join(_RAMP[int(b * (len(_RAMP) - 1) + 0.5)] for b in bright))
        text.append('\n')
    text.right_crop(1)
    return text


def _shrunk(image: ImageArray, rows: int, columns: int) -> ImageArray:
    """The mean of the pixels of each cell, shape (rows, columns, 3)."""
    out = np.empty((rows, columns, 3), np.uint8)
    y = np.linspace(0, image.shape[0], rows + 1).astype(int)
    x = np.linspace(0, image.shape[1], columns + 1).astype(int)
    for i in range(rows):
        band = image[y[i] : max(y[i + 1], y[i] + 1)]
        for j in range(columns):
            out[i, j] = band[:, x[j] : max(x[j + 1], x[j] + 1)].mean(axis=(0, 1))
    return out


def _colour(pixel: ImageArray) -> Color:
    return Color.from_rgb(*(int(value) for value in pixel))
