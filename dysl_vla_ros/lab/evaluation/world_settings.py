"""What an episode in a world depends on beside its row's name, its task and its start.

A kept file begins with it, so that nobody goes on from episodes that were played with something
else, and a report has it, so that a reader can check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.folder import sha256_of
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.evaluation.committed import differs
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.policy import Policy


def settings_told(
    policy: Policy, config: NodeConfig, rows: Sequence[Row], observations: Path | None
) -> dict[str, Any]:
    """Of policy, parameters and rows, as JSON; a world adds its own.

    Args:
        policy: Opened.
        config: Parameters of the skip policy.
        rows: Modes.
        observations: Of mode ``deer``.

    Raises:
        ConfigError: Two rows have one name and other numbers.
        InputError: The observations cannot be read.
    """
    manifest = policy.manifest
    return dict(json.loads(json.dumps({
        'bundle': manifest.name, 'policy': manifest.model_digest[:12],
        'files': {name: entry.sha256 for name, entry in sorted(manifest.files.items())},
        'calibration': manifest.calibration.told(),
        'parameters': differs(asdict(config), asdict(NodeConfig())),
        'rows': row_settings(rows, observations),
    })))  # fmt: skip


def row_settings(rows: Sequence[Row], observations: Path | None) -> dict[str, dict[str, Any]]:
    """Name of a row -> its numbers, and of ``deer`` the digest of its observations.

    Raises:
        ConfigError: Two rows have one name and other numbers.
        InputError: The observations cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        told = row.settings
        if row.mode == 'deer' and observations is not None:
            told['observations'] = digest_of(observations)
        if found.setdefault(row.name, told) != told:
            raise ConfigError('rows', row.name, f'rows of other names, or the same numbers: '
                              f'{found[row.name]} and {told}')  # fmt: skip
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and digests.

    Raises:
        InputError: It cannot be read.
    """
    path = path.expanduser()
    try:
        if not path.is_dir():
            return sha256_of(path)
        files = sorted(one for one in path.rglob('*') if one.is_file())
        told = [(str(one.relative_to(path)), sha256_of(one)) for one in files]
    except OSError as error:
        raise InputError(f'{path}: {error}; expected observations (.npz), or a bag') from None
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
