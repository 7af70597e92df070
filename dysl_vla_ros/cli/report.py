"""Reports as JSON, written so that an interruption leaves the old file or the new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.targets import file_target, write_whole

_LARGEST = 64 << 20


def check_json(path: Path | None) -> None:
    """Refuse a place for a report before the work that it reports; None is no report.

    Raises:
        ConfigError: A folder, a link, or a file that is not a report of dysl.
    """
    if path is not None:
        file_target('--json', path, is_report, 'a report that dysl wrote')


def write_json(path: Path, document: Any) -> None:
    """Write atomically.

    Args:
        path: Target; its folder is made.
        document: What ``json`` can write.

    Raises:
        ConfigError: As ``check_json``.
    """
    check_json(path)
    write_whole(path.expanduser(), _text(document).encode())


def is_report(path: Path) -> bool:
    """Whether a file is written as ``write_json`` writes; a bundle's manifest is no report."""
    if path.name == MANIFEST_NAME or path.stat().st_size > _LARGEST:
        return False
    try:
        text = path.read_text(encoding='utf-8')
        return text == _text(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _text(document: Any) -> str:
    return json.dumps(document, indent=1) + '\n'
