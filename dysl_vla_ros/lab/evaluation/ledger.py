"""Finished episodes in a file, one a line, so that a long run may be interrupted and gone on with.

The first line says what they were played with; a run with anything else is refused, since its
episodes could not be paired with these.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from dysl_vla_ros.bundle.strict_json import parse
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.targets import file_target, write_whole

_LOG = logging.getLogger(__name__)
FORMAT = 'dysl_vla_episodes'
FORMAT_VERSION = 1
_Key = tuple[Row, EpisodeSpec]
Episode = TypeVar('Episode')


class Ledger:
    """Episodes by row and spec; also without a file, for runs that are not kept."""

    def __init__(self, path: Path | None, about: Mapping[str, Any], layers: int = 0) -> None:
        """Read what is there, or begin.

        Args:
            path: The file; None keeps nothing.
            about: Everything that the episodes depend on beside row and spec, as JSON.
            layers: Of the bundle that they are of; 0 does not ask.

        Raises:
            ConfigError: Not a file of this kind, or begun with something else; names what.
        """
        self._path = None if path is None else path.expanduser()
        self._found: dict[_Key, EpisodeResult] = {}
        if self._path is None:
            return
        file_target('--keep', self._path, _is_ledger, 'a file that dysl kept episodes in')
        about = json.loads(json.dumps(about))
        head = json.dumps({'format': FORMAT, 'version': FORMAT_VERSION, 'about': about}) + '\n'
        if not self._path.is_file() or not self._path.stat().st_size:
            write_whole(self._path, head.encode())
            return
        lines, begun, found = kept_lines(self._path, _read, FORMAT_VERSION)
        if not found:  # of a run that was refused, or ended before its first
            write_whole(self._path, head.encode())
            return
        check_same(self._path, begun, about)
        check_depth(self._path, [result.layers_total for _, result in found], layers)
        self._found.update({(row, result.spec): result for row, result in found})
        if lines[-1]:
            write_whole(self._path, ('\n'.join(lines[:-1]) + '\n').encode())

    def __len__(self) -> int:
        return len(self._found)

    def done(self) -> None:
        """The run is complete: what was kept in case of an interruption is removed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def get(self, row: Row, spec: EpisodeSpec) -> EpisodeResult | None:
        """An episode that is finished, else None."""
        return self._found.get((row, spec))

    def know(self, row: Row, result: EpisodeResult) -> None:
        """Take an episode that is told elsewhere, unless it is here; it is not written down."""
        self._found.setdefault((row, result.spec), result)

    def add(self, row: Row, result: EpisodeResult) -> None:
        """Keep a finished episode, at once."""
        self._found[row, result.spec] = result
        if self._path is not None:
            with self._path.open('a', encoding='utf-8') as stream:
                stream.write(json.dumps({'row': asdict(row), 'result': asdict(result)}) + '\n')


def kept_lines(
    path: Path, read: Callable[[dict[str, Any]], Episode], version: int | None = None
) -> tuple[list[str], dict[str, Any], list[Episode]]:
    """A kept file: its lines, what it was begun with, and its episodes.

    What follows the last line break was cut off while it was written, whatever it is.

    Args:
        path: The file.
        read: Makes an episode of what a line says; ValueError, KeyError, TypeError or
            BundleError where it says none.
        version: That the first line must have; None: it says none.

    Raises:
        ConfigError: It is damaged; names the line and how.
    """
    *whole, cut = path.read_bytes().split(b'\n')
    lines, found, begun = [], [], {}
    for number, line in enumerate(whole, start=1):
        try:
            lines.append(line.decode('utf-8'))
            document = json.loads(lines[-1], parse_constant=_no_number)
            if number > 1:
                found.append(read(document))
                continue
            if version is not None and document['version'] != version:
                raise ValueError(f'version {document["version"]}, expected {version}')
            begun = dict(document['about'])
        except (ValueError, KeyError, TypeError, RecursionError, BundleError) as error:
            said = f'{error} is missing' if isinstance(error, KeyError) else error
            raise ConfigError(
                '--keep', str(path), 'a file that dysl kept episodes in, as it was written: line '
                f'{number} of this one is damaged ({said}); remove it, or name another',
            ) from None  # fmt: skip
    if not whole:
        raise ConfigError('--keep', str(path), 'a file that dysl kept episodes in: this one is '
                          'cut off in its first line; remove it, or name another')  # fmt: skip
    return [*lines, cut.decode('utf-8', 'replace')], begun, found


def check_counts(chunks: int, reruns: int, pass_seconds: Sequence[float]) -> None:
    """Refuse an episode whose counts cannot all be so.

    Raises:
        ValueError: Names them.
    """
    if chunks != len(pass_seconds):
        raise ValueError(f'chunks = {chunks}, expected {len(pass_seconds)}, as many as it has '
                         'pass_seconds')  # fmt: skip
    if not 0 <= reruns <= chunks:
        raise ValueError(f'reruns = {reruns}, expected 0 to {chunks}, the chunks')


def check_depth(path: Path, told: Sequence[int], layers: int) -> None:
    """Refuse episodes of another number of layers than their bundle has.

    Args:
        path: Of the file.
        told: ``layers_total`` of each, from the second line on.
        layers: Of the bundle; 0 does not ask.

    Raises:
        ConfigError: Names the line.
    """
    for number, one in enumerate(told, start=2):
        if layers and one != layers:
            raise ConfigError('--keep', str(path), f'episodes of {layers} layers, as the bundle '
                              f'has: line {number} of this one has layers_total = {one}; remove '
                              'it, or name another')  # fmt: skip


def check_layers(layers_run: int, layers_total: int, passes: int) -> None:
    """Refuse an episode whose layers cannot have been those of so many passes.

    Args:
        layers_run: As it says, of all passes.
        layers_total: As it says, of one.
        passes: So many at most, re-runs included.

    Raises:
        ValueError: Names the field.
    """
    if layers_total < 1:
        raise ValueError(f'layers_total = {layers_total}, expected 1 or more')
    most = passes * layers_total
    if not 0 <= layers_run <= most:
        raise ValueError(f'layers_run = {layers_run}, expected 0 to {most}: {passes} passes of '
                         f'{layers_total} layers at most')  # fmt: skip


def _no_number(text: str) -> float:
    raise ValueError(f'{text}: expected a finite number')


def waiting_place(command: str, about: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Where a run keeps its episodes until it is complete, unless the user names a place.

    The same command, and no other, finds them again.

    Args:
        command: Its name.
        about: As given to ``Ledger``, with all else that names the run.
        folder: Where; None is the user's cache.
    """
    if folder is None:
        cache = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
        folder = cache / 'dysl_vla_ros'
    named = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f'{command}-{named}.episodes.jsonl'


def waiting(
    command: str, named: Mapping[str, Any], about: Mapping[str, Any], layers: int = 0
) -> Ledger:  # fmt: skip
    """The ledger at ``waiting_place``; one without a file where none can be written there.

    Args:
        command: Its name.
        named: All that names the run.
        about: As given to ``Ledger``.
        layers: As given to ``Ledger``.
    """
    try:
        return Ledger(waiting_place(command, named), about, layers)
    except (ConfigError, OSError) as error:
        _LOG.warning('an interruption of this run will lose its episodes: %s', error)
        return Ledger(None, about)


def check_same(path: Path, kept: Any, given: Any, name: str = '') -> None:
    """Refuse to go on from a file that was begun with something else.

    Args:
        path: The file.
        kept: What it was begun with, as JSON.
        given: What it would be begun with now.
        name: Of the setting; '' of all.

    Raises:
        ConfigError: Names the setting that differs.
    """
    if isinstance(kept, dict) and isinstance(given, dict):
        for key in {**kept, **given}:
            check_same(path, kept.get(key), given.get(key), f'{name}.{key}' if name else key)
    elif kept != given:
        raise ConfigError(
            '--keep', str(path), f'a file begun with {name} = {given!r}: this one was begun with '
            f'{kept!r}; name another',
        )  # fmt: skip


def _is_ledger(path: Path) -> bool:
    with path.open('rb') as stream:
        return stream.readline(1 << 20).startswith(f'{{"format": "{FORMAT}"'.encode())


def _read(document: dict[str, Any]) -> tuple[Row, EpisodeResult]:
    result = parse(EpisodeResult, document['result'], 'result')
    check_counts(result.chunks, result.reruns, result.pass_seconds)
    # Of chunks that were refused the passes count too, and nobody counted them: at most one, and
    # its re-run, in each command.
    passes = 2 * (result.chunks + max(result.commands, 0))
    check_layers(result.layers_run, result.layers_total, passes)
    told = sum(run for run, _ in result.phase_layers.values())
    if result.layers_run < told:
        raise ValueError(f'layers_run = {result.layers_run}, expected {told} or more, those of '
                         'its phase_layers')  # fmt: skip
    return parse(Row, document['row'], 'row'), result
