"""The last cycles before a fault, in one file of a folder of their own.

A ring buffer in memory; nothing is written until something breaks, and then once. Only the newest
files are kept.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import stat
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.data_types import Command, FloatArray

KEPT_S = 10.0
FOLDER = 'dysl_vla_flights'
KEPT_FILES = 20
KEPT_BYTES = 100_000_000
_PREFIX = 'dysl_vla_flight_'
_ABANDONED_S = 60.0
"""A half-written file that is older belongs to a process that died."""


@dataclass(frozen=True)
class Cycle:
    """One tick: what was known, and what was sent."""

    now: float
    state: str
    reason: str
    joints: FloatArray | None
    command: Command | None


class FlightRecorder:
    """Kept by the command thread; written by the executor's thread."""

    def __init__(self, folder: Path, rate_hz: float) -> None:
        """Args: where the folder of flights is made, and cycles per second."""
        self._folder = Path(folder) / FOLDER
        self._cycles: deque[Cycle] = deque(maxlen=int(KEPT_S * rate_hz))
        self._chunks: deque[Mapping[str, str]] = deque(maxlen=50)
        self.lost = 0
        """Cycles and chunks that could not be kept."""

    def note(self, cycle: Cycle) -> None:
        """Keep one cycle; never raises, since the command thread calls it."""
        try:
            self._cycles.append(cycle)
        except Exception:
            self.lost += 1

    def note_chunk(self, info: Mapping[str, str]) -> None:
        """Keep what `~/chunk_info` says of a chunk; never raises."""
        try:
            self._chunks.append(info)
        except Exception:
            self.lost += 1

    def write(self, reason: str, about: Mapping[str, Any]) -> Path:
        """Write what is kept: whole or not at all, and never through a link.

        Args:
            reason: Why it is written.
            about: Parameters and policy, so that the file explains itself.

        Returns:
            The file.

        Raises:
            OSError: The folder cannot be written or is a link, the disk is full, or a value has no
                text.
        """
        now = time.time()
        stamp = time.strftime('%Y%m%dT%H%M%S', time.gmtime(now)) + f'.{int(now % 1 * 1e6):06d}Z'
        name = f'{_PREFIX}{stamp}_{os.getpid()}_{secrets.token_hex(4)}'
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _prune(folder, KEPT_FILES - 1, KEPT_BYTES)
            _write_whole(folder, name, self._pieces(reason, stamp, about))
            _prune(folder, KEPT_FILES, KEPT_BYTES)
        except (TypeError, ValueError, AttributeError) as error:
            raise OSError(errno.EINVAL, f'the flight cannot be encoded: {error}') from error
        finally:
            os.close(folder)
        return self._folder / f'{name}.json'

    def _pieces(self, reason: str, stamp: str, about: Mapping[str, Any]) -> Iterator[str]:
        """The document bit by bit: encoding it at once would keep the interpreter for long."""
        head = {
            'reason': reason,
            'written': stamp,
            'about': dict(about),
            'lost': self.lost,
            'chunks': [dict(info) for info in self._chunks.copy()],
        }
        yield json.dumps(head, default=str)[:-1] + ', "cycles": ['
        for index, cycle in enumerate(self._cycles.copy()):
            yield (',\n' if index else '\n') + json.dumps(_to_json(cycle), default=str)
        yield '\n]}\n'


def _write_whole(folder: int, name: str, pieces: Iterator[str]) -> None:
    temporary = f'{name}.tmp'
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(temporary, flags, 0o644, dir_fd=folder)
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            written = 0
            for piece in pieces:
                written += file.write(piece)
                if written > KEPT_BYTES:
                    raise OSError(errno.EFBIG, f'a flight of more than {KEPT_BYTES} bytes', name)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, f'{name}.json', src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _remove(folder, temporary)
        raise


def _prune(folder: int, files: int, size: int) -> None:
    """Keep the newest flights: at most so many, and so many bytes in all."""
    found = []
    for name in os.listdir(folder):
        if not name.startswith(_PREFIX) or not name.endswith(('.json', '.tmp')):
            continue
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue  # another node prunes too
        if stat.S_ISREG(status.st_mode):
            found.append((status.st_mtime_ns, name, status.st_size))
    whole = sorted((entry for entry in found if entry[1].endswith('.json')), reverse=True)
    kept = 0
    for index, (_, name, length) in enumerate(whole):
        kept += length
        if index >= files or kept > size:
            _remove(folder, name)
    for changed, name, _ in found:
        if name.endswith('.tmp') and time.time() - 1e-9 * changed > _ABANDONED_S:
            _remove(folder, name)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _to_json(cycle: Cycle) -> dict[str, Any]:
    record: dict[str, Any] = {
        't': round(cycle.now, 6),
        'state': cycle.state,
        'reason': cycle.reason,
        'joints': None if cycle.joints is None else _numbers(cycle.joints),
    }
    command = cycle.command
    if command is not None:
        record |= {
            'positions': _numbers(command.positions),
            'velocities': _numbers(command.velocities),
            'gripper': command.gripper,
            'more_grippers': list(command.more_grippers),
            'hold': command.hold,
            'action_index': command.action_index,
            'limited': list(command.limited),
        }
    return record


def _numbers(values: FloatArray) -> list[float | str]:
    """As JSON has them: what is not finite becomes its name."""
    return [value if math.isfinite(value) else str(value) for value in values.tolist()]
