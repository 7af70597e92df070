"""The exported folder: manifest, checksums, statistics. Every path stays inside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dysl_vla_ros.engines.manifest import (
    FORMAT,
    FORMAT_VERSION,
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    FileEntry,
    InstructionSpec,
    Manifest,
    NormalisationSpec,
    ProprioceptionSpec,
    SegmentSpec,
    TensorSpec,
    manifest_from_dict,
    manifest_to_dict,
)
from dysl_vla_ros.engines.onnx_wire import external_locations
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.targets import write_whole

__all__ = [
    'FORMAT', 'FORMAT_VERSION', 'MANIFEST_NAME', 'ActionSpec', 'Bundle', 'CalibrationSpec',
    'CameraSpec', 'FileEntry', 'InstructionSpec', 'Manifest', 'NormalisationSpec',
    'ProprioceptionSpec', 'SegmentSpec', 'TensorSpec', 'file_entry', 'is_bundle',
    'manifest_from_dict', 'manifest_to_dict', 'open_bundle', 'sha256_of', 'write_manifest',
]  # fmt: skip

MANIFEST_NAME = 'manifest.json'


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
    try:
        document = json.loads(manifest_path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f'{manifest_path}: not valid JSON: {error}') from None
    manifest = manifest_from_dict(document)
    for name, entry in manifest.files.items():
        path = _inside(folder, name)
        if not path.is_file():
            raise BundleError(f'{name}: listed in {MANIFEST_NAME} but missing in {folder}')
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(f'{name}: {size} bytes, expected {entry.bytes}; copy it again')
        found = sha256_of(path)
        if found != entry.sha256:
            raise BundleError(
                f'{name}: SHA-256 {found[:12]}..., expected {entry.sha256[:12]}...; '
                'the file was altered: copy or export the bundle again'
            )
    return Bundle(folder=folder, manifest=manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` atomically; the files that it lists must be there already."""
    text = json.dumps(manifest_to_dict(manifest), indent=1, ensure_ascii=False) + '\n'
    write_whole(folder / MANIFEST_NAME, text.encode())


def is_bundle(folder: Path) -> bool:
    """Whether a folder has the manifest of a bundle, of whatever version."""
    try:
        document = json.loads((folder / MANIFEST_NAME).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get('format') == FORMAT


def file_entry(path: Path) -> FileEntry:
    """What the manifest says of a file."""
    return FileEntry(sha256=sha256_of(path), bytes=path.stat().st_size)


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
    """Path of a listed file. Judged by its name: colcon installs files as links to the source."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith('/') or '..' in parts or '\\' in name or ':' in name:
        raise BundleError(f'files: {name!r}: expected a path inside the bundle, like a/b.onnx')
    return folder.joinpath(*parts)
