"""Reference pictures: what each camera showed in training goes into the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.folder import Bundle, file_entry, is_bundle
from dysl_vla_ros.bundle.manifest import CameraSpec, FileEntry, Manifest, manifest_from_dict
from dysl_vla_ros.bundle.strict_json import load
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.targets import write_whole

FOLDER = 'reference'
_LARGEST = 8 << 20


def place_references(
    target: Path, before: Path, cameras: tuple[CameraSpec, ...], given: Mapping[str, bytes]
) -> tuple[tuple[CameraSpec, ...], dict[str, FileEntry]]:
    """Write the reference pictures of a new bundle.

    Args:
        target: Folder that becomes the bundle.
        before: The bundle that is there; its pictures go on where none is given.
        cameras: Of the new bundle.
        given: Camera -> PNG of what the model saw.

    Returns:
        The cameras with their references, and the files they are.

    Raises:
        ConfigError: A picture is given for a camera that the bundle does not have.
    """
    names = [camera.name for camera in cameras]
    for name in given:
        if name not in names:
            raise ConfigError('reference', name, f'a camera of the model: {", ".join(names)}')
    shutil.rmtree(target / FOLDER, ignore_errors=True)  # of an export that was interrupted
    old, placed, entries = _before(before), [], {}
    for number, camera in enumerate(cameras):
        data = given.get(camera.name) or _of_before(old, camera)
        file = f'{FOLDER}/{_plain(camera.name, number)}.png' if data else ''
        if data:
            write_whole(target / file, data)
            entries[file] = file_entry(target / file)
        placed.append(replace(camera, reference=file))
    return tuple(placed), entries


def _before(folder: Path) -> Bundle | None:
    if not is_bundle(folder):
        return None
    try:
        manifest: Manifest = manifest_from_dict(load(folder / MANIFEST_NAME))
    except BundleError:
        return None
    return Bundle(folder, manifest)


def _of_before(old: Bundle | None, camera: CameraSpec) -> bytes:
    """The picture of the same camera, where it is still what the model sees."""
    for found in () if old is None else old.manifest.cameras:
        if found.reference and replace(found, reference='') == camera:
            try:
                return old.read(found.reference, _LARGEST) if old is not None else b''
            except BundleError:
                return b''
    return b''


def _plain(name: str, number: int) -> str:
    """A file name, of a camera that may be called anything."""
    return name if name.isidentifier() and name.isascii() else f'camera_{number}'
