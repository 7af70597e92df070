"""One recorded episode: its frames in order, as a table of one parquet file.

A process that simulates writes such a file when an episode is over; ``DatasetWriter`` later adds
the numbers that are only known once all episodes before it are (``index``, ``task_index``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.dataset_format import (
    ACTION,
    IMAGE,
    STATE,
    Feature,
    to_column,
    write_table,
)
from dysl_vla_ros.lab.data.dataset_statistics import column_statistics, picture_statistics
from dysl_vla_ros.lab.worlds.cell import Labels
from dysl_vla_ros.pictures.files import encode_png

_PICTURES = 8
"""Pictures per episode that the statistics of a camera are taken from."""
_HEADER = b'dysl.episode'


@dataclass(frozen=True)
class EpisodeFrame:
    """One observation, and what was done and would be right there.

    Attributes:
        images: Camera -> (height, width, 3) uint8.
        state: Joint positions [rad] and the gripper's opening, (p,) float32.
        action: The expert's clean action for the episode's own goal, (dim,) float32.
        played: What was executed, (dim,) float32.
        phase: From contacts and the gripper's command.
        number: Actions played before it in the episode.
        labels: For several goals.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    played: NDArray[np.float32]
    phase: str
    number: int
    labels: Labels


@dataclass(frozen=True)
class EpisodeHeader:
    """What is known of an episode as a whole.

    Attributes:
        instruction: LeRobot's task.
        seed: Of layout and disturbances.
        family: Task family.
        split: Of scenes and phrasings.
        source: Who played: the ``expert``, or a ``policy`` that it corrects.
        success: As the simulator judges the last state.
    """

    instruction: str
    seed: int
    family: str
    split: str
    source: Literal['expert', 'policy']
    success: bool


def episode_table(
    frames: Sequence[EpisodeFrame], header: EpisodeHeader, columns: Mapping[str, Feature],
    fps: int,
) -> pa.Table:  # fmt: skip
    """The rows of an episode, without the columns that number it among others."""
    goals = columns['label.goal'].shape[0]
    numbers = np.array([frame.number for frame in frames], dtype=np.int64)
    arrays: dict[str, NDArray[Any]] = {
        STATE: np.stack([frame.state for frame in frames]),
        ACTION: np.stack([frame.action for frame in frames]),
        'played_action': np.stack([frame.played for frame in frames]),
        'frame_index': numbers,
        'timestamp': (numbers / fps).astype(np.float32),
        **_padded([frame.labels for frame in frames], goals),
    }
    table: dict[str, pa.Array] = {
        name: _pictures([frame.images[name.removeprefix(IMAGE)] for frame in frames], numbers)
        for name, feature in columns.items() if feature.dtype == 'image'
    }  # fmt: skip
    table |= {name: to_column(values, columns[name]) for name, values in arrays.items()}
    table['phase'] = pa.array([frame.phase for frame in frames], pa.string())
    stats = {name: column_statistics(arrays[name]) for name in
             (STATE, ACTION, 'played_action', 'timestamp', 'frame_index')}  # fmt: skip
    for name, feature in columns.items():
        if feature.dtype == 'image':
            shown = [frame.images[name.removeprefix(IMAGE)] for frame in frames]
            stats[name] = picture_statistics(shown[:: max(len(shown) // _PICTURES, 1)])
    document = json.dumps({'header': asdict(header), 'stats': stats}).encode()
    return pa.table(table).replace_schema_metadata({_HEADER: document})


def save_episode(path: Path, table: pa.Table) -> None:
    """Write an episode atomically."""
    write_table(path, table)


def load_episode(path: Path) -> tuple[pa.Table, EpisodeHeader, dict[str, Any]]:
    """Rows, header and statistics of a file that ``save_episode`` wrote."""
    table = pq.read_table(path)
    document = json.loads(table.schema.metadata[_HEADER])
    header = EpisodeHeader(**document['header'])
    return table.replace_schema_metadata(None), header, document['stats']


def _pictures(images: Sequence[NDArray[np.uint8]], numbers: NDArray[np.int64]) -> pa.Array:
    """A column of LeRobot's image type: struct of bytes and path."""
    kind = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    rows = [
        {'bytes': encode_png(image), 'path': f'frame-{number:06d}.png'}
        for image, number in zip(images, numbers.tolist(), strict=True)
    ]
    return pa.array(rows, kind)


def _padded(labels: Sequence[Labels], goals: int) -> dict[str, NDArray[Any]]:
    """Labels of all frames, (frames, goals, ...), padded as ``dataset_format`` says."""
    first = labels[0]
    count = len(labels)
    found = {
        'label.goal': np.full((count, goals), -1, np.int64),
        'label.own': np.zeros((count, goals), np.bool_),
        'label.chunk': np.zeros((count, goals, *first.chunk.shape[1:]), np.float32),
        'label.point': np.full((count, goals, 2), -1, np.int64),
        'label.offset': np.full((count, goals, 2, 3), np.nan, np.float32),
    }
    for row, entry in enumerate(labels):
        for name, values in found.items():
            own = getattr(entry, name.removeprefix('label.'))
            values[row, : len(own)] = own
    return found
