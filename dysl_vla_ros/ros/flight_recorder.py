"""The last cycles before a fault, in one file.

A ring buffer in memory; nothing is written until something breaks, and then once.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.data_types import Command, FloatArray
from dysl_vla_ros.targets import write_whole

KEPT_S = 10.0


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
        """Args: where the file goes, and cycles per second."""
        self._folder = folder
        self._cycles: deque[Cycle] = deque(maxlen=int(KEPT_S * rate_hz))
        self._chunks: deque[Mapping[str, str]] = deque(maxlen=50)

    def note(self, cycle: Cycle) -> None:
        """Keep one cycle."""
        self._cycles.append(cycle)

    def note_chunk(self, info: Mapping[str, str]) -> None:
        """Keep what `~/chunk_info` says of a chunk."""
        self._chunks.append(info)

    def write(self, reason: str, about: Mapping[str, Any]) -> Path:
        """Write what is kept, atomically.

        Args:
            reason: Why it is written.
            about: Parameters and policy, so that the file explains itself.

        Returns:
            The file.

        Raises:
            OSError: The folder cannot be written.
            ConfigError: A folder or a link is in the file's place.
        """
        stamp = time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())
        path = self._folder / f'dysl_vla_flight_{stamp}_{os.getpid()}.json'
        document = {
            'reason': reason,
            'written': stamp,
            'about': dict(about),
            'chunks': list(self._chunks),
            'cycles': [_to_json(cycle) for cycle in tuple(self._cycles)],
        }
        write_whole(path, json.dumps(document).encode())
        return path


def _to_json(cycle: Cycle) -> dict[str, Any]:
    record: dict[str, Any] = {
        't': round(cycle.now, 6),
        'state': cycle.state,
        'reason': cycle.reason,
        'joints': None if cycle.joints is None else cycle.joints.tolist(),
    }
    command = cycle.command
    if command is not None:
        record |= {
            'positions': command.positions.tolist(),
            'velocities': command.velocities.tolist(),
            'gripper': command.gripper,
            'hold': command.hold,
            'action_index': command.action_index,
            'limited': list(command.limited),
        }
    return record
