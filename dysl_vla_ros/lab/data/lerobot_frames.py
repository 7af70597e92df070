"""Chosen frames of a LeRobot data set: numbers of their rows, their task, their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.data.frame_times import refuse_other_order, refuse_other_rate
from dysl_vla_ros.lab.data.lerobot import Episode, LerobotSet, read_table
from dysl_vla_ros.lab.data.lerobot_video import read_frames
from dysl_vla_ros.pictures.files import decode_file


@dataclass(frozen=True)
class EpisodeRows:
    """Numbers of an episode.

    Attributes:
        episode: Which.
        first: Its first row in its file.
        numbers: Column -> (frames, size) float32; columns of numbers that were asked for.
        instruction: Of its frames.
    """

    episode: Episode
    first: int
    numbers: dict[str, NDArray[np.float32]]
    instruction: tuple[str, ...]


def read_rows(
    data: LerobotSet, columns: Sequence[str], every_frame: bool = False
) -> Iterator[EpisodeRows]:
    """Rows of every episode, in order; files that hold many are read once.

    Args:
        data: The set.
        columns: Of numbers.
        every_frame: Whether chunks are cut from them: then no frame may be missing, and frames are
            as far apart as the set says. Sets of ``dysl collect`` are thinned.

    Raises:
        ConfigError: A file or column is missing, a number is not finite, a frame has no task,
            frames are out of order or not at the set's rate.
    """
    said = [name for name in ('frame_index', 'timestamp') if name in data.columns]
    wanted = [*dict.fromkeys(('episode_index', 'task_index', *said, *columns))]
    held: tuple[Path | None, dict[str, NDArray[np.generic]]] = (None, {})
    for episode in data.episodes:
        if held[0] != episode.data:
            table = read_table(episode.data, wanted)
            held = (episode.data, {name: _numbers(episode.data, name, table[name])
                                   for name in wanted})  # fmt: skip
        arrays = held[1]
        rows = np.flatnonzero(arrays['episode_index'].reshape(-1) == episode.index)
        if len(rows) != episode.length or not len(rows) or np.ptp(rows) != len(rows) - 1:
            raise ConfigError(
                f'{episode.data.name}: episode {episode.index}', f'{len(rows)} rows',
                f'{episode.length} in a row, as meta/episodes says; copy the file again',
            )  # fmt: skip
        where = f'{episode.data.name}: episode {episode.index}'
        ordered = {name: arrays[name].reshape(-1)[rows].astype(np.float64) for name in said}
        if 'frame_index' in ordered:
            refuse_other_order(where, ordered['frame_index'], every_frame)
        if every_frame and 'timestamp' in ordered:
            refuse_other_rate(where, ordered['timestamp'], data.fps)
        numbers = {name: arrays[name][rows].astype(np.float32) for name in columns}
        for name, values in numbers.items():
            if not np.isfinite(values).all():
                raise ConfigError(f'{name}, episode {episode.index}', 'a number that is not '
                                  'finite', 'finite numbers; remove this episode')  # fmt: skip
        tasks = [int(number) for number in arrays['task_index'].reshape(-1)[rows].tolist()]
        if unknown := sorted({*tasks} - {*data.tasks}):
            raise ConfigError(f'{episode.data.name}: task_index', unknown,
                              f'tasks of meta/tasks: {sorted(data.tasks)}')  # fmt: skip
        yield EpisodeRows(episode, int(rows[0]), numbers,
                          tuple(data.tasks[number] for number in tasks))  # fmt: skip


def read_pictures(
    data: LerobotSet, rows: EpisodeRows, column: str, frames: Sequence[int]
) -> Iterator[NDArray[np.uint8]]:
    """Pictures of some frames of an episode, (height, width, 3), RGB.

    Args:
        data: The set.
        rows: The episode.
        column: Full name of the picture.
        frames: Numbers within the episode, ascending.

    Raises:
        ConfigError: A picture cannot be read, or is of another size than the set says.
    """
    size = data.columns[column].size
    for frame, picture in zip(frames, _pictures(data, rows, column, frames), strict=True):
        if size is not None and picture.shape[:2] != size:
            found = f'{picture.shape[1]}x{picture.shape[0]} pixels'
            raise ConfigError(
                f'{column}, episode {rows.episode.index}, frame {frame}', found,
                f'{size[1]}x{size[0]}, as meta/info.json says of all of them: a stretched picture '
                'is another view; remove the episode, or leave the camera out with --cameras',
            )  # fmt: skip
        yield picture


def _pictures(
    data: LerobotSet, rows: EpisodeRows, column: str, frames: Sequence[int]
) -> Iterator[NDArray[np.uint8]]:
    """The same, of any size."""
    episode = rows.episode
    if column in episode.videos:
        path, begin = episode.videos[column]
        times = [begin + frame / data.fps for frame in frames]
        yield from read_frames(path, times, 0.6 / data.fps)
        return
    table = read_table(episode.data, [column])
    stored = table[column].take([rows.first + frame for frame in frames]).to_pylist()
    for frame, entry in zip(frames, stored, strict=True):
        try:
            yield decode_file(column, _content(data, entry))
        except (OSError, TypeError, ValueError, InputError) as error:
            raise ConfigError(f'{column}, episode {episode.index}, frame {frame}', str(error),
                              'a picture (PNG or JPEG) inside the file') from None  # fmt: skip


def _content(data: LerobotSet, entry: Any) -> Any:
    """What is stored of a picture, or lies in the file that is named in its place."""
    content, path = entry, None
    if isinstance(entry, dict):
        content, path = entry.get('bytes'), entry.get('path')
    if not content and path:
        content = (data.folder / str(path)).read_bytes()
    if not content:
        raise ValueError('nothing')
    return content


def _numbers(path: Path, name: str, column: object) -> NDArray[np.generic]:
    """(rows, size) of a column of numbers, or of lists of equal length."""
    values = column.to_pylist()  # type: ignore[attr-defined]
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f'{path.name}: {name}', 'rows of different length, or no numbers',
                          'as many numbers in every row') from None  # fmt: skip
    found: NDArray[np.generic] = array.reshape(len(values), -1)
    return found
