"""A recording as MCAP files in a folder with a limit: the oldest file goes when it is reached.

Every file can be read by itself: types, and what is said once (the policy's metadata, the robot's
description), stand at its beginning. What is still being written may be cut off anywhere and is
read up to there; at most about a second is lost.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dysl_vla_ros.errors import ConfigError, DyslError

PREFIX = 'dysl_vla_'
_FILE_BYTES = 256 << 20
_FILES = 8
"""At least so many share the limit, so that pruning takes away an eighth at most."""
_CHUNK_BYTES = 64 << 10
"""Compressed at once; smaller where less than this comes from one flush to the next."""
_SPARE_BYTES = 1 << 30
"""Left free on the disk for others."""
_LEAST_BYTES = 1 << 20


class BagFullError(DyslError):
    """The disk has no room, also without the older files of the folder."""


@dataclass(frozen=True)
class Kind:
    """A type of messages: its name, and its definition as ``ros2msg``."""

    name: str
    definition: str


@dataclass(frozen=True)
class _Said:
    kind: Kind
    data: bytes


class BagFiles:
    """Writes files one after the other; belongs to one thread.

    Attributes:
        path: The file that is being written.
        written: Messages in all files.
        removed: Files that had to go.
        lost: Files that somebody removed while they were written.
    """

    def __init__(
        self, folder: Path, limit_bytes: int, file_bytes: int = 0, spare_bytes: int = _SPARE_BYTES
    ) -> None:
        """Begin the first file.

        Args:
            folder: Made if it is not there. Of what lies in it only files of a recorder count and
                are ever removed.
            limit_bytes: Of all files of the folder, those of earlier recordings included.
            file_bytes: After which another file is begun; 0: 256 MiB or an eighth of the limit.
            spare_bytes: Left free on the disk.

        Raises:
            ConfigError: The library is missing, the folder is none, or the limit is too small.
            OSError: It cannot be written.
        """
        if limit_bytes < _LEAST_BYTES:
            raise ConfigError('record_limit_gb', limit_bytes / 1e9, 'at least 0.002')
        try:
            from mcap import writer

            if not hasattr(writer.Writer, 'flush'):
                raise ImportError('too old')
        except ImportError:
            raise ConfigError('record', 'true', 'the library mcap: python3 -m pip install '
                              "'mcap>=1.5,<2'") from None  # fmt: skip
        if folder.exists() and not folder.is_dir():
            raise ConfigError('record_folder', str(folder), 'a folder: this is a file')
        folder.mkdir(parents=True, exist_ok=True)
        self.written = self.removed = self.lost = 0
        self._library: Any = writer
        self._folder = folder
        self._limit = limit_bytes
        self._most = file_bytes or min(_FILE_BYTES, limit_bytes // _FILES)
        self._spare = spare_bytes
        self._stem = f'{PREFIX}{time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())}_{os.getpid()}'
        self._number = 0
        self._said: dict[str, _Said] = {}
        self._stream: BinaryIO | None = None
        self._begin()

    def write(
        self, topic: str, kind: Kind, data: bytes, time_ns: int, said_once: bool = False
    ) -> None:
        """Append a message.

        Args:
            topic: Full name.
            kind: Of the message.
            data: Serialised, CDR.
            time_ns: When it was received [ns since 1970].
            said_once: Whether every further file begins with it.

        Raises:
            BagFullError: No room on the disk.
            OSError: It cannot be written.
        """
        if said_once:
            self._said[topic] = _Said(kind, data)
        assert self._stream is not None
        if self._stream.tell() >= self._most:
            self._begin(time_ns)
        self._append(topic, kind, data, time_ns)
        self.written += 1

    def flush(self) -> None:
        """Hand over to the system what was written so far, and keep the limit.

        A file that somebody removed meanwhile is lost; another one is begun.

        Raises:
            BagFullError: No room on the disk.
            OSError: It cannot be written.
        """
        assert self._stream is not None
        self._writer.flush()
        if not os.fstat(self._stream.fileno()).st_nlink:
            self.lost += 1
            self._begin()
        else:
            self._prune()

    def close(self) -> None:
        """End the file with its index; a second call does nothing."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            self._writer.finish()
        finally:
            stream.close()

    def _begin(self, time_ns: int | None = None) -> None:
        self.close()
        self.path = self._folder / f'{self._stem}_{self._number}.mcap'
        self._number += 1
        self._prune()
        self._stream = self.path.open('xb')
        self._writer: Any = self._library.Writer(self._stream, chunk_size=_CHUNK_BYTES)
        self._writer.start(profile='ros2', library='dysl_vla_ros')
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        for topic, said in self._said.items():
            self._append(topic, said.kind, said.data, time_ns or time.time_ns())

    def _append(self, topic: str, kind: Kind, data: bytes, time_ns: int) -> None:
        channel = self._channels.get(topic)
        if channel is None:
            schema = self._schemas.get(kind.name)
            if schema is None:
                schema = self._schemas[kind.name] = self._writer.register_schema(
                    kind.name, 'ros2msg', kind.definition.encode()
                )
            channel = self._channels[topic] = self._writer.register_channel(
                topic, 'cdr', schema, {'offered_qos_profiles': ''}
            )
        self._writer.add_message(channel, time_ns, data, time_ns)

    def _prune(self) -> None:
        """Remove the oldest files until the rest, and the disk, have room for one more."""
        found = sorted(self._own_files().items(), key=lambda item: item[1])
        size = sum(length for _, (_, length) in found)
        free = shutil.disk_usage(self._folder).free
        if free + sum(length for path, (_, length) in found if path != self.path) < self._spare:
            # Others have filled the disk: all recordings together would not make room enough.
            raise BagFullError(
                f'{self._folder}: {free / 1e9:.2f} GB free on the disk: expected at least '
                f'{self._spare / 1e9:.2f} GB; nothing more is recorded, nothing was removed'
            )
        for path, (_, length) in found:
            if size <= self._limit - self._most and free >= self._spare:
                return
            if path == self.path:
                continue
            path.unlink(missing_ok=True)
            self.removed += 1
            size, free = size - length, free + length

    def _own_files(self) -> Mapping[Path, tuple[int, int]]:
        """Files of recorders, with time and size."""
        found = {}
        for path in self._folder.glob(f'{PREFIX}*.mcap'):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue  # another recorder prunes too
            if stat.S_ISREG(status.st_mode):
                found[path] = status.st_mtime_ns, status.st_size
        return found
