"""When to skip, from another bundle or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.manifest import CalibrationSpec, Manifest
from dysl_vla_ros.bundle.strict_json import load
from dysl_vla_ros.errors import BundleError, ConfigError


def read_calibration(path: Path, manifest: Manifest) -> CalibrationSpec:
    """The calibration of a bundle's folder or manifest, or a JSON file of its keys.

    Args:
        path: As the user gave it.
        manifest: Of the bundle that is replayed: what the file leaves out is this one's.

    Raises:
        ConfigError: It holds none, or one that does not fit.
    """
    place = path.expanduser()
    place = place / MANIFEST_NAME if place.is_dir() else place
    if not place.is_file():
        raise ConfigError('--calibration', str(path), 'the folder of a bundle, or a JSON file')
    try:
        document = load(place)
    except BundleError as error:
        raise ConfigError('--calibration', str(path), f'JSON ({error})') from None
    values: Any = document.get('calibration', document) if isinstance(document, dict) else None
    known = {item.name for item in fields(CalibrationSpec)}
    if not isinstance(values, Mapping) or not set(values) <= known or not values:
        raise ConfigError('--calibration', str(path), f'some of {", ".join(sorted(known))}')
    own = {name: getattr(manifest.calibration, name) for name in known}
    given = {**own, **values}
    try:
        spec = CalibrationSpec(**{**given, 'weights': tuple(given['weights'])})
        return replace(manifest, calibration=spec).calibration  # which checks it
    except (TypeError, ValueError, BundleError) as error:
        raise ConfigError('--calibration', str(path), f'a calibration ({error})') from None
