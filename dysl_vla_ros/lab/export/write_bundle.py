"""Parts -> bundle. The folder appears complete or not at all; an interrupted export goes on.

Graphs are written into a hidden folder beside the target, one after another, each with a note of
what it was made from. When the export is started again, noted graphs are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.folder import Bundle, file_entry, write_manifest
from dysl_vla_ros.bundle.manifest import FORMAT, FORMAT_VERSION, FileEntry, Manifest, SegmentSpec
from dysl_vla_ros.bundle.strict_json import parse
from dysl_vla_ros.engines.tensorrt.plans import FOLDER as PLANS
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.export.onnx_files import OPSET, FileSettings, write_onnx
from dysl_vla_ros.lab.export.parts import TOKENIZER, Described, Exportable, part_names
from dysl_vla_ros.lab.export.precision import to_half
from dysl_vla_ros.lab.export.references import FOLDER as REFERENCES
from dysl_vla_ros.lab.export.references import place_references
from dysl_vla_ros.lab.export.replaced import (
    GRAPHS,
    carried_over,
    check_bundle,
    check_loss,
    graphs_of,
)
from dysl_vla_ros.targets import folder_target, lock_folder, write_whole

Progress = Callable[[int, int, str], None]
"""Called with (graphs written, graphs, newest name)."""
Precision = Literal['fp32', 'fp16']
_NOTES = 'notes'


@dataclass(frozen=True)
class ExportSettings:
    """How to export.

    Attributes:
        precision: ``fp32`` for ONNX Runtime on a CPU and as the reference; ``fp16`` for
            TensorRT, with norms and gates in float32.
        files: How graphs become files.
    """

    precision: Precision = 'fp32'
    files: FileSettings = field(default_factory=FileSettings)

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if self.precision not in ('fp32', 'fp16'):
            raise ConfigError('precision', self.precision, "'fp32' or 'fp16'")
        if self.precision == 'fp16' and self.files.half_weights:
            raise ConfigError('half_weights', True, 'only with fp32: fp16 weights are half anyway')


def write_bundle(
    source: Exportable,
    folder: Path,
    name: str,
    settings: ExportSettings | None = None,
    progress: Progress | None = None,
    force: bool = False,
    references: Mapping[str, bytes] | None = None,
    contract_only: bool = False,
) -> Manifest:
    """Export every part and write the manifest.

    The contract is checked before the first graph is written. What was made for the bundle that
    is there, its calibration and its plans, goes on where the graphs are the same.

    Args:
        source: The model.
        folder: New or empty, or a bundle, which is replaced.
        name: Of the model, for people.
        settings: How.
        progress: Called after every graph.
        force: Take the model's own calibration, and drop what does not fit the new graphs.
        references: Camera -> PNG of what it showed in training, as the model sees it.
        contract_only: Take the graphs of the bundle that is there, and write only what the
            manifest says: names, frames, the statistics. Of graphs, the vision graph alone is
            written again where the cameras have other names.

    Raises:
        BundleError: The contract does not hold; or, with ``contract_only``, there is no bundle,
            or its graphs were made of other weights.
        ConfigError: Something else is in the folder, or something made for the bundle that is
            there would be lost: the message names it, and nothing is touched.
        BundleError: Another export to the same folder is running.
        EngineError: A graph breaks the rules of ``lab.export.onnx_files``.
    """
    settings = settings or ExportSettings()
    folder = check_bundle(folder, force)
    key = _key(source, settings)
    manifest = manifest_of(source, name, settings, key)
    check_loss(folder, manifest, force)
    before = graphs_of(folder, manifest) if contract_only else None
    partial = folder.with_name(f'.{folder.name}.partial')
    folder_target('bundle', partial, _is_partial, 'what an interrupted export left')
    with _locked(partial):
        segments: dict[str, SegmentSpec] = {}
        files: dict[str, FileEntry] = {}
        names = part_names(source.layout)
        for count, part in enumerate(names, start=1):
            spec, entries = (
                _linked(before, manifest, partial, part)
                or _kept(partial, part, _part_key(key, source, part))
                or _write(source, partial, part, _part_key(key, source, part), settings)
            )
            segments[part] = spec
            files |= entries
            if progress is not None:
                progress(count, len(names), part)
        write_whole(partial / TOKENIZER, source.contract().tokenizer.encode())
        files[TOKENIZER] = file_entry(partial / TOKENIZER)
        cameras, entries = place_references(
            partial, folder, source.contract().cameras, references or {}
        )
        files |= entries
        manifest = replace(manifest, segments=segments, files=files, cameras=cameras)
        manifest, plans = carried_over(folder, manifest, force)
        write_manifest(partial, manifest)
        _publish(partial, folder, files, plans)
    return manifest


def manifest_of(source: Described, name: str, settings: ExportSettings, key: str) -> Manifest:
    """The manifest before there are graphs: all of it but their shapes and checksums.

    Raises:
        BundleError: A value that no reader would take.
    """
    contract, layout = source.contract(), source.layout
    files = {f'segments/{part}.onnx': FileEntry('0' * 64, 0) for part in part_names(layout)}
    return Manifest(
        format=FORMAT, version=FORMAT_VERSION, name=name, family=contract.family,
        precision=settings.precision, opset=OPSET,
        layers_total=layout.layers_total, static_layers=layout.static_layers,
        hidden_tokens=contract.hidden_tokens, hidden_width=contract.hidden_width,
        cameras=contract.cameras, proprioception=contract.proprioception,
        instruction=contract.instruction, action=contract.action,
        calibration=contract.calibration, card={**contract.card, GRAPHS: key},
        segments={part: SegmentSpec(f'segments/{part}.onnx', (), ())
                  for part in part_names(layout)},
        files={**files, TOKENIZER: FileEntry('0' * 64, 0)},
    )  # fmt: skip


def _linked(
    before: Bundle | None, manifest: Manifest, partial: Path, name: str
) -> tuple[SegmentSpec, dict[str, FileEntry]] | None:
    """A graph of the bundle that is there, under the same names in the new folder."""
    if before is None or (name == 'vision' and _names(before.manifest) != _names(manifest)):
        return None
    spec = before.manifest.segments[name]
    entries = {file: before.manifest.files[file] for file in (spec.file, spec.data) if file}
    for file in entries:
        place = partial / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        os.link(before.path(file).resolve(), place)
    (partial / _NOTES).mkdir(exist_ok=True)
    return spec, entries


def _names(manifest: Manifest) -> list[str]:
    return [camera.name for camera in manifest.cameras]


def _part_key(key: str, source: Exportable, name: str) -> str:
    """The vision graph has the cameras' names, too."""
    names = [camera.name for camera in source.contract().cameras] if name == 'vision' else []
    return f'{key} {" ".join(names)}'


def _write(
    source: Exportable, partial: Path, name: str, key: str, settings: ExportSettings
) -> tuple[SegmentSpec, dict[str, FileEntry]]:
    """Build, write and forget one part."""
    part = source.part(name)
    if settings.precision == 'fp16':
        part = to_half(part)
    spec = write_onnx(part, partial, f'segments/{name}.onnx', settings.files)
    entries = {file: file_entry(partial / file) for file in (spec.file, spec.data) if file}
    note = {'key': key, 'segment': asdict(spec),
            'files': {file: asdict(entry) for file, entry in entries.items()}}  # fmt: skip
    place = partial / _NOTES / f'{name}.json'
    write_whole(place, json.dumps(note).encode())
    return spec, entries


def _kept(partial: Path, name: str, key: str) -> tuple[SegmentSpec, dict[str, FileEntry]] | None:
    """What an earlier, interrupted export of the same model wrote, checked by its checksums."""
    try:
        note: dict[str, Any] = json.loads((partial / _NOTES / f'{name}.json').read_text('utf-8'))
        spec: SegmentSpec = parse(SegmentSpec, note['segment'], name)
        files = {file: FileEntry(**entry) for file, entry in note['files'].items()}
        same = note['key'] == key and all(
            file_entry(partial / file) == entry for file, entry in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, BundleError):
        return None
    return (spec, files) if same else None


def _key(source: Exportable, settings: ExportSettings) -> str:
    """What a graph was made from."""
    made_from = [source.fingerprint, asdict(settings), list(source.layout.static_layers)]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Keep a second export out; an empty folder is removed when the first graph failed."""
    handle = lock_folder(partial)
    if handle is None:
        raise BundleError(f'{partial}: another export is writing here; wait for it')
    try:
        yield
    finally:
        os.close(handle)
        if partial.is_dir() and not (partial / _NOTES).is_dir():
            shutil.rmtree(partial, ignore_errors=True)


def _is_partial(folder: Path) -> bool:
    known = {_NOTES, 'segments', PLANS, REFERENCES, TOKENIZER, MANIFEST_NAME}
    return all(entry.name in known for entry in folder.iterdir())


def _publish(
    partial: Path, folder: Path, files: dict[str, FileEntry], plans: tuple[Path, ...]
) -> None:
    """Drop what is not listed, take the plans along, then put the folder where it belongs."""
    shutil.rmtree(partial / _NOTES)
    for path in sorted((partial / 'segments').iterdir()):
        if f'segments/{path.name}' not in files:  # of an earlier, different export
            path.unlink()
    for path in plans:
        (partial / PLANS).mkdir(exist_ok=True)
        os.replace(path, partial / PLANS / path.name)
    if not folder.exists():
        os.replace(partial, folder)
        return
    # Only what was moved here is removed: a folder of this name may be somebody else's.
    old = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.old.', dir=folder.parent))
    os.replace(folder, old / folder.name)
    try:
        os.replace(partial, folder)
    except OSError:
        os.replace(old / folder.name, folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
