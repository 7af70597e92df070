"""The processes that play the episodes of an evaluation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.open_engine import folder_of
from dysl_vla_ros.lab.children import child_pool
from dysl_vla_ros.lab.evaluation.bench_observations import simulated
from dysl_vla_ros.lab.evaluation.broker import broker_episode
from dysl_vla_ros.lab.evaluation.deer import DeerPolicy, exit_steps, thresholds
from dysl_vla_ros.lab.evaluation.episodes import (
    EpisodeResult,
    EpisodeSpec,
    arm_planner,
    run_episode,
)
from dysl_vla_ros.lab.evaluation.exits import OraclePolicy, goal_distance
from dysl_vla_ros.lab.evaluation.film import Filming
from dysl_vla_ros.lab.evaluation.link_weather import Weather, WeatherLink
from dysl_vla_ros.lab.evaluation.modes import NOISY, STREAMED, Row, mode_config, mode_policy
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.paced import PacedPolicy
from dysl_vla_ros.lab.evaluation.paces import Paces
from dysl_vla_ros.lab.evaluation.served import own_link, remote_policy
from dysl_vla_ros.lab.evaluation.streamed import streamed_episode
from dysl_vla_ros.lab.evaluation.videos import Shelf, taken_places
from dysl_vla_ros.lab.evaluation.weight_noise import NoisyIn, noisy_copy
from dysl_vla_ros.policy import Policy, open_policy
from dysl_vla_ros.remote_policy import VerifiedPolicy
from dysl_vla_ros.sim.tasks import draw_episode, nameable_goals
from dysl_vla_ros.sim.wording import instruction, phrasings
from dysl_vla_ros.sim.world import World

_DEER_STATES, _DEER_SEED = 300, 32_000_000


@dataclass(frozen=True)
class Job:
    """One episode in one mode."""

    row: Row
    spec: EpisodeSpec


class _Bench:
    """One worker's policy and world, opened once."""

    def __init__(self, options: EvaluateOptions, taken: Any = None) -> None:
        self.options = options
        self.shelf = None if options.videos is None else Shelf(options.videos, taken)
        self.policy = open_policy(replace(options.config.engine, path=options.bundle))
        self.world = World()
        self.planner = arm_planner(self.policy.manifest.action, options.config)
        self._link: Any = None
        self._deer_steps: list[tuple[float, ...]] | None = None
        self._noisy_policies: dict[float, Policy] = {}

    def run(self, job: Job) -> tuple[Job, EpisodeResult]:
        options, told = self.options, job.spec
        if options.probe == 'shuffled_instruction':
            told = replace(told, instruction=another_instruction(told))
        link = self._link_of(job)
        if job.row.mode == 'broker':
            assert link is not None
            config, latency = options.config, options.latency or 0.0
            return job, broker_episode(
                self.world, self.policy, self.planner, config, told, link, latency
            )
        if job.row.mode in STREAMED:
            return job, replace(streamed_episode(
                self.world, self.policy, self.planner, options.config, told,
                options.latency or 0.0, job.row.mode == 'blend',
            ), spec=job.spec)  # fmt: skip
        policy = self._policy_of(job) if link is None else self._served(job, link)
        image_filter = _blank if options.probe == 'blank_image' else None
        filming = None
        if self.shelf is not None:
            filming = Filming(self.world, self.policy.manifest.cameras[0].name, image_filter)
        result = run_episode(
            self.world,
            policy,
            self.planner,
            mode_config(options.config, job.row),
            told,
            latency=options.latency,
            image_filter=image_filter if filming is None else filming.look,
            on_delivery=None if filming is None else filming.note,
            link=link,
            due=policy.due if job.row.mode == 'paced' else None,
        )
        if filming is not None:
            self._film(job, result, filming)
        seen = tuple(policy.seen) if job.row.mode == 'oracle' else ()
        return job, replace(result, spec=job.spec, seen=seen)

    def _film(self, job: Job, result: EpisodeResult, filming: Filming) -> None:
        """Keep a film of the episode, where it is one that is wanted and the model ran."""
        named = episode_name(job.spec)
        if self.shelf is None or not result.chunks:
            return
        if self.shelf.open_for(named, job.row.name, result.success):
            self.shelf.put(named, job.row.name, filming.film(result))

    def _link_of(self, job: Job) -> WeatherLink | None:
        """To a server in this process, over its sockets, where the row has one."""
        if not job.row.link:
            return None
        if self._link is None:
            self._link = own_link(self.policy, self.options.config)
        weather = Weather.read(job.row.link)
        return WeatherLink(self._link, weather, job.spec.seed, lambda: self.world.time)

    def _served(self, job: Job, link: WeatherLink) -> Any:
        config = self.options.config.engine
        server = remote_policy(self.policy, link, config.remote_deadline_s)
        if job.row.mode == 'remote':
            return server
        return VerifiedPolicy(
            self.policy, server, config.rerun_deadline_s, lambda: self.world.time
        )

    def _policy_of(self, job: Job) -> Any:
        if job.row.mode == 'oracle':
            return OraclePolicy(
                self.policy, job.row.tolerance,
                lambda: (self.world.phase(), goal_distance(self.world)),
            )  # fmt: skip
        if job.row.mode == 'deer':
            return DeerPolicy(self.policy, thresholds(self._steps(), job.row.ratio))
        if job.row.mode == 'paced':
            paces = Paces.read(job.row.pace, self.policy.manifest.layers_total)
            return PacedPolicy(self.policy, paces, lambda: goal_distance(self.world))
        if job.row.mode in NOISY:
            return NoisyIn(self.policy, self._noisy(job.row.noise), self.world.phase,
                           NOISY[job.row.mode])  # fmt: skip
        return mode_policy(self.policy, job.row, job.spec.seed)

    def _noisy(self, noise: float) -> Policy:
        """The same noise in every worker and for every row."""
        if noise not in self._noisy_policies:
            bundle = self.options.bundle
            source = folder_of(bundle)
            with tempfile.TemporaryDirectory(prefix='dysl_noise_') as folder:
                copy = noisy_copy(source, Path(folder) / 'bundle', noise)
                engine = replace(self.options.config.engine, path=str(copy))
                self._noisy_policies[noise] = open_policy(engine)
        return self._noisy_policies[noise]

    def _steps(self) -> list[tuple[float, ...]]:
        """Of the scripted expert's states: the same in every worker, none of them evaluated on."""
        if self._deer_steps is None:
            states = simulated(self.policy.manifest, _DEER_STATES, _DEER_SEED) or []
            self._deer_steps = [exit_steps(self.policy, state) for state in states]
        return self._deer_steps


def episode_name(spec: EpisodeSpec) -> str:
    """What the film of an episode is called, before the row and how it ended."""
    return f'{spec.seed}-{spec.family}'


def another_instruction(spec: EpisodeSpec) -> str:
    """An instruction of the same scene and family that names another object."""
    episode = draw_episode(spec.seed, spec.family, spec.split)
    goals = [
        goal
        for goal in nameable_goals(episode.things)
        if goal.family == spec.family and goal.target != episode.goal.target
    ] or [goal for goal in nameable_goals(episode.things) if goal.target != episode.goal.target]
    goal = goals[spec.seed % len(goals)]
    return instruction(episode.things, goal, phrasings(goal.relation)[0])


def _blank(camera: str, image: ImageArray) -> ImageArray:
    return np.full_like(image, 127)


_bench: _Bench | None = None


def _start_worker(options: EvaluateOptions, taken: Any) -> None:
    global _bench
    _bench = _Bench(options, taken)


def _work(job: Job) -> tuple[Job, EpisodeResult]:
    assert _bench is not None
    return _bench.run(job)


def run_all(
    options: EvaluateOptions, jobs: Sequence[Job]
) -> Generator[tuple[Job, EpisodeResult], None, None]:
    """Play the jobs in ``options.workers`` processes; results come as they are done.

    Where it is closed before the end, the processes end with what they are playing.
    """
    taken = None if options.videos is None else taken_places(options.videos)
    if options.workers == 1:
        bench = _Bench(options, taken)
        for job in jobs:
            yield bench.run(job)
        return
    # Each worker is one process with one thread: two on one core would spoil the latencies.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    with child_pool(options.workers, _start_worker, (options, taken)) as pool:
        yield from pool.imap_unordered(_work, jobs)
