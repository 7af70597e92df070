"""An episode as one picture: frames side by side, both cameras, enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.sim.rollout import Frame


def contact_sheet(frames: Sequence[Frame], columns: int = 8, rows: int = 3) -> ImageArray:
    """Return evenly spaced frames of an episode as one RGB array, ready for any PNG writer.

    Args:
        frames: An episode recorded with both cameras.
        columns: Frames per row.
        rows: Rows; every frame shows ``image`` with ``wrist_image`` below it, scaled alike.
    """
    chosen = np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)
    cells = []
    for index in chosen:
        pictures = frames[index].images
        edge = 2 * max(picture.shape[0] for picture in pictures.values())
        cells.append(np.vstack([_enlarged(picture, edge) for picture in pictures.values()]))
    strips = [np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)]
    return np.ascontiguousarray(np.vstack(strips))


def _enlarged(picture: ImageArray, edge: int) -> ImageArray:
    take = np.arange(edge) * picture.shape[0] // edge
    enlarged: ImageArray = picture[take][:, take]
    enlarged[0], enlarged[:, 0] = 255, 255
    return enlarged
