"""Pictures of the training data, as the model sees them: for the bundle, to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines.image_tensor import as_seen
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.data.dataset_format import (
    DATA_PATH,
    IMAGE,
    INFO,
    decode_png,
    encode_png,
    numbered,
    read_document,
)


def from_file(path: Path, camera: CameraSpec) -> bytes:
    """A picture of the training data, JPEG or PNG, as a PNG of what the model sees of it.

    Raises:
        ConfigError: It cannot be read, or is smaller than what the model sees.
    """
    try:
        return _seen(path.read_bytes(), camera)
    except (OSError, ValueError, InputError) as error:
        raise ConfigError(f'reference.{camera.name}', str(path), f'a picture: {error}') from None


def from_dataset(folder: Path, cameras: Iterable[CameraSpec]) -> dict[str, bytes]:
    """The first picture of each camera in a dataset in LeRobot's layout, v3, with images.

    Cameras that the dataset does not have are left out.

    Raises:
        ConfigError: It is no such dataset, or has none of the cameras.
    """
    info = read_document(folder / INFO, 'a dataset in LeRobot\'s layout, v3')
    path = folder / numbered(str(info.get('data_path', DATA_PATH)), 0)
    try:
        file = pq.ParquetFile(path)
        rows = next(file.iter_batches(batch_size=1), None)
        found = {}
        for camera in cameras:
            if rows is not None and IMAGE + camera.name in rows.schema.names:
                found[camera.name] = _seen(rows[IMAGE + camera.name][0].as_py()['bytes'], camera)
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise ConfigError('dataset', str(path), f'pictures of each camera: {error}') from None
    if not found:
        wanted = ', '.join(IMAGE + camera.name for camera in cameras)
        raise ConfigError('dataset', str(folder), f'images inside its files, one of {wanted}')
    return found


def _seen(data: bytes, camera: CameraSpec) -> bytes:
    return encode_png(as_seen(decode_png(data), camera))
