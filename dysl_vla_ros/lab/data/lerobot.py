"""A LeRobot data set as it is found: version 2.0, 2.1 or 3.0, any robot, names, rate.

    meta/info.json                        version, rate, features, totals, path templates
    meta/tasks.jsonl, tasks.parquet       task_index -> instruction (2.x; 3.0)
    meta/episodes.jsonl, episodes/*/*     one row per episode (2.x; 3.0)
    data/...                              one row per frame; one file per episode in 2.x
    videos/...                            one file per episode in 2.x, many in one in 3.0

Source: ``lerobot/datasets`` of huggingface/lerobot (``utils.py`` and ``lerobot_dataset.py``).
Nothing of ours is needed. Everything that is wrong is said at once.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dysl_vla_ros.bundle.git_lfs import pointer_words
from dysl_vla_ros.errors import ConfigError, as_list
from dysl_vla_ros.lab.data.dataset_format import IMAGE, INFO, read_document
from dysl_vla_ros.lab.data.video_stretches import Claim, claimed_twice

VERSIONS = ('v2.0', 'v2.1', 'v3.0')
_ROWS = ('episode_index', 'frame_index', 'task_index')
_INDEX = '__index_level_0__'
"""What pandas calls the column that was the index: in 3.0, the tasks."""
_PLAIN = re.compile(r'(?:[^{}]|\{\w+(?::\d{1,2}d?)?\})*')
"""Templates of paths that lerobot writes: names, with how many digits they have."""


@dataclass(frozen=True)
class Column:
    """A feature of meta/info.json; names of its numbers may be missing."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    @property
    def picture(self) -> bool:
        """Whether it is an image or a video."""
        return self.dtype in ('image', 'video')

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of a picture, channels last or, in some sets, first."""
        shape = self.shape
        if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
            shape = shape[1:]
        if len(shape) < 2:
            return None
        turned = self.names[:2] == ('width', 'height')
        return (shape[1], shape[0]) if turned else (shape[0], shape[1])


@dataclass(frozen=True)
class Episode:
    """Where an episode lies.

    Attributes:
        index: Its number.
        length: Frames.
        data: File of its rows, which may hold other episodes too.
        videos: Column -> file, and when the episode begins in it [s].
    """

    index: int
    length: int
    data: Path
    videos: Mapping[str, tuple[Path, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class LerobotSet:
    """A data set whose description was read.

    Attributes:
        folder: Of the set.
        fps: Frames per second.
        robot: As the set calls it.
        columns: By name.
        episodes: In order.
        tasks: Instruction of each task.
    """

    folder: Path
    fps: float
    robot: str
    columns: Mapping[str, Column]
    episodes: tuple[Episode, ...]
    tasks: Mapping[int, str]

    @property
    def cameras(self) -> dict[str, str]:
        """Its pictures, without ``observation.images.`` -> the column."""
        return {name.removeprefix(IMAGE): name for name, column in self.columns.items()
                if column.picture}  # fmt: skip

    def picture(self, name: str) -> str:
        """Column of a picture, by its short or its whole name; '' where there is none."""
        whole = name in self.columns and self.columns[name].picture
        return name if whole else self.cameras.get(name, '')

    def column(self, *names: str) -> str:
        """The first of these columns that there is; the first name where there is none."""
        return next((name for name in names if name in self.columns), names[0])

    @property
    def frames(self) -> int:
        """In all."""
        return sum(episode.length for episode in self.episodes)


def open_lerobot(folder: Path) -> LerobotSet:
    """Read the description of a data set; no frame yet.

    Raises:
        ConfigError: It is no LeRobot data set, or parts are missing; lists all that is wrong.
    """
    info = read_document(folder / INFO, 'the folder of a LeRobot data set')
    wrong: list[str] = []
    version = version_of(info.get('codebase_version'))
    if version not in VERSIONS:
        raise ConfigError(f'{folder}/{INFO}: codebase_version', info.get('codebase_version'),
                          f'one of {", ".join(VERSIONS)}')  # fmt: skip
    columns = read_columns(info.get('features'), wrong)
    fps = info.get('fps')
    if not _positive(fps):
        wrong.append(f'fps = {fps!r}: expected a number above 0')
    for name in _ROWS:
        if columns and name not in columns:
            wrong.append(f'features: no {name}: expected it, as lerobot writes it')
    new = version == 'v3.0'
    tasks = _tasks_v3(folder, wrong) if new else _tasks_v2(folder, wrong)
    episodes = list((_episodes_v3 if new else _episodes_v2)(folder, info, columns, wrong))
    wrong += _listed_twice(episodes)
    wrong += _missing_files(episodes)
    if not episodes and not wrong:
        wrong.append('no episode: expected at least one')
    if not wrong:
        claims = [
            Claim(entry.index, name, file, begin, entry.length / info['fps'])
            for entry in episodes
            for name, (file, begin) in entry.videos.items()
        ]
        wrong += claimed_twice(folder, claims, 0.5 / info['fps'], new)
    _refuse(folder, wrong)
    return LerobotSet(folder, float(info['fps']), str(info.get('robot_type')), columns,
                      tuple(episodes), tasks)  # fmt: skip


def version_of(found: object) -> str:
    """``'v3.0'``, of whatever stands for it: text with or without the v, or a number."""
    text = str(found)
    text = text if text.startswith('v') else f'v{text}'
    return '.'.join((text.split('.') + ['0'])[:2])


def read_columns(found: object, wrong: list[str]) -> dict[str, Column]:
    """Features of meta/info.json; what cannot be read is added to ``wrong``."""
    if not isinstance(found, Mapping):
        wrong.append(f'features = {_short(found)}: expected an object, one entry per column')
        return {}
    columns = {}
    for name, entry in found.items():
        shape = entry.get('shape') if isinstance(entry, Mapping) else None
        sizes: list[Any] = list(shape) if isinstance(shape, (list, tuple)) else [shape]
        if not isinstance(entry, Mapping) or not all(_size(size) for size in sizes):
            wrong.append(f'features.{name} = {_short(entry)}: expected dtype, shape and names')
            continue
        columns[str(name)] = Column(str(entry.get('dtype')), tuple(sizes),
                                    flat_names(entry.get('names')))  # fmt: skip
    return columns


def flat_names(found: object) -> tuple[str, ...]:
    """Names of the numbers: a list, ``{"motors": [...]}``, lists below keys, or nothing.

    ``{"x": 0, "y": 1}``, as lerobot's gamepad writes them, says the place of each.
    """
    if isinstance(found, Mapping):
        places = {place: str(name) for name, place in found.items() if type(place) is int}
        if len(places) == len(found) and {*places} == {*range(len(places))}:
            return tuple(places[place] for place in range(len(places)))
        return tuple(name for part in found.values() for name in flat_names(part))
    if isinstance(found, (list, tuple)):
        return tuple(
            name
            for part in found
            for name in (
                flat_names(part) if isinstance(part, (list, tuple, Mapping)) else (str(part),)
            )
        )
    return (str(found),) if isinstance(found, str) else ()


def plain_name(camera: str) -> str:
    """A camera's name as a bundle and a topic can have it."""
    plain = re.sub(r'[^A-Za-z0-9_]', '_', camera.removeprefix(IMAGE))
    return plain if plain[:1].isalpha() else f'camera_{plain}'


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a parquet file; ``None`` reads all.

    Raises:
        ConfigError: It is missing, a Git LFS pointer, damaged, or lacks a column.
    """
    if words := pointer_words(path):
        raise ConfigError(str(path), 'a pointer', f'a parquet file: {words}')
    if not path.is_file():
        raise ConfigError(str(path), 'missing', 'a file that the set describes; copy it again')
    try:
        have = pq.read_schema(path).names
        lacking = [name for name in columns or () if name not in have]
        if lacking:
            raise ConfigError(f'{path.name}: {", ".join(lacking)}', 'missing',
                              f'beside {", ".join(have)}')  # fmt: skip
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(str(path), str(error).splitlines()[0],
                          'a parquet file; copy it again') from None  # fmt: skip


# ---- version 2 ----------------------------------------------------------------------------------


def _tasks_v2(folder: Path, wrong: list[str]) -> dict[int, str]:
    path = folder / 'meta/tasks.jsonl'
    return _worded(_lines(path, ('task_index',), ('task',), wrong), f'meta/{path.name}', wrong)


def _worded(rows: Sequence[Mapping[str, Any]], where: str, wrong: list[str]) -> dict[int, str]:
    """Instruction by task; one that is no text is added to ``wrong``."""
    wrong += [f'{where}: task {row["task_index"]} = {_short(row["task"])}: expected its words'
              for row in rows if not isinstance(row['task'], str)]  # fmt: skip
    return {row['task_index']: row['task'] for row in rows}


def _episodes_v2(
    folder: Path, info: Mapping[str, Any], columns: Mapping[str, Column], wrong: list[str]
) -> Iterator[Episode]:
    rows = _lines(folder / 'meta/episodes.jsonl', ('episode_index', 'length'), (), wrong)
    size = info.get('chunks_size', 1000)
    videos = [name for name, column in columns.items() if column.dtype == 'video']
    known = len(wrong)
    for row in rows:
        index = row['episode_index']
        names = {'episode_index': index, 'episode_chunk': index // size if _positive(size) else 0}
        data = _filled(info, 'data_path', names, wrong)
        files = {name: (folder / _filled(info, 'video_path', {**names, 'video_key': name}, wrong),
                        0.0) for name in videos}  # fmt: skip
        if len(wrong) > known:
            return
        yield Episode(index, row['length'], folder / data, files)


def _lines(
    path: Path, counts: Sequence[str], others: Sequence[str], wrong: list[str]
) -> list[dict[str, Any]]:
    """Rows of a file with one JSON object per line; whole numbers under ``counts``."""
    if not path.is_file() or pointer_words(path):
        wrong.append(f'meta/{path.name}: {pointer_words(path) or "missing"}')
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f'meta/{path.name}, line {number}'
        try:
            row = json.loads(line.decode()) if line.strip() else None
            if row is not None:
                row = {**row, **{key: row[key] for key in (*counts, *others)}}
                rows.append(_counted(row, counts, where, wrong))
        except UnicodeDecodeError as error:
            wrong.append(f'{where}: byte {error.object[error.start]:#x}: expected UTF-8')
        except (ValueError, TypeError, KeyError, RecursionError):
            wrong.append(f'{where}: expected an object with {" and ".join((*counts, *others))}')
    return [row for row in rows if row is not None]


def _counted(
    row: Mapping[str, Any], names: Sequence[str], where: str, wrong: list[str]
) -> dict[str, Any] | None:
    """The row with these as whole numbers; None where one is none, which is added to ``wrong``."""
    bad = [name for name in names if not _count(row[name])]
    wrong += [f'{where}: {name} = {_short(row[name])}: expected a whole number from 0 up'
              for name in bad]  # fmt: skip
    return None if bad else {**row, **{name: int(row[name]) for name in names}}


# ---- version 3 ----------------------------------------------------------------------------------


def _tasks_v3(folder: Path, wrong: list[str]) -> dict[int, str]:
    try:
        table = read_table(folder / 'meta/tasks.parquet')
    except ConfigError as error:
        wrong.append(str(error))
        return {}
    texts = next((name for name in (_INDEX, 'task', 'tasks') if name in table.column_names), '')
    if not texts or 'task_index' not in table.column_names:
        wrong.append(f'meta/tasks.parquet: {table.column_names}: expected task_index and task')
        return {}
    pairs = zip(table['task_index'].to_pylist(), table[texts].to_pylist(), strict=True)
    rows = [
        _counted({'task_index': number, 'task': text}, ('task_index',),
                 f'meta/tasks.parquet, row {place}', wrong)
        for place, (number, text) in enumerate(pairs, start=1)
    ]  # fmt: skip
    return _worded([row for row in rows if row is not None], 'meta/tasks.parquet', wrong)


def _episodes_v3(
    folder: Path, info: Mapping[str, Any], columns: Mapping[str, Column], wrong: list[str]
) -> Iterator[Episode]:
    videos = [name for name, column in columns.items() if column.dtype == 'video']
    places = ('chunk_index', 'file_index')
    wanted = ['episode_index', 'length', *(f'data/{place}' for place in places)]
    for name in videos:
        wanted += [f'videos/{name}/{place}' for place in places]
    counts = list(wanted)
    begins = {name: f'videos/{name}/from_timestamp' for name in videos}
    wanted += begins.values()
    known = len(wrong)
    paths = sorted((folder / 'meta/episodes').glob('*/*.parquet'))
    if not paths:
        wrong.append('meta/episodes: no file: expected chunk-000/file-000.parquet')
    for path in paths:
        try:
            rows = read_table(path, wanted).to_pylist()
        except ConfigError as error:
            wrong.append(f'meta/episodes/{error}')
            return
        for place, found in enumerate(rows, start=1):
            where = f'meta/episodes/{path.parent.name}/{path.name}, row {place}'
            row = _counted(found, counts, where, wrong)
            wrong += [f'{where}: {key} = {_short(found[key])}: expected a time from 0 up [s]'
                      for key in begins.values() if not _time(found[key])]  # fmt: skip
            if row is None or len(wrong) > known:
                return

            def numbered(of: str, row: Mapping[str, Any] = row) -> dict[str, int]:
                return {place: row[f'{of}/{place}'] for place in places}

            data = _filled(info, 'data_path', numbered('data'), wrong)
            files = {
                name: (folder / _filled(info, 'video_path', {
                    **numbered(f'videos/{name}'), 'video_key': name}, wrong),
                    float(row[begins[name]]))
                for name in videos
            }  # fmt: skip
            if len(wrong) > known:
                return
            yield Episode(row['episode_index'], row['length'], folder / data, files)


# ---- both ---------------------------------------------------------------------------------------


def _filled(info: Mapping[str, Any], key: str, values: Mapping[str, Any], wrong: list[str]) -> str:
    """A path of the set; only what the version's templates name is filled in."""
    template = info.get(key)
    try:
        path = str(template).format(**values) if _PLAIN.fullmatch(str(template)) else '..'
        inside = isinstance(template, str) and not Path(path).is_absolute() and '..' not in path
    except (KeyError, IndexError, ValueError, AttributeError, TypeError):
        inside = False
    if not inside:
        wrong.append(f'{key} = {template!r}: expected a path inside the set, of '
                     f'{sorted(values)}')  # fmt: skip
        return ''
    return path


def _listed_twice(episodes: Sequence[Episode]) -> list[str]:
    counts = Counter(episode.index for episode in episodes)
    again = [str(index) for index, count in counts.items() if count > 1]
    more = '' if len(again) <= 5 else f' and {len(again) - 5} more'
    return [f'meta/episodes: episode_index {", ".join(again[:5])}{more} listed twice: expected '
            'each once'] if again else []  # fmt: skip


def _missing_files(episodes: Sequence[Episode], most: int = 3) -> list[str]:
    files = dict.fromkeys(path for episode in episodes for path in (
        episode.data, *(place for place, _ in episode.videos.values())))  # fmt: skip
    gone = [path for path in files if not path.is_file()]
    wrong = [f'{path}: missing' for path in gone[:most]]
    if len(gone) > most:
        wrong.append(f'{len(gone) - most} more of {len(files)} files are missing')
    pointers = [(path, pointer_words(path)) for path in files if path not in gone]
    return wrong + [f'{path}: {words}' for path, words in pointers if words][:1]


def _refuse(folder: Path, wrong: Sequence[str]) -> None:
    if wrong:
        listed = as_list(wrong)
        raise ConfigError(f'{folder}/{INFO}', f'{len(wrong)} things wrong',
                          f'a LeRobot data set; {listed}')  # fmt: skip


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (
        math.isfinite(value) and value > 0)  # fmt: skip


def _time(value: object) -> bool:
    return _positive(value) or value == 0


def _count(value: object) -> bool:
    """Whether it is a whole number, as pandas may write it too."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and 0 <= value < 2**53  # type: ignore[operator]


def _size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
