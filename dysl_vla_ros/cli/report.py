"""Reports as JSON, written so that an interruption leaves the old file or the new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.targets import file_target, write_whole

_LARGEST = 64 << 20
_FORMATS = {'dysl_vla_bench': 'bench', 'dysl_vla_roofline': 'bench',
            'dysl_vla_replay': 'replay', 'dysl_vla_headroom': 'headroom'}  # fmt: skip
_MARKS: tuple[tuple[str, frozenset[str]], ...] = (
    ('verify', frozenset({'patterns_possible', 'budget'})),
    ('chaos', frozenset({'tried', 'cases', 'unsafe'})),
    ('soak', frozenset({'samples', 'commands_per_second'})),
    ('demo', frozenset({'command_rate_hz_mean', 'passes'})),
    ('build', frozenset({'built', 'kept', 'target'})),
    ('inspect', frozenset({'supported', 'family', 'missing'})),
    ('inspect', frozenset({'bundle', 'family', 'skip mode'})),
    ('headroom', frozenset({'gate', 'states', 'verdict'})),
    ('evaluate', frozenset({'modes'})),
    ('evaluate', frozenset({'rows', 'paired', 'episodes'})),
)
"""What reports without a format have, and those of no other command."""


def check_json(path: Path | None, command: str = '') -> None:
    """Refuse a place for a report before the work that it reports; None is no report.

    Args:
        path: The place.
        command: That reports, as ``bench``; '' replaces the report of any.

    Raises:
        ConfigError: A folder, a link, or a file that is not a report of dysl, or one of another
            command.
    """
    if path is None:
        return
    place = file_target('--json', path, is_report, 'a report that dysl wrote')
    if not command or not place.is_file() or not place.stat().st_size:
        return
    found = command_of(json.loads(place.read_text(encoding='utf-8')))
    if found not in ('', command):
        raise ConfigError(
            '--json', str(path), f'a new file or a report of dysl {command}: this is one of dysl '
            f'{found}; remove it, or name another',
        )  # fmt: skip


def command_of(document: Any) -> str:
    """The command that wrote a report; '' where nothing tells."""
    if isinstance(document, list):
        document = document[0] if document else {}
        return (
            'doctor' if isinstance(document, dict) and {'part', 'state'} <= set(document) else ''
        )
    if not isinstance(document, dict):
        return ''
    if 'format' in document:
        return _FORMATS.get(str(document['format']), '')
    keys = set(document)
    return next((command for command, marks in _MARKS if marks <= keys), '')


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


class PartialReport:
    """What is measured so far, beside the report that is there: that one stays until the end."""

    def __init__(self, path: Path | None) -> None:
        """Refuse a place that cannot be written; nothing is written yet.

        Args:
            path: Of the report; None keeps nothing.

        Raises:
            ConfigError: As ``check_json``, of ``NAME.partial.SUFFIX``.
        """
        self._path = None if path is None else path.with_name(f'{path.stem}.partial{path.suffix}')
        self._written = False
        check_json(self._path)

    def write(self, document: Any) -> None:
        """Keep it."""
        if self._path is not None:
            write_json(self._path, document)
            self._written = True

    def done(self) -> None:
        """The report itself is written: this one is removed."""
        if self._path is not None:
            self._path.expanduser().unlink(missing_ok=True)

    @property
    def told(self) -> str:
        """Where it is, after an interruption."""
        return f'what was measured is in {self._path}' if self._written else 'nothing is kept'


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
