"""Files that git did not bring: a Git LFS pointer, three lines of text, in their place."""

from __future__ import annotations

from pathlib import Path

from dysl_vla_ros.errors import BundleError

_FIRST = b'version https://git-lfs.github.com/spec/'
_LONGEST = 1024
"""Bytes; what is longer is no pointer."""


def is_pointer(path: Path) -> bool:
    """Whether a file is only a pointer; one that cannot be read is not."""
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return False
        with path.open('rb') as stream:
            return stream.read(len(_FIRST)) == _FIRST
    except OSError:
        return False


def pointer_words(path: Path) -> str:
    """What to say of a pointer: what it stands for, and what to do; '' for any other file."""
    if not is_pointer(path):
        return ''
    size = 0
    for line in path.read_bytes().split(b'\n'):
        word, _, number = line.partition(b' ')
        if word == b'size' and number.strip().isdigit():
            size = int(number)
    stands = f' for {size} bytes' if size else ''
    return (
        f'this is a Git LFS pointer{stands}, not the file: it was cloned without Git LFS; run '
        f'git lfs install and git lfs pull in {path.parent}, or download the file itself'
    )


def refuse_pointer(path: Path) -> None:
    """Say so where a file is only a pointer.

    Raises:
        BundleError: It is; names the file and the remedy.
    """
    if words := pointer_words(path):
        raise BundleError(f'{path}: {words}')


def pointers_in(folder: Path) -> tuple[Path, ...]:
    """All pointers directly in a folder, sorted."""
    return tuple(path for path in sorted(folder.iterdir()) if is_pointer(path))
