"""Which pictures of a data set a policy sees, by which names, and how large."""

from __future__ import annotations

from dysl_vla_ros.lab.data.lerobot import Column, LerobotSet, plain_name
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.model.shapes import PATCH, CameraShape


def camera_shapes(
    data: LerobotSet, choice: SetChoice
) -> tuple[tuple[CameraShape, ...], dict[str, str]]:
    """Sizes that patches divide, near the picture's own shape; names without dots and slashes."""
    shapes, columns = [], {}
    for plain, name in camera_pairs(data, choice):
        column = data.picture(name)
        rows, across = _picture_size(data.columns[column])
        small = max(min(choice.image_size, rows, across) // PATCH, 1) * PATCH
        height = width = small
        if across > rows:
            width = max(round(small * across / rows / PATCH), 1) * PATCH
        else:
            height = max(round(small * rows / across / PATCH), 1) * PATCH
        shapes.append(CameraShape(plain, height, min(width, across // PATCH * PATCH or PATCH)))
        columns[plain] = column
    return tuple(shapes), columns


def camera_pairs(data: LerobotSet, choice: SetChoice) -> list[tuple[str, str]]:
    """Name for the policy, and picture of the set; depth is left out."""
    if not choice.cameras:
        seen = [name for name in data.cameras if 'depth' not in name.lower()]
        return [(plain_name(name), name) for name in seen or data.cameras]
    pairs = [text.rpartition('=') for text in choice.cameras]
    return [(plain_name(given or name), name) for given, _, name in pairs]


def _picture_size(column: Column) -> tuple[int, int]:
    """Rows and columns: stored channels last, or first, as in some sets."""
    shape = column.shape
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        return shape[1], shape[2]
    return (shape[0], shape[1]) if len(shape) >= 2 else (PATCH, PATCH)
