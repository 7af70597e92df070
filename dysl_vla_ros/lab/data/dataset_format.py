"""The layout of a dataset folder: LeRobotDataset v3.0, images as PNG inside the parquet files.

    meta/info.json                              version, fps, features, totals; written last
    meta/stats.json                             min, max, mean, std, quantiles per feature
    meta/tasks.parquet                          instruction -> task_index
    meta/episodes/chunk-000/file-000.parquet    one row per episode
    meta/dysl.json                              ours: what the labels mean, and how it was made
    data/chunk-000/file-000.parquet             one row per frame, many episodes per file

Columns that LeRobot knows: ``observation.images.<camera>``, ``observation.state``, ``action``
(the expert's clean action), and ``timestamp``, ``frame_index``, ``episode_index``, ``index``,
``task_index``. Ours: ``played_action`` (what was executed, disturbed), ``phase``, and per frame
what the expert would do for several goals, one row of each ``label.*`` per goal:

    label.goal    (G,)       number of the goal, see ``goals`` in meta/dysl.json; -1 pads
    label.own     (G,)       whether it is the goal that was being pursued
    label.chunk   (G, H, D)  the expert's clean actions from here
    label.point   (G, 2)     image patch of the named object and of the destination; -1 unknown
    label.offset  (G, 2, 3)  vector from the gripper to both [m]; NaN where there is none

Their names begin with neither ``observation`` nor ``action``, so a LeRobot policy ignores them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.targets import write_whole

VERSION = 'v3.0'
INFO, STATS, TASKS = 'meta/info.json', 'meta/stats.json', 'meta/tasks.parquet'
EPISODES_PATH = 'meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
DATA_PATH = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
OURS = 'meta/dysl.json'
FILES_PER_CHUNK = 1000
FILE_SIZE_MB = 100

IMAGE, STATE, ACTION = 'observation.images.', 'observation.state', 'action'
ACTION_NAMES = ('dx', 'dy', 'dz', 'drx', 'dry', 'drz', 'gripper')
"""End-effector deltas per action period [m, rad] and the gripper's opening, 0 to 1."""
LABELS = ('label.goal', 'label.own', 'label.chunk', 'label.point', 'label.offset')
LEROBOT_COLUMNS: dict[str, str] = {
    'timestamp': 'float32', 'frame_index': 'int64', 'episode_index': 'int64', 'index': 'int64',
    'task_index': 'int64',
}  # fmt: skip


@dataclass(frozen=True)
class Feature:
    """One column: numpy type name (or ``image``, ``string``), shape, names of the dimensions."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """As in meta/info.json."""
        names = None if self.names is None else list(self.names)
        return {'dtype': self.dtype, 'shape': list(self.shape), 'names': names}


def features(
    cameras: Mapping[str, int], joint_names: tuple[str, ...], horizon: int, goals: int
) -> dict[str, Feature]:
    """Every column of a dataset.

    Args:
        cameras: Name -> edge of the square picture [pixels].
        joint_names: Of the arm; the gripper's opening follows them in the state.
        horizon: Actions per labelled chunk.
        goals: Most goals labelled per frame, G.
    """
    size = len(ACTION_NAMES)
    found = {
        IMAGE + name: Feature('image', (edge, edge, 3), ('height', 'width', 'channels'))
        for name, edge in cameras.items()
    }
    return found | {
        STATE: Feature('float32', (len(joint_names) + 1,), (*joint_names, 'gripper')),
        ACTION: Feature('float32', (size,), ACTION_NAMES),
        'played_action': Feature('float32', (size,), ACTION_NAMES),
        'phase': Feature('string', (1,)),
        'label.goal': Feature('int64', (goals,)),
        'label.own': Feature('bool', (goals,)),
        'label.chunk': Feature('float32', (goals, horizon, size)),
        'label.point': Feature('int64', (goals, 2)),
        'label.offset': Feature('float32', (goals, 2, 3)),
        **{name: Feature(dtype, (1,)) for name, dtype in LEROBOT_COLUMNS.items()},
    }


def to_column(values: NDArray[Any], feature: Feature) -> pa.Array:
    """Rows of a numeric feature as LeRobot stores them: scalars, fixed lists, nested lists."""
    kind = pa.from_numpy_dtype(np.dtype(feature.dtype))
    rows = len(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
    if feature.shape == (1,):
        return flat
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])
    column = flat
    for depth in range(len(feature.shape) - 1, -1, -1):
        count = rows * int(np.prod(feature.shape[:depth], dtype=np.int64))
        offsets = np.arange(count + 1, dtype=np.int32) * feature.shape[depth]
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column


def from_column(name: str, column: pa.ChunkedArray, feature: Feature) -> NDArray[Any]:
    """The inverse of ``to_column``: (rows, *shape), or (rows,) where the shape is (1,).

    Raises:
        ConfigError: The stored rows have another size than meta/info.json says.
    """
    rows = len(column)
    array = column.combine_chunks()
    while pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    size = int(np.prod(feature.shape, dtype=np.int64))
    if len(array) != rows * size:
        raise ConfigError(
            name, f'{len(array)} numbers in {rows} rows',
            f'{size} per row: the shape {feature.shape} of meta/info.json',
        )  # fmt: skip
    if array.null_count:
        raise ConfigError(name, f'{array.null_count} empty values', 'a number in every place')
    values = array.to_numpy(zero_copy_only=False).astype(feature.dtype, copy=False)
    return values.reshape(rows) if feature.shape == (1,) else values.reshape(rows, *feature.shape)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file atomically."""
    write_whole(path, lambda place: pq.write_table(table, place, compression='zstd'))


def write_document(path: Path, document: Any) -> None:
    """Write JSON atomically."""
    write_whole(path, (json.dumps(document, indent=4, ensure_ascii=False) + '\n').encode())


def read_document(path: Path, what: str) -> dict[str, Any]:
    """Read JSON that must be an object.

    Raises:
        ConfigError: It is missing or something else; says what would be right.
    """
    try:
        document = json.loads(path.read_text('utf-8'))
    except FileNotFoundError:
        raise ConfigError(str(path), 'missing', what) from None
    except ValueError as error:
        raise ConfigError(str(path), str(error), f'JSON: {what}') from None
    if not isinstance(document, dict):
        raise ConfigError(str(path), type(document).__name__, f'a JSON object: {what}')
    return document


def numbered(template: str, number: int) -> str:
    """The path of file ``number`` after the first, from a template of meta/info.json."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return template.format(chunk_index=chunk, file_index=file)
