"""Appends recorded episodes to a dataset folder; after every append the folder is complete.

``meta/info.json`` is written last and says how many episodes count, so an interruption leaves
the dataset as it was before the append or as it is after it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.dataset_format import (
    DATA_PATH,
    EPISODES_PATH,
    FILE_SIZE_MB,
    FILES_PER_CHUNK,
    INFO,
    OURS,
    STATS,
    TASKS,
    VERSION,
    Feature,
    numbered,
    read_document,
    write_document,
    write_table,
)
from dysl_vla_ros.lab.data.dataset_statistics import as_document, column_statistics, merge
from dysl_vla_ros.lab.data.episode_record import EpisodeHeader, load_episode
from dysl_vla_ros.targets import folder_target

_TASK_COLUMN = '__index_level_0__'
"""How pandas stores an index without a name: LeRobot's tasks are the index of a data frame."""


class DatasetWriter:
    """A dataset folder that grows."""

    def __init__(
        self,
        folder: Path,
        columns: Mapping[str, Feature],
        fps: int,
        robot: str,
        ours: Mapping[str, Any],
    ) -> None:
        """Begin a dataset, or go on with one.

        Args:
            folder: Of the dataset; made if it is not there.
            columns: From ``dataset_format.features``.
            fps: Frames per second.
            robot: LeRobot's ``robot_type``.
            ours: For meta/dysl.json; must be what an existing dataset was begun with.

        Raises:
            ConfigError: The folder holds something else, or a dataset that was made in another
                way; nothing is touched.
        """
        folder = folder_target('dataset', folder, is_dataset, 'a dataset of dysl collect')
        self._folder, self._columns = folder, columns
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, Any] = {}
        self._files = 0
        if (folder / INFO).is_file():
            self._info = read_document(folder / INFO, 'written by dysl collect')
            self._go_on(ours)
        else:
            self._info = empty_info(columns, fps, robot)
            write_document(folder / OURS, dict(ours))
        self._forget_uncounted()

    @property
    def episodes(self) -> int:
        """Episodes in the dataset."""
        return int(self._info['total_episodes'])

    @property
    def frames(self) -> int:
        """Frames in the dataset."""
        return int(self._info['total_frames'])

    def append(self, paths: Sequence[Path]) -> None:
        """Append episodes, one file of ``save_episode`` each, as one data file."""
        tables, rows = [], []
        index = self.frames
        for episode, path in enumerate(paths, start=self.episodes):
            table, header, stats = load_episode(path)
            length = len(table)
            task = self._tasks.setdefault(header.instruction, len(self._tasks))
            numbers = {
                'episode_index': np.full(length, episode), 'task_index': np.full(length, task),
                'index': np.arange(index, index + length),
            }  # fmt: skip
            for name, values in numbers.items():
                table = table.append_column(name, pa.array(values, pa.int64()))
                stats[name] = column_statistics(values)
            tables.append(table.select(list(self._columns)))
            rows.append(self._row(episode, header, index, length, stats))
            merge(self._stats, stats)
            index += length
        data, listed = (numbered(path, self._files) for path in (DATA_PATH, EPISODES_PATH))
        write_table(self._folder / data, pa.concat_tables(tables))
        write_table(self._folder / listed, pa.Table.from_pylist(rows))
        write_table(self._folder / TASKS, task_table(self._tasks))
        write_document(self._folder / STATS, as_document(self._stats))
        total = self.episodes + len(paths)
        self._info |= {
            'total_episodes': total, 'total_frames': index, 'total_tasks': len(self._tasks),
            'splits': {'train': f'0:{total}'},
        }  # fmt: skip
        write_document(self._folder / INFO, self._info)
        self._files += 1

    def _row(
        self, episode: int, header: EpisodeHeader, index: int, length: int, stats: dict[str, Any]
    ) -> dict[str, Any]:
        chunk, file = divmod(self._files, FILES_PER_CHUNK)
        known = asdict(header)
        return {
            'episode_index': episode, 'tasks': [known.pop('instruction')], 'length': length,
            'data/chunk_index': chunk, 'data/file_index': file,
            'dataset_from_index': index, 'dataset_to_index': index + length,
            'meta/episodes/chunk_index': chunk, 'meta/episodes/file_index': file, **known,
            **{f'stats/{name}/{key}': value for name, entry in stats.items()
               for key, value in entry.items()},
        }  # fmt: skip

    def _go_on(self, ours: Mapping[str, Any]) -> None:
        found = read_document(self._folder / OURS, 'written by dysl collect')
        wanted = json.loads(json.dumps(ours))
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                raise ConfigError(
                    f'{self._folder / OURS}: {name}', _short(found.get(name)),
                    f'{_short(wanted.get(name))}, as asked for now; go on with the settings it '
                    'was begun with, or collect into another folder',
                )  # fmt: skip
        wanted_features = {name: entry.as_json() for name, entry in self._columns.items()}
        if self._info.get('features') != wanted_features:
            raise ConfigError(str(self._folder / INFO), 'other features', 'a new folder')
        known = pq.read_table(self._folder / TASKS).to_pydict() if self.episodes else {}
        self._tasks = dict(zip(known.get(_TASK_COLUMN, ()), known.get('task_index', ()),
                               strict=True))  # fmt: skip
        counted = 0
        while counted < self.episodes:
            table = pq.read_table(self._folder / numbered(EPISODES_PATH, self._files))
            for row in table.to_pylist():
                stats: dict[str, Any] = {}
                for name, value in row.items():
                    if name.startswith('stats/'):
                        _, feature, key = name.split('/')
                        stats.setdefault(feature, {})[key] = value
                merge(self._stats, stats)
            counted += len(table)
            self._files += 1

    def _forget_uncounted(self) -> None:
        """Remove files of an append that was interrupted: LeRobot reads every file it finds."""
        for template in (DATA_PATH, EPISODES_PATH):
            number = self._files
            while (path := self._folder / numbered(template, number)).is_file():
                path.unlink()
                number += 1


def is_dataset(folder: Path) -> bool:
    """Whether a dataset was begun in this folder."""
    return (folder / OURS).is_file() or (folder / INFO).is_file()


def empty_info(columns: Mapping[str, Feature], fps: int, robot: str) -> dict[str, Any]:
    """meta/info.json of a set without an episode."""
    return {
        'codebase_version': VERSION, 'robot_type': robot, 'total_episodes': 0, 'total_frames': 0,
        'total_tasks': 0, 'chunks_size': FILES_PER_CHUNK, 'data_files_size_in_mb': FILE_SIZE_MB,
        'video_files_size_in_mb': FILE_SIZE_MB, 'fps': fps, 'splits': {},
        'data_path': DATA_PATH, 'video_path': None,
        'features': {name: feature.as_json() for name, feature in columns.items()},
    }  # fmt: skip


def task_table(tasks: Mapping[str, int]) -> pa.Table:
    """Instruction -> number, such that pandas reads the instruction as the index."""
    table = pa.table({'task_index': pa.array(tasks.values(), pa.int64()),
                      _TASK_COLUMN: pa.array(tasks, pa.string())})  # fmt: skip
    plain = {'pandas_type': 'unicode', 'numpy_type': 'object'}
    pandas = {
        'index_columns': [_TASK_COLUMN],
        'column_indexes': [{'name': None, 'field_name': None, **plain,
                            'metadata': {'encoding': 'UTF-8'}}],
        'columns': [
            {'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64',
             'numpy_type': 'int64', 'metadata': None},
            {'name': None, 'field_name': _TASK_COLUMN, **plain, 'metadata': None},
        ],
        'creator': {'library': 'pyarrow', 'version': pa.__version__},
        'pandas_version': '2.0.0',
    }  # fmt: skip
    return table.replace_schema_metadata({b'pandas': json.dumps(pandas).encode()})


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f'{text[:77]}...'
