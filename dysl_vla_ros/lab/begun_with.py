"""What an interrupted work was begun with: it goes on with the same, or it is refused.

A resumable state and a finished stage look alike whatever they were made of. So beside each is
kept of what: the data, the weights it began with, the settings that shape the result. What may
change in between (device, workers, time, how often is saved) is left out by who describes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import sha256_of
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.targets import write_whole

STAGES = 'begun_with.json'
"""In the folder of a run: of what each of its files was made."""

MadeOf = Mapping[str, Any]
"""Name -> what JSON holds; a mapping inside is told by names with dots."""

_SHOWN = 3
_LONGEST = 80
_SMALL = 1 << 20


def digest(parts: Iterable[NDArray[Any] | str]) -> str:
    """Sixteen digits of arrays, with shape and type, and of texts."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode('utf-8', 'surrogatepass'))
            continue
        found.update(f'{part.shape} {part.dtype}'.encode())
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Sixteen digits of a file."""
    return sha256_of(path)[:16]


def folder_digest(folder: Path) -> str:
    """Sixteen digits of a folder: its files' names and sizes, and what its JSON says."""
    parts = []
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
        size = path.stat().st_size
        parts.append(f'{path.relative_to(folder)} {size}')
        if path.suffix == '.json' and size < _SMALL:
            parts.append(file_digest(path))
    return digest(parts)


def flat(made_of: MadeOf) -> dict[str, Any]:
    """Names with dots and values as JSON has them."""
    found: dict[str, Any] = {}

    def put(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, part in value.items():
                put(f'{prefix}.{name}' if prefix else name, part)
        else:
            found[prefix] = value

    put('', json.loads(json.dumps(dict(made_of), default=str)))
    return found


def check_same(place: Path, begun: MadeOf, wanted: MadeOf) -> None:
    """Compare what both name: a setting that came later was not noted before.

    Args:
        place: The state or file that is there.
        begun: Of what it was made.
        wanted: Of what it would be made now.

    Raises:
        ConfigError: They differ; names in what, and how to begin anew.
    """
    before, now = flat(begun), flat(wanted)
    other = [name for name, value in now.items() if name in before and before[name] != value]
    if not other:
        return
    first, *more = other
    beside = f' (beside it {", ".join(more[:_SHOWN])}{" and more" if more[_SHOWN:] else ""})'
    raise ConfigError(
        first, now[first], f'{_short(before[first])}, with which {place} was begun'
        f'{beside if more else ""}: go on with the same, or begin anew in another folder or '
        'after removing that',
    )  # fmt: skip


class Stages:
    """Of what the files of a run were made, kept in its folder."""

    def __init__(self, folder: Path, say: Callable[[str], None], writes: bool = True) -> None:
        """Read what is kept.

        Args:
            folder: Of the run.
            say: Told, in one line, of a file that is taken as it is.
            writes: False in all but one of several processes.
        """
        self._path, self._say, self._writes = folder / STAGES, say, writes

    def there(self, path: Path, made_of: MadeOf) -> bool:
        """Whether a stage was finished before; then it is of the same.

        Args:
            path: File or folder of the stage.
            made_of: Of what it would be made now.

        Raises:
            ConfigError: It was made of something else.
        """
        if not path.exists():
            return False
        kept = self._kept().get(path.name)
        if kept is None:
            self._say(f'{path}: taken as it is; of what it was made was not noted then')
        else:
            check_same(path, kept, made_of)
            self._say(f'{path}: taken as it is, made of the same')
        return True

    def note(self, path: Path, made_of: MadeOf) -> None:
        """Keep of what a file is made; to be called right before it is written."""
        if self._writes:
            kept = {**self._kept(), path.name: flat(made_of)}
            write_whole(self._path, (json.dumps(kept, indent=1) + '\n').encode())

    def _kept(self) -> dict[str, Any]:
        if not self._path.is_file():
            return {}
        try:
            found: dict[str, Any] = json.loads(self._path.read_text('utf-8'))
        except ValueError:
            raise ConfigError('folder', str(self._path), 'the JSON that dysl wrote there; begin '
                              'anew in another folder, or remove it') from None  # fmt: skip
        return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < _LONGEST else f'{text[: _LONGEST - 3]}...'
