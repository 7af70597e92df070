"""Reads a dataset folder into memory for training, and refuses a wrong one by name.

Everything that can be checked without decoding a picture is checked first, so that a wrong
dataset costs seconds, not an hour of loading.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError, InputError, as_list
from dysl_vla_ros.lab.data.dataset_format import (
    ACTION,
    INFO,
    LABELS,
    OURS,
    STATE,
    Feature,
    from_column,
    read_document,
)
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.lab.data.lerobot import read_columns, version_of
from dysl_vla_ros.pictures.files import decode_file

_MADE_BY = 'a dataset written by dysl collect'
_FREE = 'reach'
"""The phase of free motion, of which there is most and from which there is least to learn."""


@dataclass(frozen=True)
class Contract:
    """What a dataset must be like to train a policy for one robot.

    Attributes:
        columns: Needed columns; their shapes are exact but for the number of goals.
        fps: Frames, and so actions, per second.
        goals: Names of all goals, in the order of their numbers.
        largest_step: Largest translation per action [m]; more means another action space.
    """

    columns: Mapping[str, Feature]
    fps: int
    goals: Sequence[str]
    largest_step: float


@dataclass(frozen=True)
class Thinning:
    """Which frames are loaded; pictures take 27 kB each at 96x96.

    Attributes:
        free_motion: Share of the frames of free motion that is loaded; all others are.
        most: Frames in all, drawn evenly; 0 for no limit.
        seed: Of the choice.
    """

    free_motion: float = 1.0
    most: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would load nothing."""
        if not 0.0 < self.free_motion <= 1.0:
            raise ConfigError('free_motion', self.free_motion, 'more than 0, at most 1')
        if self.most < 0:
            raise ConfigError('max_frames', self.most, 'at least 0; 0 loads all')


@dataclass(frozen=True)
class DatasetFiles:
    """A dataset whose description was checked.

    Attributes:
        folder: Of the dataset.
        columns: As meta/info.json describes them.
        files: Data files in order.
        frames: In all.
        ours: meta/dysl.json.
    """

    folder: Path
    columns: Mapping[str, Feature]
    files: tuple[Path, ...]
    frames: int
    ours: Mapping[str, Any] = field(default_factory=dict)


def open_dataset(folder: Path, contract: Contract) -> DatasetFiles:
    """Check what a dataset says of itself.

    Raises:
        ConfigError: Names the field, what was found, and what would be right.
    """
    info = read_document(folder / INFO, _MADE_BY)
    wrong: list[ConfigError] = []
    for key in ('codebase_version', 'fps', 'total_episodes', 'total_frames', 'data_path',
                'features'):  # fmt: skip
        if info.get(key) is None:
            wrong.append(ConfigError(f'{INFO}: {key}', 'missing', f'the key {key!r}: {_MADE_BY}'))
    version = version_of(info.get('codebase_version', 'v3.0'))
    if not version.startswith('v3.'):
        wrong.append(ConfigError(
            f'{INFO}: codebase_version', info['codebase_version'],
            'v3.0; convert it with lerobot.datasets.v30.convert_dataset_v21_to_v30',
        ))  # fmt: skip
    if info.get('fps', contract.fps) not in (contract.fps, None):
        wrong.append(ConfigError(
            f'{INFO}: fps', info['fps'], f'{contract.fps}: the policy plays {contract.fps} '
            'actions per second; record at that rate, or resample',
        ))  # fmt: skip
    columns = _columns(info.get('features') or {}, contract, wrong)
    if not wrong:
        ours = read_document(folder / OURS, f'{_MADE_BY}, which says what the labels mean')
        _check_goals(ours.get('goals'), contract.goals)
    if info.get('total_frames') == 0:
        wrong.append(ConfigError(f'{INFO}: total_frames', 0,
                                 'at least one frame; dysl collect goes on'))  # fmt: skip
    _refuse(folder, wrong)
    return DatasetFiles(folder, columns, tuple(_data_files(folder, info)),
                        int(info['total_frames']), ours)  # fmt: skip


def _refuse(folder: Path, wrong: Sequence[ConfigError]) -> None:
    """One error as it is; several as one list, for they mean another robot's set."""
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        listed = as_list(wrong)
        raise ConfigError(
            str(folder), f'{len(wrong)} things that do not fit', "the bundled policy's robot and "
            "its simulator's labels, which this checkpoint is trained on. A set of any other "
            'robot makes a policy of its own: dysl train DATASET; or goes with a published '
            'OpenVLA-OFT: dysl calibrate FOLDER, dysl distill FOLDER. What does not fit: '
            f'{listed}',
        )  # fmt: skip


def load_dataset(
    folder: Path, contract: Contract, thinning: Thinning | None = None
) -> Demonstrations:
    """Load a dataset into arrays.

    Raises:
        ConfigError: The dataset is wrong: a column is missing, has another shape, holds numbers
            that are not finite, other actions, another rate.
    """
    dataset = open_dataset(folder, contract)
    chosen = _choose(dataset, thinning or Thinning())
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (STATE, *LABELS)}
    for path, rows in zip(dataset.files, chosen, strict=True):
        table = _read(path, list(parts)).take(rows)
        for name, found in parts.items():
            found.append(from_column(name, table[name], dataset.columns[name]))
    arrays = {name: np.concatenate(found) for name, found in parts.items()}
    data = _demonstrations(arrays, dataset, contract)
    for path, rows, start in zip(dataset.files, chosen, _starts(chosen), strict=True):
        for camera, images in data.images.items():
            _load_pictures(path, f'observation.images.{camera}', rows, images[start:])
    return data


def _columns(found: Any, contract: Contract, wrong: list[ConfigError]) -> dict[str, Feature]:
    unreadable: list[str] = []
    known = read_columns(found, unreadable)
    wrong += [ConfigError(INFO, 'a description that cannot be read', text) for text in unreadable]
    columns = {}
    for name, wanted in contract.columns.items():
        where = f'{INFO}: features.{name}'
        entry = known.get(name)
        if entry is None:
            if not any(name in text for text in unreadable):
                wrong.append(
                    ConfigError(
                        where, 'missing', f'this column beside {sorted(known)}: {_MADE_BY}'
                    )
                )
            continue
        goals = entry.shape[:1] if name.startswith('label.') else wanted.shape[:1]
        if entry.shape != (*goals, *wanted.shape[1:]):
            wrong.append(
                ConfigError(f'{where}.shape', entry.shape, f'{wanted.shape}{_hint(name)}')
            )
        if entry.dtype != wanted.dtype:
            hint = '; export the videos as images' if entry.dtype == 'video' else ''
            wrong.append(ConfigError(f'{where}.dtype', entry.dtype, wanted.dtype + hint))
        if wanted.names is not None and entry.names != tuple(wanted.names):
            wrong.append(
                ConfigError(
                    f'{where}.names', list(entry.names), f'{list(wanted.names)}{_hint(name)}'
                )
            )
        columns[name] = Feature(wanted.dtype, entry.shape, wanted.names)
    return columns


def _hint(name: str) -> str:
    if name in (ACTION, 'played_action', 'label.chunk'):
        return (': deltas of the end effector per action [m, rad] and the gripper; joint or '
                'absolute actions are another action space, convert them first')  # fmt: skip
    return ''


def _check_goals(found: Any, wanted: Sequence[str]) -> None:
    if not isinstance(found, list):
        raise ConfigError(f'{OURS}: goals', found, 'the names of all goals, in order')
    for number, (have, want) in enumerate(itertools.zip_longest(found, wanted)):
        if have != want:
            raise ConfigError(
                f'{OURS}: goals[{number}]', have,
                f'{want!r}: it was collected with another set of tasks; collect it again',
            )  # fmt: skip


def _data_files(folder: Path, info: Mapping[str, Any]) -> Iterator[Path]:
    """The files that hold the counted episodes, from meta/episodes, each once."""
    episodes = sorted((folder / 'meta' / 'episodes').glob('*/*.parquet'))
    counted = 0
    seen: dict[Path, None] = {}
    for path in episodes:
        if counted >= info['total_episodes']:
            break
        table = _read(path, ['data/chunk_index', 'data/file_index'])
        for row in table.to_pylist():
            name = info['data_path'].format(
                chunk_index=row['data/chunk_index'], file_index=row['data/file_index']
            )
            seen[folder / name] = None
        counted += len(table)
    if counted != info['total_episodes']:
        raise ConfigError(f'{INFO}: total_episodes', info['total_episodes'],
                          f'{counted}, as listed in meta/episodes')  # fmt: skip
    yield from seen


def _read(path: Path, columns: list[str]) -> pa.Table:
    if not path.is_file():
        raise ConfigError(str(path), 'missing', 'a file that meta/episodes names; copy it again')
    have = pq.read_schema(path).names
    for name in columns:
        if name not in have:
            raise ConfigError(f'{path.name}: {name}', 'missing', f'this column beside {have}')
    return pq.read_table(path, columns=columns)


def _choose(dataset: DatasetFiles, thinning: Thinning) -> list[NDArray[np.int64]]:
    """The rows of each file that are loaded, in order."""
    chosen = []
    for number, path in enumerate(dataset.files):
        phase = _read(path, ['phase'])['phase'].to_numpy()
        draw = np.random.default_rng([thinning.seed, number]).random(len(phase))
        chosen.append(np.flatnonzero((phase != _FREE) | (draw < thinning.free_motion)))
    total = sum(len(rows) for rows in chosen)
    if thinning.most and total > thinning.most:
        every = np.random.default_rng(thinning.seed).permutation(total)[: thinning.most]
        kept = np.zeros(total, np.bool_)
        kept[every] = True
        chosen = [rows[kept[start : start + len(rows)]]
                  for rows, start in zip(chosen, _starts(chosen), strict=True)]  # fmt: skip
    return chosen


def _starts(chosen: Sequence[NDArray[np.int64]]) -> list[int]:
    return [0, *itertools.accumulate(len(rows) for rows in chosen)][:-1]


def _demonstrations(
    arrays: Mapping[str, NDArray[Any]], dataset: DatasetFiles, contract: Contract
) -> Demonstrations:
    """Samples from padded labels, checked; the pictures are still to be filled in."""
    for name in (STATE, 'label.chunk'):
        finite = np.isfinite(arrays[name])
        if not finite.all():
            row = int(np.argwhere(~finite)[0][0])
            raise ConfigError(
                f'{name}, frame {row}', arrays[name][row].tolist(),
                'finite numbers; remove this episode or record it again',
            )  # fmt: skip
    goal = arrays['label.goal']
    if goal.max() >= len(contract.goals):
        raise ConfigError('label.goal', int(goal.max()), f'numbers below {len(contract.goals)}')
    goal = goal.reshape(len(goal), -1)
    frame, column = np.nonzero(goal >= 0)
    labels: dict[str, Any] = {
        name: arrays[f'label.{name}'].reshape(*goal.shape, *tail)[frame, column]
        for name, tail in (('own', ()), ('point', (2,)), ('offset', (2, 3)),
                           ('chunk', dataset.columns['label.chunk'].shape[1:]))
    }  # fmt: skip
    images = {
        name.removeprefix('observation.images.'): np.zeros((len(goal), *feature.shape), np.uint8)
        for name, feature in dataset.columns.items()
        if feature.dtype == 'image'
    }
    data = Demonstrations(images, arrays[STATE], frame, goal[frame, column], **labels)
    horizon, dim = dataset.columns['label.chunk'].shape[1:]
    data.check(len(contract.goals), horizon, dim, contract.largest_step)
    return data


def _load_pictures(
    path: Path, name: str, rows: NDArray[np.int64], target: NDArray[np.uint8]
) -> None:
    stored = _read(path, [name])[name].take(rows).combine_chunks()
    for place, data in enumerate(stored.field('bytes')):
        try:
            image = decode_file(name, data.as_py())
        except (InputError, TypeError) as error:
            raise ConfigError(f'{path.name}: {name}, row {rows[place]}', str(error),
                              'a PNG picture inside the file') from None  # fmt: skip
        if image.shape != target.shape[1:]:
            raise ConfigError(f'{path.name}: {name}, row {rows[place]}', image.shape,
                              f'a picture of shape {target.shape[1:]}')  # fmt: skip
        target[place] = image
