"""What an export does to the bundle that is there already: what goes on, and what would be lost.

A calibration and compiled plans take hours, and belong to the graphs they were made from: where
the new graphs are the same, byte for byte, they are carried over; where not, the export is refused
and names them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.folder import Bundle, is_bundle, open_bundle
from dysl_vla_ros.bundle.manifest import CalibrationSpec, Manifest, manifest_from_dict
from dysl_vla_ros.engines.tensorrt.plans import FOLDER, built_folders, onnx_hash
from dysl_vla_ros.engines.tensorrt.plans import graphs_of as graphs_of_plans
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.targets import folder_target, listed

GRAPHS = 'graphs'
"""Key of the card: what the graphs were made from, as a hash."""


def check_bundle(folder: Path, force: bool = False) -> Path:
    """The folder that may become a bundle; nothing is touched.

    Args:
        folder: As the user gave it.
        force: Files that somebody added to the bundle may be dropped.

    Raises:
        ConfigError: It is not a bundle and not empty, or somebody added files; names them.
    """
    place = folder_target('bundle', folder, is_bundle, 'a bundle')
    before = _manifest(place, force)
    if before is None or force:
        return place
    known = {MANIFEST_NAME, *before.files}
    found = (path for path in place.rglob('*') if not path.is_dir() or path.is_symlink())
    names = (path.relative_to(place).as_posix() for path in found)
    added = sorted(name for name in names if name not in known and not _is_plan(name))
    if added:
        raise _loss(place, f'{listed(added)}, which no export wrote')
    return place


def graphs_of(folder: Path, manifest: Manifest) -> Bundle:
    """The bundle that is there, if its graphs are what the new one needs.

    Args:
        folder: Of the bundle.
        manifest: Of the new one; its graphs are still to be written.

    Raises:
        BundleError: There is none, it is altered, or its graphs are others; says what differs.
    """
    if not is_bundle(folder):
        raise BundleError(f'{folder}: no bundle: --contract-only takes the graphs of one that is '
                          'there; export without it first')  # fmt: skip
    before = open_bundle(folder)
    found = before.manifest
    differing = [
        f'{name} {getattr(found, name)!r} instead of {getattr(manifest, name)!r}'
        for name in ('family', 'precision', 'opset', 'layers_total', 'static_layers',
                     'hidden_tokens', 'hidden_width')
        if getattr(found, name) != getattr(manifest, name)
    ]  # fmt: skip
    if found.card.get(GRAPHS) != manifest.card[GRAPHS] and not differing:
        differing = ['other weights, another shape, or how they were stored (those of a published '
                     'folder are told by the names, sizes and times of its files: cp -p keeps the '
                     'times)']  # fmt: skip
    if differing:
        raise BundleError(f'{folder}: its graphs are not those of this model: '
                          f'{"; ".join(differing)}; export without --contract-only')  # fmt: skip
    return before


def carried_over(
    folder: Path, manifest: Manifest, force: bool = False
) -> tuple[Manifest, tuple[Path, ...]]:
    """What of the bundle that is there goes on in the new one.

    Args:
        folder: The old bundle; may be missing.
        manifest: Of the new one.
        force: Take the new calibration, and drop plans that do not fit.

    Returns:
        The new manifest, with the calibration of the old where it is still valid, and the folders
        of plans that still fit.

    Raises:
        ConfigError: A calibration or plans would be lost; names them.
    """
    before = _manifest(folder, force)
    fits, lost = _plans(folder, onnx_hash(manifest))
    same_graphs = before is not None and onnx_hash(before) == onnx_hash(manifest)
    if before is not None and not force:
        if same_graphs:
            manifest = replace(manifest, calibration=before.calibration)
        elif _calibrated(before, manifest):
            lost = [f'the calibration ({_words(before.calibration)})', *lost]
    if lost and not force:
        raise _loss(folder, f'{", ".join(lost)}, made for other graphs')
    return manifest, fits


def check_loss(folder: Path, manifest: Manifest, force: bool = False) -> None:
    """Refuse before the first graph what would be refused after the last one.

    Args:
        folder: The old bundle; may be missing.
        manifest: Of the new one; its graphs are still to be written.
        force: Nothing is refused.

    Raises:
        ConfigError: The new graphs will be others, and a calibration or plans would be lost.
    """
    before = _manifest(folder, force)
    same = before is None or all(
        getattr(before, name) == getattr(manifest, name)
        for name in ('static_layers', 'layers_total', 'precision', 'hidden_tokens', 'hidden_width')
    )
    if before is None or same or force:
        return
    lost = [f'{FOLDER}/{path.name}' for path in built_folders(folder / FOLDER)]
    if _calibrated(before, manifest):
        lost = [f'the calibration ({_words(before.calibration)})', *sorted(lost)]
    if lost:
        raise _loss(folder, f'{", ".join(lost)}, made for other graphs')


def _calibrated(before: Manifest, manifest: Manifest) -> bool:
    """Whether the old bundle has a calibration of its own; a dense one has nothing to skip."""
    return bool(before.layout.dynamic_layers) and before.calibration != manifest.calibration


def _manifest(folder: Path, force: bool) -> Manifest | None:
    if not is_bundle(folder):
        return None
    try:
        return manifest_from_dict(json.loads((folder / MANIFEST_NAME).read_text('utf-8')))
    except BundleError as error:
        if force:
            return None
        raise _loss(folder, f'all that is there, which cannot be read ({error})') from None


def _plans(folder: Path, graphs: str) -> tuple[tuple[Path, ...], list[str]]:
    """Folders of plans of the same graphs, and the names of the others."""
    fits, others = [], []
    for path in built_folders(folder / FOLDER):
        try:
            same = graphs_of_plans(path) == graphs
        except BundleError:
            same = False
        if same:
            fits.append(path)
        else:
            others.append(f'{FOLDER}/{path.name}')
    return tuple(fits), others


def _is_plan(name: str) -> bool:
    return name.startswith(f'{FOLDER}/') and name.count('/') == 2


def _words(spec: CalibrationSpec) -> str:
    return f'rule {spec.rule}, eta {spec.eta:.4g}, threshold {spec.threshold:.4g}'


def _loss(folder: Path, what: str) -> ConfigError:
    return ConfigError(
        'bundle', str(folder), f'a folder from which nothing is lost: this one has {what}; name '
        'another folder, or give --force',
    )  # fmt: skip
