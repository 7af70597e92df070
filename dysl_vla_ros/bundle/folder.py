"""The exported folder: manifest, checksums, statistics. Every path stays inside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.git_lfs import refuse_pointer
from dysl_vla_ros.bundle.manifest import (
    FORMAT,
    FileEntry,
    Manifest,
    manifest_from_dict,
    manifest_to_dict,
)
from dysl_vla_ros.bundle.onnx_wire import external_locations
from dysl_vla_ros.bundle.strict_json import expect, load, shown
from dysl_vla_ros.bundle.vocabulary import check_ids
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.targets import write_whole

_LONGEST_NAME = 200
_HASHED_AT_ONCE = 8


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """Absolute path of a listed file.

        Raises:
            BundleError: The file is not listed, or its name leaves the folder.
        """
        if name not in self.manifest.files:
            raise BundleError(f'{name!r} is not listed in {MANIFEST_NAME}')
        return _inside(self.folder, name)

    def read(self, name: str, largest: int) -> bytes:
        """A listed file, checked against its checksum.

        Args:
            name: As in the manifest.
            largest: Bytes that it may have.

        Raises:
            BundleError: It is not listed, missing, altered, larger, or outside the folder.
        """
        path, entry = self.path(name), self.manifest.files[name]
        expect(f'files.{name}.bytes', entry.bytes, entry.bytes <= largest, f'at most {largest}')
        try:
            with path.open('rb') as stream:
                data = stream.read(largest + 1)
        except OSError as error:
            raise BundleError(f'{name}: cannot be read: {error.strerror}') from None
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f'{name}: the file was altered: copy or export the bundle again')
        return data

    def graph(self, segment: str) -> Path:
        """Absolute path of a segment's ONNX file, once it is known to stay inside the bundle.

        Raises:
            BundleError: There is no such segment, or its graph keeps weights in a file other than
                the one that the manifest lists, and so covers with a checksum.
        """
        spec = self.manifest.segments.get(segment)
        if spec is None:
            raise BundleError(f'segment {segment!r}: expected one of the manifest')
        path = self.path(spec.file)
        found = {_beside(spec.file, location) for location in external_locations(path)}
        wanted = {spec.data} if spec.data else set()
        if found != wanted:
            raise BundleError(
                f'{spec.file}: weights in {sorted(found)}: expected {sorted(wanted)}, the file '
                f'that {MANIFEST_NAME} lists with a checksum'
            )
        return path


def open_bundle(folder: Path) -> Bundle:
    """Read the manifest and verify every file against its checksum.

    Raises:
        BundleError: Not a bundle, wrong version, missing key, unknown key, a file that is
            missing, altered, or outside the folder. The message names the field or file.
    """
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file():
        raise BundleError(
            f'{folder}: no {MANIFEST_NAME}; expected a folder written by dysl export'
        )
    refuse_pointer(manifest_path)
    manifest = manifest_from_dict(load(manifest_path))
    paths = {}
    for name, entry in manifest.files.items():
        path = paths[name] = _inside(folder, name)
        if not path.is_file():
            raise BundleError(f'{name}: listed in {MANIFEST_NAME} but missing in {folder}')
        refuse_pointer(path)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise BundleError(f'{name}: cannot be read: {error.strerror}') from None
        if size != entry.bytes:
            raise BundleError(f'{name}: {size} bytes, expected {entry.bytes}; copy it again')
    for (name, entry), found in zip(
        manifest.files.items(), sums_of(list(paths.values())), strict=True
    ):
        if isinstance(found, OSError):
            raise BundleError(f'{name}: cannot be read: {found.strerror}') from None
        if found != entry.sha256:
            raise BundleError(
                f'{name}: SHA-256 {found[:12]}..., expected {entry.sha256[:12]}...; '
                'the file was altered: copy or export the bundle again'
            )
    bundle = Bundle(folder=folder, manifest=manifest)
    check_ids(bundle.path(manifest.instruction.tokenizer), manifest.instruction,
              bundle.path(manifest.segments['embed'].file))  # fmt: skip
    return bundle


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` atomically; the files that it lists must be there already."""
    text = json.dumps(manifest_to_dict(manifest), indent=1, ensure_ascii=False) + '\n'
    write_whole(folder / MANIFEST_NAME, text.encode())


def is_bundle(folder: Path) -> bool:
    """Whether a folder has the manifest of a bundle, of whatever version."""
    try:
        document = load(folder / MANIFEST_NAME)
    except BundleError:
        return False
    return isinstance(document, dict) and document.get('format') == FORMAT


def file_entry(path: Path) -> FileEntry:
    """What the manifest says of a file."""
    return FileEntry(sha256=sha256_of(path), bytes=path.stat().st_size)


def sums_of(paths: Sequence[Path]) -> list[str | OSError]:
    """SHA-256 of files in hex, several at once, or why one cannot be read.

    One processor hashes 0.4 to 2 GB a second, and a start waits for 15 GB. Half of them stay free:
    where a model's process is started again the arm is being commanded.
    """

    def one(path: Path) -> str | OSError:
        try:
            return sha256_of(path)
        except OSError as error:
            return error

    threads = min(_HASHED_AT_ONCE, max((os.cpu_count() or 1) // 2, 1))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, paths))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _beside(file: str, location: str) -> str:
    """Name of an external file, relative to the bundle; what leaves the folder stays as it is."""
    if '/' in location or '\\' in location or location in ('', '.', '..'):
        return location
    return str(PurePosixPath(file).with_name(location))


def _inside(folder: Path, name: str) -> Path:
    """Path of a listed file, by its name and, where links are followed, by where it lies.

    colcon installs every file of a bundle, the manifest too, as a link to the source: the folder
    in which the manifest really lies counts as well.
    """
    parts = PurePosixPath(name).parts
    if (not parts or name.startswith('/') or '..' in parts or '\\' in name or ':' in name
            or not name.isprintable() or len(name) > _LONGEST_NAME):  # fmt: skip
        raise BundleError(
            f'files: {shown(name)}: expected a path inside the bundle, like a/b.onnx'
        )
    path = folder.joinpath(*parts)
    try:
        place = path.resolve()
        homes = (folder.resolve(), (folder / MANIFEST_NAME).resolve().parent)
    except (OSError, RuntimeError) as error:  # links in a ring
        raise BundleError(f'{name}: {error}: expected a file inside the bundle') from None
    if not any(home in place.parents for home in homes):
        raise BundleError(f'{name}: a link to {place}: expected a file inside the bundle')
    return path
