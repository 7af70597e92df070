"""LIBERO demonstrations: one file per episode, pictures as JPEG; collected again from seeds.

demonstrations/libero.json              suite, words of its tasks, horizon, share of other colours
demonstrations/scene_03/00000017.npz    seed 17 in the scene of task 3; empty where it failed
corrections/round_1/...                 the same, of episodes that a policy began
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, join
from dysl_vla_ros.lab.side_by_side import side_by_side
from dysl_vla_ros.lab.worlds.libero.client import LiberoClient
from dysl_vla_ros.lab.worlds.libero.suites import (
    ACTION_DIM,
    CAMERAS,
    RECOLOURED,
    STEP_M,
    TASKS,
)
from dysl_vla_ros.lab.worlds.libero.units import patch_of, physical
from dysl_vla_ros.pictures.files import decode_file
from dysl_vla_ros.targets import folder_target, write_whole

HORIZON = 8
SCRIPTED = ('libero_object', 'libero_spatial', 'libero_goal')
"""Suites that the scripted experts can play."""
MARK = 'libero.json'
_FORMAT = 'dysl_libero_demonstrations'
LARGEST_STEP = 1.01 * STEP_M
_BATCH = 8
"""Episodes of a scene that one simulator plays before the next is looked for."""
_HOPELESS = 100
"""Seeds of a scene of which not one in ten was won: what is lacking would take for ever."""


@dataclass(frozen=True)
class LiberoCollect:
    """What to collect.

    Attributes:
        suite: One of ``SCRIPTED``.
        episodes: Per scene; those that fail are not counted.
        tasks: Scenes.
        keep: Share of the triangles of visual meshes; evaluations draw all of them.
        workers: Simulators, each a process of its own.
        first_seed: Seeds count up from here, in every scene.
        corrects: Digest of the policy whose motion is corrected; '' of demonstrations.
    """

    suite: str
    episodes: int
    tasks: tuple[int, ...] = tuple(range(TASKS))
    keep: float = 0.1
    workers: int = 1
    first_seed: int = 0
    corrects: str = ''

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        if self.suite not in SCRIPTED:
            raise ConfigError('suite', self.suite, 'one of ' + ', '.join(SCRIPTED)
                              + ': the scripted expert knows no other')  # fmt: skip
        if self.episodes < 1 or self.workers < 1:
            raise ConfigError('episodes', self.episodes, 'at least 1, by at least one worker')
        if not 0.0 < self.keep <= 1.0:
            raise ConfigError('keep', self.keep, 'more than 0, at most 1')


def collect_libero(
    folder: Path, settings: LiberoCollect, progress: Callable[[int, int], None] | None = None,
    stage_of: Callable[[LiberoCollect, LiberoClient], LiberoStage] | None = None,
) -> int:  # fmt: skip
    """Play what is not there yet; what was interrupted is gone on with.

    Args:
        folder: Of demonstrations.
        settings: What to collect.
        progress: Called with episodes there and wanted.
        stage_of: Who plays; default: the scripted expert alone.

    Returns:
        Episodes that are there.

    Raises:
        ConfigError: LIBERO is not installed, the folder holds something else, or a scene is
            almost never won.
    """
    stage_of = stage_of or _Stage
    folder_target('folder', folder, is_libero, 'demonstrations of LIBERO')
    total, telling = settings.episodes * len(settings.tasks), threading.Lock()

    def tell() -> int:
        with telling:
            there = sum(min(_count(folder, task), settings.episodes) for task in settings.tasks)
            if progress is not None:
                progress(there, total)
        return there

    def play(stage: LiberoStage, batch: _Batch, go_on: Callable[[], None]) -> None:
        for seed in batch.seeds:
            _play(stage, folder, batch.task, seed)
            tell()
            go_on()

    with ExitStack() as stack:
        client = stack.enter_context(LiberoClient())
        stages = [stage_of(settings, client)]
        words = client.ask('words', settings.suite)
        about = {'format': _FORMAT, 'suite': settings.suite, 'words': words, 'horizon': HORIZON,
                 'recoloured': list(RECOLOURED)}  # fmt: skip
        if settings.corrects:
            about['corrects'] = settings.corrects
        if is_libero(folder):
            _refuse_others(folder, about)
        write_whole(folder / MARK, (json.dumps(about, indent=1) + '\n').encode())
        while batches := _lacking(folder, settings):
            for _ in range(len(stages), min(settings.workers, len(batches))):
                stages.append(stage_of(settings, stack.enter_context(LiberoClient())))
            side_by_side(stages, batches, play)
    return tell()


def load_run(folder: Path, most: int = 0) -> Demonstrations:
    """Demonstrations of a run, with all corrections that are there before them.

    Args:
        folder: Of the run.
        most: Demonstrations per scene, the first ones; 0 is all.

    Raises:
        ConfigError: None are there, or something else is.
    """
    own = load_libero(folder / 'demonstrations', most)
    rounds = sorted((folder / 'corrections').glob('round_*'))
    return join([*map(load_libero, rounds), own]) if rounds else own


def is_libero(folder: Path) -> bool:
    """Whether a folder holds demonstrations of LIBERO."""
    try:
        return bool(_about(folder).get('format') == _FORMAT)
    except (OSError, ValueError):
        return False


def load_libero(folder: Path, most: int = 0) -> Demonstrations:
    """Read demonstrations.

    Args:
        folder: Of ``collect_libero``.
        most: Episodes per scene, the first ones; 0 is all.

    Raises:
        ConfigError: None are there, or something else is.
    """
    if not is_libero(folder):
        raise ConfigError('folder', str(folder), f'demonstrations of LIBERO ({MARK})')
    words = _about(folder)['words']
    episodes: list[dict[str, Any]] = []
    for scene in sorted(folder.glob('scene_*')):
        files = [path for path in sorted(scene.glob('*.npz')) if path.stat().st_size]
        episodes += [_episode(path) for path in (files[:most] if most else files)]
    if not episodes:
        raise ConfigError('folder', str(folder), 'at least one won demonstration')
    # Validation is made of the last frames: those of all scenes, not of the last one only.
    order = np.random.default_rng(0).permutation(len(episodes))
    data = _joined([episodes[number] for number in order], words)
    data.check(len(words), HORIZON, ACTION_DIM, LARGEST_STEP)
    return data


def _refuse_others(folder: Path, about: dict[str, Any]) -> None:
    """What is there must have been collected as what is to come."""
    found = _about(folder)
    other = [name for name, value in about.items() if found.get(name) != value]
    if 'suite' in other:
        raise ConfigError('folder', str(folder), f'demonstrations of {about["suite"]}: these '
                          f'are of {found.get("suite")}')  # fmt: skip
    if other:
        raise ConfigError('folder', str(folder), f'a new one: these demonstrations differ in '
                          f'{other[0]}, {found.get(other[0])} for {about[other[0]]}')  # fmt: skip


def _about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MARK).read_text('utf-8'))
    return found


def _place(folder: Path, task: int, seed: int) -> Path:
    return folder / f'scene_{task:02d}' / f'{seed:08d}.npz'


def _count(folder: Path, task: int) -> int:
    """Won episodes of a scene."""
    scene = folder / f'scene_{task:02d}'
    return sum(1 for path in scene.glob('*.npz') if path.stat().st_size)


@dataclass(frozen=True)
class _Batch:
    task: int
    seeds: tuple[int, ...]


def _lacking(folder: Path, settings: LiberoCollect) -> list[_Batch]:
    """Seeds to play next, as many as every scene lacks: so the first that are won are kept."""
    batches = []
    for task in settings.tasks:
        won, tried = _count(folder, task), len([*folder.glob(f'scene_{task:02d}/*.npz')])
        if won < settings.episodes and tried >= _HOPELESS and 10 * won < tried:
            raise ConfigError('tasks', task, f'a scene that is won: of {tried} starts {won} were')
        left = (seed for seed in count(settings.first_seed)
                if not _place(folder, task, seed).exists())  # fmt: skip
        seeds = tuple(islice(left, max(settings.episodes - won, 0)))
        batches += [_Batch(task, seeds[at : at + _BATCH]) for at in range(0, len(seeds), _BATCH)]
    return batches


class LiberoStage(Protocol):
    """A simulator, in one scene at a time."""

    def demonstrate(self, task: int, seed: int) -> dict[str, Any]:
        """One episode: ``won``, and if it is, ``goal`` and ``frames``."""


class _Stage:
    """A simulator, in one scene at a time."""

    def __init__(self, settings: LiberoCollect, client: LiberoClient) -> None:
        self._client = client
        self._settings = settings
        self._task: int | None = None

    def demonstrate(self, task: int, seed: int) -> dict[str, Any]:
        """Let the expert play; a scene takes a few seconds to open."""
        if task != self._task:
            self._client.ask('open', self._settings.suite, task, self._settings.keep)
            self._task = task
        found: dict[str, Any] = self._client.ask('demonstrate', seed, HORIZON)
        return found


def _play(stage: LiberoStage, folder: Path, task: int, seed: int) -> None:
    """One episode, written when it is over."""
    found = stage.demonstrate(task, seed)
    # A failure leaves an empty file: its seed is not tried again.
    write_whole(_place(folder, task, seed), _packed(found) if found['won'] else b'')


def _packed(found: dict[str, Any]) -> bytes:
    frames = found['frames']
    rows = [(number, goal, data) for number, frame in enumerate(frames)
            for goal, data in frame['labels'].items()]  # fmt: skip
    seen = [(number, goal, *data) for number, frame in enumerate(frames)
            for goal, data in frame['places'].items()]  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {
        'goal': np.array(found['goal']),
        'state': np.stack([np.frombuffer(frame['state'], np.float32) for frame in frames]),
        'action': np.stack([np.frombuffer(frame['action']) for frame in frames]),
        'hand': np.stack([np.frombuffer(frame['hand']) for frame in frames]),
        'label': np.array([row[:2] for row in rows], np.int64).reshape(-1, 2),
        'ahead': np.array([np.frombuffer(row[2]) for row in rows]).reshape(-1, HORIZON, 7),
        'seen': np.array([row[:2] for row in seen], np.int64),
        'place': np.stack([np.frombuffer(row[2]).reshape(2, 3) for row in seen]),
        'pixel': np.stack([np.frombuffer(row[3]).reshape(2, 2) for row in seen]),
    }
    for name in CAMERAS:
        pictures = [frame['images'][name] for frame in frames]
        arrays[name] = np.frombuffer(b''.join(pictures), np.uint8)
        arrays[f'{name}_ends'] = np.cumsum([len(picture) for picture in pictures])
    stream = BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _episode(path: Path) -> dict[str, Any]:
    """One file; its pictures are still JPEG."""
    with np.load(path, allow_pickle=False) as file:
        return {'file': path.name, **{name: file[name] for name in file.files}}


def _joined(episodes: Sequence[dict[str, Any]], words: Sequence[str]) -> Demonstrations:
    parts: dict[str, list[NDArray[Any]]] = {}
    first = 0
    for found in episodes:
        for name, values in _samples(found).items():
            parts.setdefault(name, []).append(values + first if name == 'frame' else values)
        first += len(found['state'])
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    return Demonstrations(
        images={name: _decoded(episodes, name, first) for name in CAMERAS},
        proprioception=np.concatenate([found['state'] for found in episodes]),
        instructions=tuple(words),
        episode=np.repeat(np.arange(len(episodes)), [len(found['state']) for found in episodes]),
        **whole,
    )  # fmt: skip


def _decoded(episodes: Sequence[dict[str, Any]], name: str, frames: int) -> NDArray[np.uint8]:
    """All pictures of a camera, decoded into one array: most of the memory is theirs, once."""
    edge = CAMERAS[name][1]
    whole, at = np.empty((frames, edge, edge, 3), np.uint8), 0
    for found in episodes:
        data, ends = found[name].tobytes(), found[f'{name}_ends'].tolist()
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            picture = decode_file(f'{found["file"]}: {name}', data[first:end])
            if picture.shape != whole.shape[1:]:
                raise ConfigError(f'{found["file"]}: {name}', picture.shape, f'{whole.shape[1:]}')
            whole[at] = picture
            at += 1
    return whole


def _samples(found: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """One per frame for the goal pursued, and one per other goal that was named."""
    count, label = len(found['state']), found['label']
    follow = np.minimum(np.arange(count)[:, None] + np.arange(HORIZON), count - 1)
    own = np.stack((np.arange(count), np.full(count, found['goal'])), 1)
    rows = np.concatenate((own, label))
    place = {tuple(pair): number for number, pair in enumerate(found['seen'].tolist())}
    index = np.array([place[tuple(pair)] for pair in rows.tolist()])
    chunk = np.concatenate((found['action'][follow], found['ahead']))
    offset = found['place'][index] - found['hand'][rows[:, 0]][:, None]
    return {
        'frame': rows[:, 0], 'goal': rows[:, 1], 'own': np.arange(len(rows)) < count,
        'chunk': physical(chunk), 'point': patch_of(found['pixel'][index]),
        'offset': offset.astype(np.float32),
    }  # fmt: skip
