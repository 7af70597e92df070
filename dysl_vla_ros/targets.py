"""Where a command may write: over its own kind of thing or into nothing, whole or not at all.

Every writer of the package asks here first, before it computes anything, and writes through
``write_whole``: beside the target, then under its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dysl_vla_ros.errors import ConfigError

IsOwn = Callable[[Path], bool]
"""Whether an existing file or folder is of the kind that is about to be written."""

_SHOWN = 5
_PROBE = 4096


def file_target(field: str, path: Path, is_own: IsOwn, kind: str) -> Path:
    """The file that may be written; nothing is touched.

    Args:
        field: Name of the option or argument, for the message.
        path: As the user gave it.
        is_own: Asked about a file that is there and not empty.
        kind: What it must be, as a phrase ('a report of dysl').

    Raises:
        ConfigError: It is a folder, a link or a device, below a file, or something else.
    """
    place = _place(field, path)
    if place.is_dir():
        raise ConfigError(field, str(path), 'the name of a file: this is a folder')
    if place.exists() and not place.is_file():
        raise ConfigError(field, str(path), 'a plain file: this is a device or a pipe')
    if place.is_file() and place.stat().st_size and not is_own(place):
        raise ConfigError(
            field, str(path), f'a new file or {kind}: this one is something else; remove it, or '
            'name another',
        )  # fmt: skip
    check_writable(field, path, place.parent)
    return place


def folder_target(field: str, path: Path, is_own: IsOwn, kind: str) -> Path:
    """The folder that may be written or replaced; nothing is touched.

    Args:
        field: Name of the option or argument, for the message.
        path: As the user gave it.
        is_own: Asked about a folder that is there and not empty.
        kind: What it must be, as a phrase ('a bundle').

    Raises:
        ConfigError: It is a file, a link, the root, the home or the current folder or one above
            them, or holds something else; names what it holds.
    """
    place = _place(field, path)
    here, home = Path.cwd(), Path(os.path.expanduser('~')).resolve()
    for words, taken in (
        ('the current folder', place == here), ('the home folder', place == home),
        ('a folder above the current one', place in here.parents),
        ('a folder above the home folder', place in home.parents),
    ):  # fmt: skip
        if taken:
            raise ConfigError(field, str(path), f'a folder of its own: this is {words}')
    if place.exists() and not place.is_dir():
        raise ConfigError(field, str(path), 'the name of a folder: this is a file')
    if place.is_dir() and (names := contents(place)) and not is_own(place):
        raise ConfigError(
            field, str(path), f'an empty folder, a new one, or {kind}: there is {listed(names)} '
            'in this one',
        )  # fmt: skip
    check_writable(field, path, place)
    return place


def check_writable(field: str, path: Path, folder: Path) -> None:
    """Write a few bytes where ``folder`` is or will be made, and remove them again.

    Args:
        field: Name of the option or argument, for the message.
        path: As the user gave it.
        folder: Absolute; it need not exist.

    Raises:
        ConfigError: The disk is full or read-only, or this user may not write there.
    """
    above = next(place for place in (folder, *folder.parents) if place.exists())
    probe = above / f'.dysl_probe_{os.getpid()}'
    try:
        probe.write_bytes(b'.' * _PROBE)
    except OSError as error:
        raise ConfigError(
            field, str(path), f'a place that can be written: {above}: {error.strerror}'
        ) from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | Callable[[Path], object]) -> None:
    """Write a file beside its place, flush it to the disk, then give it its name.

    Args:
        path: Its folder is made; an interruption leaves the old file or the new one.
        data: The content, or what writes it into a file of the name it is given.

    Raises:
        ConfigError: A folder or a link is in its place.
        OSError: The disk is full, or the folder cannot be written.
    """
    if path.is_symlink() or path.is_dir():
        what = 'a link' if path.is_symlink() else 'a folder'
        raise ConfigError('file', str(path), f'a plain file to write: this is {what}')
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    partial.unlink(missing_ok=True)
    try:
        if callable(data):
            data(partial)
        else:
            partial.write_bytes(data)
        with partial.open('rb') as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def keep_before(path: Path, all_of_them: bool = False) -> Path | None:
    """Let the file that is about to be replaced stay, as ``NAME.before.SUFFIX`` beside it.

    Args:
        path: A file of ours; what was kept before it is replaced.
        all_of_them: For small files: what was kept before it stays, and this one is
            ``NAME.before2.SUFFIX`` and so on, unless one of them is the same.

    Returns:
        Where it is kept; None where there was none.
    """
    if not path.is_file():
        return None
    kept = path.with_name(f'{path.stem}.before{path.suffix}')
    number = 1
    while all_of_them and kept.exists():
        if kept.read_bytes() == path.read_bytes():
            return kept
        number += 1
        kept = path.with_name(f'{path.stem}.before{number}{path.suffix}')
    write_whole(kept, lambda place: shutil.copyfile(path, place))
    return kept


def contents(folder: Path) -> list[str]:
    """Names in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir())


def lock_folder(folder: Path) -> int | None:
    """Make a folder and keep other processes that call this out of it.

    Returns:
        What lets go when it is closed (``os.close``); None where another one holds the folder, or
        has just given it another name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more


def _place(field: str, path: Path) -> Path:
    """Absolute; only the last part may be a link, and then it is refused."""
    given = path.expanduser()
    if given.name in ('', '..'):
        return given.resolve()
    place = given.parent.resolve() / given.name
    if place.is_symlink():
        raise ConfigError(
            field, str(path), f'the place itself: this is a link to {os.readlink(place)}'
        )
    above = next(parent for parent in place.parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(field, str(path), f'a folder above it: {above} is a file')
    return place
