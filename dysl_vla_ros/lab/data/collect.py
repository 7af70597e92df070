"""Demonstrations: the scripted expert, disturbed on purpose, or a policy that it corrects.

Every frame is labelled with clean expert chunks for several goals. Worker processes write one
file per finished episode; the parent joins them, in order of their seeds, into the dataset. An
interrupted collection loses the episodes that were being played, one per worker, and goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import check_same, file_digest
from dysl_vla_ros.lab.children import child_pool
from dysl_vla_ros.lab.data.contract import FPS, ROBOT, contract, goal_names
from dysl_vla_ros.lab.data.dataset_format import OURS, read_document
from dysl_vla_ros.lab.data.dataset_writer import DatasetWriter
from dysl_vla_ros.lab.data.episode_record import (
    EpisodeFrame,
    EpisodeHeader,
    episode_table,
    save_episode,
)
from dysl_vla_ros.lab.worlds.cell import CAMERA_SIZES, Cell, EpisodeSpec, label_state
from dysl_vla_ros.sim.goals import FAMILIES, Split
from dysl_vla_ros.sim.noise import Noise
from dysl_vla_ros.sim.rollout import expert_episode
from dysl_vla_ros.sim.world import World

Progress = Callable[[int, int], None]
STAGING = '.episodes'
"""Folder, inside the dataset, of finished episodes that are not joined yet."""


@dataclass(frozen=True)
class CollectSettings:
    """What to collect.

    Attributes:
        episodes: Number of episodes; families take turns.
        first_seed: Of the first episode; the others count up.
        per_file: Episodes per data file.
        keep: Chance that a frame of free motion is kept; all others are. Below 1 the frames of
            an episode are no longer equally spaced, which their time stamps show.
        label_goals: Most goals labelled per frame, the episode's own included.
        noise: Factor on the disturbances; every fourth episode has half of it.
        workers: Processes.
        max_seconds: With more than 0, no new episode is begun after this time.
        split: Scenes and phrasings.
        policy: Checkpoint that plays in place of the expert, which then corrects it.
        mode: How the policy runs: ``full``, ``live`` or ``static``.
        max_actions: Longest episode of a policy.
    """

    episodes: int
    first_seed: int = 10_000_000
    per_file: int = 50
    keep: float = 0.4
    label_goals: int = 10
    noise: float = 1.0
    workers: int = 1
    max_seconds: float = 0.0
    split: Split = 'train'
    policy: str = ''
    mode: str = 'full'
    max_actions: int = 300

    def __post_init__(self) -> None:
        """Refuse what would collect nothing."""
        for name in ('episodes', 'per_file', 'label_goals', 'workers', 'max_actions'):
            if getattr(self, name) < 1:
                raise ConfigError(f'collect.{name}', getattr(self, name), 'at least 1')
        if not 0.0 < self.keep <= 1.0:
            raise ConfigError('collect.keep', self.keep, 'more than 0, at most 1')
        if self.noise < 0:
            raise ConfigError('collect.noise', self.noise, 'at least 0')
        if self.policy and not Path(self.policy).is_file():
            raise ConfigError('collect.policy', self.policy, 'a checkpoint written by dysl train')

    def described(self) -> dict[str, Any]:
        """What decides the content of an episode; the rest may change between two calls."""
        free = ('episodes', 'per_file', 'workers', 'max_seconds')
        return {name: value for name, value in asdict(self).items() if name not in free}


def collect(folder: Path, settings: CollectSettings, progress: Progress | None = None) -> int:
    """Collect what is missing in ``folder``; return the number of episodes in the dataset.

    Raises:
        ConfigError: The folder holds a dataset, or finished episodes of one, that was made in
            another way.
    """
    _check_player(settings)
    columns = contract(settings.label_goals).columns
    ours = {'format': 'dysl_demonstrations_1', 'goals': goal_names(),
            'collection': settings.described(), **_player(folder, settings)}  # fmt: skip
    # Until the first of them are joined, the dataset itself does not know of finished episodes.
    if (folder / OURS).is_file() and any((folder / STAGING).glob('episode-*')):
        check_same(folder, read_document(folder / OURS, 'written by dysl collect'), ours)
    writer = DatasetWriter(folder, columns, FPS, ROBOT, ours)
    waiting = [n for n in range(writer.episodes, settings.episodes)
               if not staged(folder, n).is_file()]  # fmt: skip
    began = time.monotonic()
    _join(folder, writer, settings, last=not waiting)
    done = settings.episodes - len(waiting)
    if progress is not None:
        progress(min(done, settings.episodes), settings.episodes)
    if waiting:
        processes = min(settings.workers, len(waiting))
        with child_pool(processes, _start_worker, (folder, settings)) as pool:
            for _ in pool.imap_unordered(_collect_episode, waiting):
                done += 1
                if progress is not None:
                    progress(done, settings.episodes)
                _join(folder, writer, settings)
                if settings.max_seconds and time.monotonic() - began > settings.max_seconds:
                    break
        _join(folder, writer, settings, last=True)
    return writer.episodes


def _check_player(settings: CollectSettings) -> None:
    """A policy of another robot sees and moves what is not there."""
    if not settings.policy:
        return
    # torch is imported only where a network runs: it takes seconds.
    from dysl_vla_ros.lab.model.checkpoint import load_tensors

    robot = load_tensors(Path(settings.policy))[1].get('robot')
    if robot is not None:
        raise ConfigError('policy', settings.policy, 'a checkpoint of the simulated arm: this one '
                          f'is of a robot with {", ".join(robot.get("joint_names", ())) or "none"}'
                          )  # fmt: skip


def _player(folder: Path, settings: CollectSettings) -> dict[str, str]:
    """Digest of the policy that plays; a dataset that was begun without it goes on without."""
    begun = folder / OURS
    known = not begun.is_file() or 'player' in read_document(begun, 'written by dysl collect')
    return {'player': file_digest(Path(settings.policy))} if settings.policy and known else {}


def staged(folder: Path, number: int) -> Path:
    """File of a finished episode that is not joined yet."""
    return folder / STAGING / f'episode-{number:06d}.parquet'


def _join(
    folder: Path, writer: DatasetWriter, settings: CollectSettings, last: bool = False
) -> None:
    """Append finished episodes, whole files at a time, in order; the rest only at the end."""
    while True:
        first = writer.episodes
        paths = []
        for number in range(first, min(first + settings.per_file, settings.episodes)):
            path = staged(folder, number)
            if not path.is_file():
                break
            paths.append(path)
        if not paths or (len(paths) < settings.per_file and not last):
            break
        writer.append(paths)
        for path in paths:
            path.unlink()
    if last and writer.episodes >= settings.episodes:
        # What a worker had begun to write when it was killed is of an episode that is whole now.
        for left in (folder / STAGING).glob('.episode-*'):
            left.unlink()
    if last and (folder / STAGING).is_dir() and not any((folder / STAGING).iterdir()):
        (folder / STAGING).rmdir()


# ---- workers -----------------------------------------------------------------------------------


class _Worker:
    """One process: a world, and the policy where one plays."""

    def __init__(self, folder: Path, settings: CollectSettings) -> None:
        self.folder, self.settings = folder, settings
        self.columns = contract(settings.label_goals).columns
        self.cell = Cell()
        self.policy: Any = None
        if settings.policy:
            # torch is imported only where a network runs: it takes seconds.
            import torch

            from dysl_vla_ros.lab.learn.closed_loop import NetworkPolicy
            from dysl_vla_ros.lab.model.checkpoint import load_checkpoint

            torch.set_num_threads(1)
            checkpoint = load_checkpoint(Path(settings.policy))
            self.policy = NetworkPolicy(checkpoint, torch.device('cpu'), settings.mode)

    def record(self, number: int) -> None:
        """Play, label and store one episode."""
        settings = self.settings
        seed, family = settings.first_seed + number, FAMILIES[number % len(FAMILIES)]
        generator = np.random.default_rng([seed, 23])
        if self.policy is None:
            frames = list(_expert_frames(self.cell.world, number, settings, generator))
        else:
            from dysl_vla_ros.lab.data.correction import correction_episode
            from dysl_vla_ros.lab.learn.closed_loop import Timing

            spec = EpisodeSpec(seed, family, settings.split, settings.max_actions)
            played = correction_episode(self.cell, spec, self.policy, Timing(),
                                        settings.label_goals, generator)  # fmt: skip
            frames = [
                frame for frame in played
                if frame.phase != 'reach' or generator.random() <= settings.keep
            ]  # fmt: skip
        world = self.cell.world
        header = EpisodeHeader(
            world.episode.instruction, seed, family, settings.split,
            'expert' if self.policy is None else 'policy', bool(world.success()),
        )  # fmt: skip
        table = episode_table(frames, header, self.columns, FPS)
        save_episode(staged(self.folder, number), table)


def _expert_frames(
    world: World, number: int, settings: CollectSettings, generator: np.random.Generator
) -> Iterator[EpisodeFrame]:
    factor = settings.noise * (0.5 if number // len(FAMILIES) % 4 == 0 else 1.0)
    episode = expert_episode(
        settings.first_seed + number, FAMILIES[number % len(FAMILIES)],
        noise=Noise().scaled(factor) if factor else None, split=settings.split, cameras={},
        world=world,
    )  # fmt: skip
    for count, frame in enumerate(episode):
        if frame.phase == 'reach' and generator.random() > settings.keep:
            continue
        # The frame was yielded before its action is played, so the world still shows it.
        labels = label_state(world.episode, frame.expert_state, settings.label_goals, generator)
        yield EpisodeFrame(
            images={name: world.render(name, size) for name, size in CAMERA_SIZES.items()},
            state=np.array([*frame.joints, frame.opening], dtype=np.float32),
            action=frame.action.astype(np.float32),
            played=frame.played.astype(np.float32),
            phase=str(frame.phase),
            number=count,
            labels=labels,
        )


_worker: _Worker | None = None


def _start_worker(folder: Path, settings: CollectSettings) -> None:
    global _worker
    os.environ['OMP_NUM_THREADS'] = '1'
    _worker = _Worker(folder, settings)


def _collect_episode(number: int) -> int:
    assert _worker is not None
    _worker.record(number)
    return number
