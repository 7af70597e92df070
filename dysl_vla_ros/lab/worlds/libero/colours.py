"""A texture in other colours, as another label of the same maker would be.

Another hue, more or less of it, and often a tint; or one colour in the label's place. What only
multiplies a texture, as a material's own colour does, could only darken it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLAIN, _TINTED, _STRENGTH = 0.15, 0.5, 0.7
_CELL = 4
"""A texture of 2048 pixels covers 20 of a picture: every fourth is more than enough."""
_GREY = np.full((3, 3), 1.0 / 3.0)
_ACROSS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3.0)


def recoloured(pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draw other colours.

    Args:
        pixels: (height, width, 3).
        generator: Of everything that is drawn.

    Returns:
        Of the same shape, in blocks of four pixels square.
    """
    few = pixels[::_CELL, ::_CELL].astype(np.float32) / 255.0
    colour = generator.uniform(0.1, 1.0, 3)
    found: NDArray[Any]
    if generator.random() < _PLAIN:
        found = np.broadcast_to(colour, few.shape)
    else:
        found = few @ _turned(generator.uniform(0, 2 * np.pi), generator.uniform(0.6, 1.4))
        if generator.random() < _TINTED:
            found = found * (1 - generator.uniform(0, _STRENGTH) * (1 - colour / colour.max()))
    small = (np.clip(found, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    height, width = pixels.shape[:2]
    return small.repeat(_CELL, 0)[:height].repeat(_CELL, 1)[:, :width]


def _turned(angle: float, saturation: float) -> NDArray[np.float32]:
    """What turns colours about the grey axis, for rows of pixels: (n, 3) @ (3, 3)."""
    turn = np.cos(angle) * (np.eye(3) - _GREY) + np.sin(angle) * _ACROSS
    return (_GREY + saturation * turn).T.astype(np.float32)
