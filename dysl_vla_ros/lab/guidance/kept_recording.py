"""Recorded episodes in a file, one a line, until a calibration is complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.lab.guidance.recordings import AcceptedChunk


@dataclass(frozen=True)
class KeptEpisode:
    """One episode as a calibration needs it: its chunks, the actions played, whether it won."""

    chunks: tuple[AcceptedChunk, ...]
    actions: int
    success: bool


class KeptRecording:
    """Episodes in the order they were played in."""

    def __init__(self, path: Path) -> None:
        """Read what an interrupted run left; a line that was cut off is forgotten.

        Args:
            path: Named by all that the episodes depend on.
        """
        self._path = path
        self.episodes: list[KeptEpisode] = []
        if path.is_file():
            lines = path.read_text(encoding='utf-8').split('\n')
            self.episodes = [_read(json.loads(line)) for line in lines[:-1]]
            if lines[-1]:
                path.write_text(''.join(f'{line}\n' for line in lines[:-1]), encoding='utf-8')

    def add(self, episode: KeptEpisode) -> None:
        """Keep an episode, at once."""
        self.episodes.append(episode)
        chunks = [{**asdict(chunk), 'displacements': chunk.displacements.tolist()}
                  for chunk in episode.chunks]  # fmt: skip
        document = {'chunks': chunks, 'actions': episode.actions, 'success': episode.success}
        with self._path.open('a', encoding='utf-8') as stream:
            stream.write(json.dumps(document) + '\n')

    def move(self, path: Path) -> None:
        """Keep them under another name from now on."""
        if self._path.is_file():
            self._path.replace(path)
        self._path = path

    def done(self) -> None:
        """The calibration is complete."""
        self._path.unlink(missing_ok=True)


def _read(document: dict[str, Any]) -> KeptEpisode:
    chunks: Sequence[dict[str, Any]] = document['chunks']
    return KeptEpisode(
        tuple(
            AcceptedChunk(
                one['epoch'], np.array(one['displacements'], dtype=np.float64), one['dropped'],
                one['counter'], {int(layer): score for layer, score in one['scores'].items()},
            )
            for one in chunks
        ),
        document['actions'],
        document['success'],
    )  # fmt: skip
