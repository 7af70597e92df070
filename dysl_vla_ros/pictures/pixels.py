"""What cameras send instead of RGB: brightness with colour differences, and Bayer mosaics.

The formulas are OpenCV's, so that the picture is the one that a policy was trained on when its
data went through ``cv_bridge``: BT.601 with brightness from 16 to 235, each colour difference
shared by its neighbours; Bayer mosaics by the mean of the nearest pixels of a colour, borders as
the row or column beside them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import ImageArray

Plane = NDArray[np.uint8]
"""One number per pixel, shape (rows, columns)."""

_BRIGHTNESS = 1.164
_RED_OF_V, _GREEN_OF_V, _GREEN_OF_U, _BLUE_OF_U = 1.596, -0.813, -0.391, 2.018
_SIXTEENTHS = 16.0
"""Tables hold sixteenths: one rounding, at the end."""
_RED_AT = {'rggb': (0, 0), 'bggr': (1, 1), 'gbrg': (1, 0), 'grbg': (0, 1)}
"""Bayer pattern -> row and column of its first red pixel; blue is diagonal to it."""


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.int16], ...]:
    """Of a byte: its share in brightness, red of V, green of V, green of U, blue of U."""
    levels = np.arange(256.0)
    shares = [_BRIGHTNESS * np.maximum(levels - 16.0, 0.0) + 0.5]
    for factor in (_RED_OF_V, _GREEN_OF_V, _GREEN_OF_U, _BLUE_OF_U):
        shares.append(factor * (levels - 128.0))
    return tuple(np.rint(share * _SIXTEENTHS).astype(np.int16) for share in shares)


def from_yuv(brightness: Plane, u: Plane, v: Plane) -> ImageArray:
    """RGB of brightness (rows, columns) and colour differences of the same or half the size.

    Args:
        brightness: 16 is black, 235 is white.
        u: Blue difference, 128 is none; each side as long as that of ``brightness`` or half.
        v: Red difference, the same shape.
    """
    light, red_v, green_v, green_u, blue_u = _tables()
    rows, columns = brightness.shape
    y = light[brightness]
    image = np.empty((rows, columns, 3), np.uint8)
    for channel, difference in enumerate((red_v[v], green_v[v] + green_u[u], blue_u[u])):
        for axis, size in enumerate((rows, columns)):
            if difference.shape[axis] != size:
                difference = difference.repeat(2, axis=axis)
        difference += y
        difference >>= 4
        np.clip(difference, 0, 255, out=difference)
        image[:, :, channel] = difference
    return image


def from_bayer(mosaic: Plane, pattern: str) -> ImageArray:
    """RGB of a mosaic (rows, columns), at least 3 x 3.

    Args:
        mosaic: One colour per pixel.
        pattern: ``rggb``, ``bggr``, ``gbrg`` or ``grbg``: the first two pixels of the first two
            rows.
    """
    rows, columns = mosaic.shape
    wide = mosaic.astype(np.uint16)
    # Of every inner pixel: means of the neighbours beside, above and below, and diagonal.
    beside, above = wide[1:-1, :-2] + wide[1:-1, 2:], wide[:-2, 1:-1] + wide[2:, 1:-1]
    diagonal = wide[:-2, :-2] + wide[:-2, 2:] + wide[2:, :-2] + wide[2:, 2:]
    inner = np.empty((rows - 2, columns - 2, 3), np.uint8)
    red_row, red_column = _RED_AT[pattern]
    for row in range(2):
        for column in range(2):
            # Row and column of the mosaic are one more than those of the inner picture.
            at = (slice(row, None, 2), slice(column, None, 2))
            in_red_row = (row + 1) % 2 == red_row
            in_red_column = (column + 1) % 2 == red_column
            own = mosaic[1:-1, 1:-1][at]
            if in_red_row == in_red_column:
                far: Any = (diagonal[at] + 2) >> 2
                green: Any = (beside[at] + above[at] + 2) >> 2
                red, blue = (own, far) if in_red_row else (far, own)
            else:
                green = own
                along, across = (beside[at] + 1) >> 1, (above[at] + 1) >> 1
                red, blue = (along, across) if in_red_row else (across, along)
            inner[at] = np.stack([red, green, blue], axis=-1)
    return np.pad(inner, ((1, 1), (1, 1), (0, 0)), mode='edge')
