"""Pictures of a recording on disk while its episodes are cut: memory would not hold an hour."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT = ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step', 'format')


class Spool:
    """A file without a name, gone with the last message that lies in it."""

    def __init__(self) -> None:
        """Make the file, in the folder that TMPDIR names."""
        self._file = tempfile.TemporaryFile(prefix='dysl_pictures_')  # noqa: SIM115
        self._end = 0

    def put(self, message: Any) -> StoredPicture:
        """A message like this one, whose data lies on the disk."""
        data = np.asarray(message.data, np.uint8).tobytes()
        self._file.seek(self._end)
        self._file.write(data)
        stored = StoredPicture(self, message, self._end, len(data))
        self._end += len(data)
        return stored

    def read(self, start: int, size: int) -> bytes:
        """Some bytes of it."""
        self._file.seek(start)
        return self._file.read(size)


class StoredPicture:
    """An image message but for its data, which is read when it is asked for."""

    def __init__(self, spool: Spool, message: Any, start: int, size: int) -> None:
        """Keep what is small."""
        for name in _KEPT:
            if hasattr(message, name):
                setattr(self, name, getattr(message, name))
        self._spool, self._start, self._size = spool, start, size

    @property
    def data(self) -> NDArray[np.uint8]:
        """As in the message."""
        return np.frombuffer(self._spool.read(self._start, self._size), np.uint8)
