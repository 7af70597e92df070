"""Files that were compressed whole (``ros2 bag record --compression-mode file``)."""

from __future__ import annotations

from pathlib import Path

from dysl_vla_ros.lab.data.bags.records import unreadable

MAGIC = b'\x28\xb5\x2f\xfd'
"""Of anything that zstd wrote: a file, or one message of --compression-mode message."""
_BLOCK = 1 << 20


def unpack(path: Path, folder: Path) -> tuple[Path, list[str]]:
    """Unpack a file; of one that is cut off, its beginning.

    Args:
        path: Of the compressed file.
        folder: Where the other lies afterwards, until the caller removes it.

    Returns:
        The file, and what was wrong.

    Raises:
        ConfigError: Nothing of it can be unpacked.
    """
    import zstandard

    target = folder / path.name.removesuffix('.zstd')
    notes: list[str] = []
    with path.open('rb') as packed, target.open('wb') as file:
        stream = zstandard.ZstdDecompressor().decompressobj()
        try:
            while block := packed.read(_BLOCK):
                file.write(stream.decompress(block))
        except zstandard.ZstdError as error:
            notes.append(f'{path.name} is damaged ({error}): read as far as it goes')
        else:
            if not stream.eof:
                notes.append(f'{path.name} is cut off: read as far as it goes')
    if not target.stat().st_size:
        raise unreadable(path, 'nothing of it can be unpacked', 'a file that zstd wrote; copy it '
                         'again')  # fmt: skip
    return target, notes


def unpack_message(data: bytes) -> bytes:
    """A message that was compressed alone, or one that was not."""
    if not data.startswith(MAGIC):
        return data
    import zstandard

    found: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return found
