"""A first look at what a command is given, before anything large is imported or opened.

Whoever reads a file later checks all of it; here a missing file, a folder in place of a file, or a
file cut off while it was copied is named within a moment.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.targets import contents, listed

_CHECKPOINT = 'a checkpoint written by dysl train or dysl distill'
_LONGEST_HEADER = 100_000_000
"""Of a safetensors file, by its specification."""


def look_at_bundle(field: str, given: str | Path, other: tuple[str, ...] = ('', 'fake')) -> None:
    """Refuse what cannot be a bundle.

    Args:
        field: The option or argument, for the message.
        given: A folder.
        other: Words that stand for something else than a folder.

    Raises:
        ConfigError: Nothing is there, or a file, or a folder without a manifest; says which.
    """
    if str(given) in other:
        return
    wanted = f'the folder of a bundle, with a {MANIFEST_NAME}'
    _look_into(field, Path(given), wanted, MANIFEST_NAME)


def _look_into(field: str, given: Path, wanted: str, name: str) -> Path:
    """A file of a folder; refuses what is no folder, or has no such file."""
    folder = given.expanduser()
    if not folder.exists():
        raise ConfigError(field, str(given), f'{wanted}: there is nothing of this name')
    if not folder.is_dir():
        raise ConfigError(field, str(given), f'{wanted}: this is a file')
    if not (folder / name).is_file():
        there = listed(contents(folder)) or 'nothing'
        raise ConfigError(field, str(given), f'{wanted}: in this one there is {there}')
    return folder / name


def look_at_file(field: str, path: Path | None, wanted: str) -> None:
    """Refuse what is no file that can be read, or is empty.

    Raises:
        ConfigError: Says what is there instead.
    """
    if path is None:
        return
    place = path.expanduser()
    if not place.exists():
        raise ConfigError(field, str(path), f'{wanted}: there is nothing of this name')
    if place.is_dir():
        raise ConfigError(field, str(path), f'{wanted}: this is a folder')
    if not place.stat().st_size:
        raise ConfigError(field, str(path), f'{wanted}: this file is empty')
    with place.open('rb') as stream:  # PermissionError: as the system says it
        stream.read(1)


def look_at_arrays(field: str, path: Path | None) -> None:
    """Refuse what is no ``.npz``, or was cut off.

    Raises:
        ConfigError: Says what is there instead.
    """
    look_at_file(field, path, 'a .npz file of arrays')
    if path is not None and not zipfile.is_zipfile(path.expanduser()):
        raise ConfigError(field, str(path), 'a .npz file of arrays: this one is cut off, or '
                          'something else')  # fmt: skip


def holds_recording(folder: Path) -> bool:
    """Whether files of a bag lie anywhere in a folder, compressed ones among them."""
    return any('.mcap' in one.name or '.db3' in one.name for one in folder.rglob('*'))


def look_at_observations(field: str, path: Path | None) -> None:
    """Refuse what is neither a recording nor a ``.npz`` that is whole.

    Raises:
        ConfigError: Says what is there instead.
    """
    if path is None:
        return
    if path.suffix == '.npz':
        look_at_arrays(field, path)
    elif not path.expanduser().exists():
        raise ConfigError(field, str(path), 'a recording, or a .npz file of arrays: there is '
                          'nothing of this name')  # fmt: skip
    elif (place := path.expanduser()).is_dir() and not holds_recording(place):
        what = (
            'a LeRobot set, of which dysl train leaves observations.npz'
            if (place / 'meta').is_dir()
            else 'a folder without a recording'
        )
        raise ConfigError(field, str(path), 'a recording of the node (.mcap or .db3), or a .npz '
                          f'file of arrays (doc/method.md): this is {what}')  # fmt: skip


def look_at_checkpoint(field: str, path: Path | None) -> None:
    """Refuse what is no safetensors file of dysl, or was cut off.

    Raises:
        ConfigError: Says what is there instead.
    """
    look_at_file(field, path, _CHECKPOINT)
    if path is None:
        return
    place = path.expanduser()
    with place.open('rb') as stream:
        size = int.from_bytes(stream.read(8), 'little')
        rest = place.stat().st_size - 8
        text = stream.read(size) if 2 <= size <= min(_LONGEST_HEADER, rest) else b''
    try:
        header = json.loads(text)
        kind = header.get('__metadata__', {}).get('kind', '')
        last = max((entry['data_offsets'][1] for name, entry in header.items()
                    if name != '__metadata__'), default=0)  # fmt: skip
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        kind, last = '', rest
    if size <= _LONGEST_HEADER and size + last > rest:
        raise ConfigError(field, str(path), f'{_CHECKPOINT}: this one is cut off: copy it again')
    if not kind.startswith('dysl_'):
        raise ConfigError(field, str(path), f'{_CHECKPOINT}: this file is something else')


def look_at_dataset(field: str, folder: Path) -> None:
    """Refuse what is no LeRobot data set.

    Raises:
        ConfigError: Says what is there instead, or that its description is cut off.
    """
    wanted = 'a LeRobot data set: a folder with meta/info.json'
    info = _look_into(field, folder, wanted, 'meta/info.json')
    try:
        json.loads(info.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ConfigError(field, str(folder), f'{wanted} that is JSON ({error})') from None


def need(extra: str, *modules: str) -> None:
    """Say which optional libraries a command lacks, without importing them.

    Args:
        extra: Of setup.py, that brings them.
        modules: Their names.

    Raises:
        ModuleNotFoundError: The first one that is missing; ``cli.failures`` says how to get it.
    """
    for name in modules:
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        if found is None:
            raise ModuleNotFoundError(f'{extra}: no {name}', name=name)
    if 'torch' in modules and sys.stderr.isatty():
        print('loading torch ...', file=sys.stderr)  # seconds in which nothing else is said
