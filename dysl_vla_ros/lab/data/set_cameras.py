"""Which pictures of a data set a policy sees, by which names, and how large."""

from __future__ import annotations

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot import LerobotSet, plain_name
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.model.shapes import PATCH, CameraShape


def camera_shapes(
    data: LerobotSet, choice: SetChoice
) -> tuple[tuple[CameraShape, ...], dict[str, str]]:
    """Sizes that patches divide, near the picture's own shape; names without dots and slashes."""
    shapes, columns = [], {}
    for plain, name in camera_pairs(data, choice):
        column = data.picture(name)
        rows, across = data.columns[column].size or (PATCH, PATCH)
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
    """Name for the policy, and picture of the set; depth is left out.

    Raises:
        ConfigError: Two pictures would have one name.
    """
    if not choice.cameras:
        seen = [name for name in data.cameras if 'depth' not in name.lower()]
        pairs = [(plain_name(name), name) for name in seen or data.cameras]
    else:
        parts = [text.rpartition('=') for text in choice.cameras]
        pairs = [(plain_name(given or name), name) for given, _, name in parts]
    names = [plain for plain, _ in pairs]
    shared = [(plain, name) for plain, name in pairs if names.count(plain) > 1]
    if shared:
        free = [f'{name}_{n}' for n, (name, _) in enumerate(shared, start=1)]
        called = ', '.join(dict.fromkeys(plain for plain, _ in shared))
        right = ' '.join(f'{new}={name}' for new, (_, name) in zip(free, shared, strict=True))
        kept = ' '.join(name if plain == plain_name(name) else f'{plain}={name}'
                        for plain, name in pairs if names.count(plain) == 1)  # fmt: skip
        raise ConfigError('cameras', [name for _, name in shared], 'a name of its own for each '
                          'picture, of letters, digits and _, where these would be '
                          f'{called}: --cameras {right} {kept}'.rstrip())  # fmt: skip
    return pairs
