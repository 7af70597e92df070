"""Episodes of any robot as a LeRobot set, v3.0, that appears whole or not at all.

Nothing of ours is needed to read it; ``meta/dysl.json`` only says how it was made. Pictures lie in
videos, as lerobot writes them, or, losslessly and large, as PNG in the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.dataset_format import (
    ACTION,
    DATA_PATH,
    EPISODES_PATH,
    FILES_PER_CHUNK,
    IMAGE,
    INFO,
    LEROBOT_COLUMNS,
    OURS,
    STATE,
    STATS,
    TASKS,
    Feature,
    numbered,
    to_column,
    write_document,
    write_table,
)
from dysl_vla_ros.lab.data.dataset_statistics import (
    as_document,
    column_statistics,
    merge,
    picture_statistics,
)
from dysl_vla_ros.lab.data.dataset_writer import empty_info, task_table
from dysl_vla_ros.lab.data.partial_set import PartialSet, set_target
from dysl_vla_ros.lab.data.video_writer import VideoWriter, video_info
from dysl_vla_ros.pictures.files import encode_png

VIDEO_PATH = 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
FORMAT = 'dysl_robot_1'
Pictures = Literal['video', 'png']
_PICTURES = 8
"""Pictures per episode that the statistics of a camera are taken from."""


@dataclass(frozen=True)
class SetDescription:
    """What holds for all episodes.

    Attributes:
        robot: LeRobot's ``robot_type``.
        fps: Frames per second, whole.
        cameras: Name -> (rows, columns).
        state: Names of the numbers of the state.
        action: Of an action.
        made: For meta/dysl.json: how the set was made.
    """

    robot: str
    fps: int
    cameras: Mapping[str, tuple[int, int]]
    state: tuple[str, ...]
    action: tuple[str, ...]
    made: Mapping[str, Any]


class RobotSetWriter:
    """A set that is written beside its place and moved there at the end."""

    def __init__(self, folder: Path, described: SetDescription, pictures: Pictures) -> None:
        """Begin.

        Raises:
            ConfigError: Something is at the place already, or another import writes beside it.
        """
        self.folder = set_target('out', folder)
        self._described, self._video = described, pictures == 'video'
        names = ('height', 'width', 'channels')
        kind = 'video' if self._video else 'image'
        self._columns = {
            **{IMAGE + name: Feature(kind, (*size, 3), names)
               for name, size in described.cameras.items()},
            STATE: Feature('float32', (len(described.state),), described.state),
            ACTION: Feature('float32', (len(described.action),), described.action),
            **{name: Feature(dtype, (1,)) for name, dtype in LEROBOT_COLUMNS.items()},
        }  # fmt: skip
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, Any] = {}
        self._rows: list[dict[str, Any]] = []
        self._codec = ''
        self.frames = 0
        self._partial = PartialSet(self.folder)
        self._place = self._partial.path

    def __enter__(self) -> RobotSetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if kind is not None:
            self._partial.drop()

    @property
    def episodes(self) -> int:
        """So far."""
        return len(self._rows)

    def add(
        self, state: NDArray[np.float32], action: NDArray[np.float32],
        pictures: Mapping[str, Iterable[NDArray[np.uint8]]], instruction: str | Sequence[str],
    ) -> None:  # fmt: skip
        """Add an episode.

        Args:
            state: (frames, size).
            action: (frames, size).
            pictures: Camera -> one picture per frame; read once.
            instruction: LeRobot's task; one for all frames, or one for each.
        """
        length, number = len(state), self.episodes
        words = [instruction] * length if isinstance(instruction, str) else list(instruction)
        tasks = [self._tasks.setdefault(text, len(self._tasks)) for text in words]
        arrays: dict[str, NDArray[Any]] = {
            STATE: state.astype(np.float32), ACTION: action.astype(np.float32),
            'timestamp': (np.arange(length) / self._described.fps).astype(np.float32),
            'frame_index': np.arange(length), 'episode_index': np.full(length, number),
            'index': np.arange(self.frames, self.frames + length),
            'task_index': np.array(tasks, np.int64),
        }  # fmt: skip
        stats = {name: column_statistics(values) for name, values in arrays.items()}
        table = {name: to_column(values, self._columns[name]) for name, values in arrays.items()}
        row = self._row(number, length, list(dict.fromkeys(words)))
        for name in self._described.cameras:
            key = IMAGE + name
            stats[key] = self._pictures(key, number, length, pictures[name], table)
            if self._video:
                row |= _video_row(key, number, length / self._described.fps)
        row |= {f'stats/{name}/{key}': value for name, entry in stats.items()
                for key, value in entry.items()}  # fmt: skip
        order = [name for name in self._columns if name in table]
        write_table(self._place / numbered(DATA_PATH, number),
                    pa.table({name: table[name] for name in order}))  # fmt: skip
        merge(self._stats, stats)
        self._rows.append(row)
        self.frames += length

    def finish(self) -> Path:
        """Write what describes the set, and move it to its place.

        Raises:
            ConfigError: It has no episode.
        """
        if not self._rows:
            raise ConfigError('episodes', 0, 'at least one')
        described, place = self._described, self._place
        write_table(place / numbered(EPISODES_PATH, 0), pa.Table.from_pylist(self._rows))
        write_table(place / TASKS, task_table(self._tasks))
        write_document(place / STATS, as_document(self._stats))
        write_document(place / OURS, {'format': FORMAT, **described.made})
        info = empty_info(self._columns, described.fps, described.robot) | {
            'total_episodes': self.episodes, 'total_frames': self.frames,
            'total_tasks': len(self._tasks), 'splits': {'train': f'0:{self.episodes}'},
        }  # fmt: skip
        if self._video:
            info['video_path'] = VIDEO_PATH
            for name, size in described.cameras.items():
                info['features'][IMAGE + name]['info'] = video_info(
                    self._codec, size, described.fps
                )
        write_document(place / INFO, info)
        self._partial.publish()
        return self.folder

    def _pictures(
        self, key: str, number: int, length: int, pictures: Iterable[NDArray[np.uint8]],
        table: dict[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        shape = self._columns[key].shape
        every = max(length // _PICTURES, 1)
        seen, stored = [], []
        video = None
        if self._video:
            chunk, file = divmod(number, FILES_PER_CHUNK)
            path = self._place / VIDEO_PATH.format(video_key=key, chunk_index=chunk,
                                                   file_index=file)  # fmt: skip
            video = VideoWriter(path, (shape[0], shape[1]), self._described.fps)
        count = 0
        for count, picture in enumerate(pictures, start=1):
            if picture.shape != shape:
                raise ConfigError(f'{key}, episode {number}', picture.shape,
                                  f'pictures of {shape}, as the first had')  # fmt: skip
            if (count - 1) % every == 0:
                seen.append(picture)
            if video is not None:
                video.add(picture)
            else:
                stored.append({'bytes': encode_png(picture), 'path': f'frame-{count:06d}.png'})
        if count != length:
            raise ConfigError(f'{key}, episode {number}', f'{count} pictures', f'{length}')
        if video is not None:
            self._codec = video.close()
        else:
            kind = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
            table[key] = pa.array(stored, kind)
        return picture_statistics(seen)

    def _row(self, number: int, length: int, tasks: list[str]) -> dict[str, Any]:
        chunk, file = divmod(number, FILES_PER_CHUNK)
        return {
            'episode_index': number, 'tasks': tasks, 'length': length,
            'data/chunk_index': chunk, 'data/file_index': file,
            'dataset_from_index': self.frames, 'dataset_to_index': self.frames + length,
            'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0,
        }  # fmt: skip


def _video_row(key: str, number: int, seconds: float) -> dict[str, Any]:
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return {
        f'videos/{key}/chunk_index': chunk,
        f'videos/{key}/file_index': file,
        f'videos/{key}/from_timestamp': 0.0,
        f'videos/{key}/to_timestamp': seconds,
    }


def even(size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a video: codecs want even numbers."""
    return size[0] - size[0] % 2, size[1] - size[1] % 2
