"""A camera picture as text: two pixels per cell, or brightness where there is no colour."""

from __future__ import annotations

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.image_tensor import resize

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
    small = np.rint(resize(image, down, across)).astype(np.uint8)
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


def _colour(pixel: ImageArray) -> Color:
    return Color.from_rgb(*(int(value) for value in pixel))
