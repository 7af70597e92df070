"""A dataset folder without physics: invented pictures, written as ``collect`` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dysl_vla_ros.lab.data.contract import FPS, ROBOT, contract, goal_names
from dysl_vla_ros.lab.data.dataset_writer import DatasetWriter
from dysl_vla_ros.lab.data.episode_record import (
    EpisodeFrame,
    EpisodeHeader,
    episode_table,
    save_episode,
)
from dysl_vla_ros.lab.worlds.cell import CAMERA_SIZES, HORIZON, Labels

GOALS = 3
OURS = {'format': 'dysl_demonstrations_1', 'goals': goal_names(), 'collection': {'noise': 1.0}}


def frame(rng: np.random.Generator, number: int) -> EpisodeFrame:
    """One labelled frame; the number of labelled goals varies."""
    count = 1 + number % GOALS
    chunk = rng.uniform(-0.008, 0.008, (count, HORIZON, 7)).astype(np.float32)
    chunk[..., 6] = rng.integers(0, 2, (count, HORIZON))
    offset = rng.normal(0, 0.1, (count, 2, 3)).astype(np.float32)
    offset[:, 1] = np.nan
    return EpisodeFrame(
        images={name: rng.integers(0, 256, (edge, edge, 3), dtype=np.uint8)
                for name, edge in CAMERA_SIZES.items()},
        state=rng.uniform(-1, 1, 7).astype(np.float32),
        action=chunk[0, 0],
        played=chunk[0, 0] * np.float32(0.9),
        phase='reach' if number % 2 else 'grasp',
        number=number,
        labels=Labels(
            goal=rng.integers(0, len(goal_names()), count), own=np.arange(count) == 0,
            chunk=chunk, point=rng.integers(0, 24, (count, 2)), offset=offset,
        ),
    )  # fmt: skip


def episode(seed: int, length: int) -> list[EpisodeFrame]:
    """Frames of one episode; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    return [frame(rng, number) for number in range(length)]


def writer(folder: Path, ours: dict | None = None) -> DatasetWriter:  # type: ignore[type-arg]
    """A writer of such datasets."""
    return DatasetWriter(folder, contract(GOALS).columns, FPS, ROBOT, ours or OURS)


def stage_episode(path: Path, seed: int, length: int = 5) -> Path:
    """The file of one finished episode."""
    header = EpisodeHeader(f'pick up thing {seed % 2}', seed, 'pick', 'train', 'expert', True)
    save_episode(path, episode_table(episode(seed, length), header, contract(GOALS).columns, FPS))
    return path


def write_dataset(folder: Path, episodes: int = 3) -> Path:
    """A dataset of two files."""
    paths = [stage_episode(folder.parent / f'e{n}.parquet', n, 5 + n) for n in range(episodes)]
    writing = writer(folder)
    writing.append(paths[:2])
    writing.append(paths[2:])
    return folder
