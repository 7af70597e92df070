"""Pictures of the training data, as the model sees them: for the bundle, to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines.image_tensor import as_seen
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.data.dataset_format import IMAGE
from dysl_vla_ros.lab.data.lerobot import open_lerobot, plain_name
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures, read_rows
from dysl_vla_ros.pictures.files import decode_file, encode_png


def from_file(path: Path, camera: CameraSpec) -> bytes:
    """A picture of the training data, JPEG or PNG, as a PNG of what the model sees of it.

    Raises:
        ConfigError: It cannot be read, or is smaller than what the model sees.
    """
    try:
        return encode_png(as_seen(decode_file(path.name, path.read_bytes()), camera))
    except (OSError, InputError) as error:
        raise ConfigError(f'reference.{camera.name}', str(path), f'a picture: {error}') from None


def from_dataset(
    folder: Path, cameras: Iterable[CameraSpec], known: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """The first picture of each camera in a LeRobot set, of images or videos.

    Cameras that the set does not have are left out. ``known`` is the picture of each camera that
    was called otherwise in training.

    Raises:
        ConfigError: It is no such set, or has none of the cameras.
    """
    wanted = list(cameras)
    data = open_lerobot(folder)
    columns = {plain_name(name): column for name, column in data.cameras.items()}
    columns |= {name: column for name, column in (known or {}).items() if data.picture(column)}
    used = {camera.name: columns[camera.name] for camera in wanted if camera.name in columns}
    if not used:
        names = ', '.join(IMAGE + camera.name for camera in wanted)
        raise ConfigError('dataset', str(folder), f'one of the pictures {names}; it has '
                          f'{sorted(data.cameras)}')  # fmt: skip
    rows = next(read_rows(data, []))
    found: dict[str, bytes] = {}
    for camera in wanted:
        if camera.name not in used:
            continue
        picture = next(iter(read_pictures(data, rows, used[camera.name], [0])))
        try:
            found[camera.name] = encode_png(as_seen(np.ascontiguousarray(picture), camera))
        except InputError as error:
            raise ConfigError('dataset', str(folder), str(error)) from None
    return found
