"""Demonstrations from the scripted expert, disturbed on purpose and labelled for many goals.

Episodes are grouped into shards of files. A shard is written when its episodes are done, so an
interrupted collection loses at most one shard per process and goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.noise import Noise
from dysl_vla_ros.sim.rollout import Frame, expert_episode
from dysl_vla_ros.sim.world import World
from dysl_vla_ros.training.demonstrations import Demonstrations, save_shard
from dysl_vla_ros.training.stage import CAMERA_SIZES, Labels, label_state

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CollectSettings:
    """What to collect.

    Attributes:
        episodes: Number of episodes; families take turns.
        first_seed: Of the first episode; the others count up.
        per_shard: Episodes per file.
        keep: Chance that a frame of free motion is kept; all others are.
        label_goals: Goals labelled per frame, the episode's own included.
        noise: Factor on the disturbances; every fourth episode has half of it.
        workers: Processes.
        max_seconds: With more than 0, no new shard is begun after this time.
    """

    episodes: int
    first_seed: int = 10_000_000
    per_shard: int = 16
    keep: float = 0.4
    label_goals: int = 10
    noise: float = 1.0
    workers: int = 1
    max_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would collect nothing."""
        for name in ('episodes', 'per_shard', 'label_goals', 'workers'):
            if getattr(self, name) < 1:
                raise ConfigError(f'collect.{name}', getattr(self, name), 'at least 1')
        if not 0.0 < self.keep <= 1.0:
            raise ConfigError('collect.keep', self.keep, 'more than 0, at most 1')


def collect(
    folder: Path, settings: CollectSettings, progress: Progress | None = None
) -> list[Path]:
    """Collect what is missing in ``folder``; return the shards, in order of their seeds."""
    count = -(-settings.episodes // settings.per_shard)
    paths = [shard_path(folder, index) for index in range(count)]
    missing = [(index, paths[index], settings) for index in range(count)
               if not paths[index].is_file()]  # fmt: skip
    done = count - len(missing)
    began = time.monotonic()
    if progress is not None:
        progress(done, count)
    context = multiprocessing.get_context('spawn')
    with context.Pool(settings.workers, initializer=_one_thread) as pool:
        for _ in pool.imap_unordered(_collect_shard, missing):
            done += 1
            if progress is not None:
                progress(done, count)
            if settings.max_seconds and time.monotonic() - began > settings.max_seconds:
                break
    return [path for path in paths if path.is_file()]


def shard_path(folder: Path, index: int) -> Path:
    """File of shard ``index``."""
    return folder / f'episodes_{index:05d}.safetensors'


def _one_thread() -> None:
    os.environ['OMP_NUM_THREADS'] = '1'


def _collect_shard(job: tuple[int, Path, CollectSettings]) -> None:
    index, path, settings = job
    frames = FrameList()
    world = World()
    first = index * settings.per_shard
    for number in range(first, min(first + settings.per_shard, settings.episodes)):
        seed = settings.first_seed + number
        family = FAMILIES[number % len(FAMILIES)]
        generator = np.random.default_rng([seed, 23])
        factor = settings.noise * (0.5 if number // len(FAMILIES) % 4 == 0 else 1.0)
        episode = expert_episode(
            seed, family, noise=Noise().scaled(factor), cameras={}, world=world
        )
        for frame in episode:
            if frame.phase == 'reach' and generator.random() > settings.keep:
                continue
            _note(frames, world, frame, settings, generator)
    save_shard(path, frames.joined())


def _note(
    frames: FrameList,
    world: World,
    frame: Frame,
    settings: CollectSettings,
    generator: np.random.Generator,
) -> None:
    # The frame was yielded before its action is played, so the world still shows it.
    images = {name: world.render(name, size) for name, size in CAMERA_SIZES.items()}
    joints = np.array([*frame.joints, frame.opening], dtype=np.float32)
    labels = label_state(world.episode, frame.expert_state, settings.label_goals, generator)
    frames.add(images, joints, labels)


class FrameList:
    """Frames and their labels while they come in."""

    def __init__(self) -> None:
        self._images: dict[str, list[np.ndarray]] = {name: [] for name in CAMERA_SIZES}
        self._joints: list[np.ndarray] = []
        self._labels: list[Labels] = []

    def __len__(self) -> int:
        return len(self._joints)

    def add(self, images: dict[str, np.ndarray], joints: np.ndarray, labels: Labels) -> None:
        """Add one frame; the arrays must not change afterwards."""
        for name, image in images.items():
            self._images[name].append(image)
        self._joints.append(joints)
        self._labels.append(labels)

    def joined(self) -> Demonstrations:
        """All of it as arrays."""
        labels = self._labels
        counts = [len(entry.goal) for entry in labels]
        return Demonstrations(
            images={name: np.stack(images) for name, images in self._images.items()},
            proprioception=np.stack(self._joints),
            frame=np.repeat(np.arange(len(labels)), counts),
            goal=np.concatenate([entry.goal for entry in labels]),
            own=np.concatenate([entry.own for entry in labels]),
            chunk=np.concatenate([entry.chunk for entry in labels]),
            point=np.concatenate([entry.point for entry in labels]),
            offset=np.concatenate([entry.offset for entry in labels]),
        )
