"""Success over many seeded episodes, in several workers, several modes on the same seeds."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import ImageArray, Observation, SkipPlan
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.evaluation.episodes import (
    PHASES,
    EpisodeResult,
    EpisodeSpec,
    arm_limits,
    run_episode,
)
from dysl_vla_ros.evaluation.latency import ceiling
from dysl_vla_ros.evaluation.statistics import paired_difference, wilson_interval
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Pass, Policy, open_policy
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.goals import FAMILIES, Family, Split
from dysl_vla_ros.sim.robot_description import urdf
from dysl_vla_ros.sim.tasks import draw_episode, nameable_goals
from dysl_vla_ros.sim.wording import instruction, phrasings
from dysl_vla_ros.sim.world import World

Mode = Literal['full', 'auto', 'max_skip', 'static_only', 'random']
MODES: tuple[Mode, ...] = get_args(Mode)
Probe = Literal['none', 'shuffled_instruction', 'blank_image']
PROBES: tuple[Probe, ...] = get_args(Probe)


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate.

    Attributes:
        bundle: Folder of the bundle; empty for the bundled model.
        modes: The first one is the reference of the paired comparison.
        episodes: Per family.
        first_seed: Seeds count up from here.
        families: Task families.
        split: Scenes and phrasings.
        latency: Seconds per pass in simulated time; None takes what each pass measures.
        time_limit: Simulated seconds per episode.
        workers: Processes.
        random_depth: Mean share of dynamic layers that ``random`` runs.
        probe: Whether the policy reads and sees: another instruction, or no image.
        config: Parameters of the control loop.
    """

    bundle: str = ''
    modes: tuple[Mode, ...] = ('full', 'auto')
    episodes: int = 25
    first_seed: int = 1_000_000
    families: tuple[Family, ...] = FAMILIES
    split: Split = 'train'
    latency: float | None = None
    time_limit: float = 30.0
    workers: int = 1
    random_depth: float = 0.5
    probe: Probe = 'none'
    config: NodeConfig = NodeConfig()

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError('modes', mode, 'one of ' + ', '.join(MODES))
        for family in self.families:
            if family not in FAMILIES:
                raise ConfigError('families', family, 'one of ' + ', '.join(FAMILIES))
        if self.probe not in PROBES:
            raise ConfigError('probe', self.probe, 'one of ' + ', '.join(PROBES))
        if self.episodes < 1:
            raise ConfigError('episodes', self.episodes, 'at least 1')
        if self.workers < 1:
            raise ConfigError('workers', self.workers, 'at least 1')
        if not 0 <= self.random_depth <= 1:
            raise ConfigError('random_depth', self.random_depth, 'within [0, 1]')

    def specs(self) -> tuple[EpisodeSpec, ...]:
        """The episodes, the same for every mode."""
        return tuple(
            EpisodeSpec(self.first_seed + index, family, self.split, time_limit=self.time_limit)
            for family in self.families
            for index in range(self.episodes)
        )


class PlannedPolicy:
    """A policy whose skip plan is chosen here instead of by the skip policy (baselines)."""

    def __init__(self, policy: Policy, choose: Callable[[], SkipPlan]) -> None:
        """Wrap an opened policy."""
        self._policy = policy
        self._choose = choose
        self.manifest = policy.manifest

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Ignore the plan that was asked for."""
        return self._policy.predict(observation, self._choose())

    def rerun(self, first: Pass) -> Pass:
        """As the wrapped policy."""
        return self._policy.rerun(first)


def mode_policy(policy: Policy, mode: Mode, depth: float, seed: int) -> Any:
    """The policy of a mode: as it is, or with every plan replaced."""
    layout = policy.manifest.layout
    if mode == 'static_only':
        plan = SkipPlan(layout.open_plan().allow, 'open')
        return PlannedPolicy(policy, lambda: plan)
    if mode == 'random':
        generator = np.random.default_rng(seed)

        def choose() -> SkipPlan:
            # A Beta distribution with this mean; 0 and 1 are its limits.
            mean = min(max(depth, 1e-3), 1 - 1e-3)
            shares = generator.beta(2 * mean, 2 * (1 - mean), len(layout.segments))
            allow = tuple(
                first + round(float(share) * (end - first))
                for share, (first, end) in zip(shares, layout.segments, strict=True)
            )
            return SkipPlan(allow, 'open')

        return PlannedPolicy(policy, choose)
    return policy


def mode_config(config: NodeConfig, mode: Mode) -> NodeConfig:
    """The control loop's parameters for a mode; baselines have no post-skip verification."""
    if mode in ('static_only', 'random', 'max_skip'):
        config = replace(config, rerun=replace(config.rerun, enabled=False))
    skip_mode = mode if mode in ('full', 'max_skip') else 'auto'
    return replace(config, skip=replace(config.skip, mode=skip_mode))


def evaluate(
    options: EvaluateOptions, on_result: Callable[[Mode, EpisodeResult], None] | None = None
) -> dict[str, Any]:
    """Run every mode on the same episodes.

    Args:
        options: What to run.
        on_result: Called after each episode, for a progress bar.

    Returns:
        A JSON document: one entry per mode, and paired differences to the first mode.
    """
    results: dict[Mode, dict[EpisodeSpec, EpisodeResult]] = {mode: {} for mode in options.modes}
    jobs = [(mode, spec) for spec in options.specs() for mode in options.modes]
    for mode, spec, result in _run_all(options, jobs):
        results[mode][spec] = result
        if on_result is not None:
            on_result(mode, result)
    reference = results[options.modes[0]]
    document: dict[str, Any] = {'modes': {}, 'paired': {}}
    for mode, by_spec in results.items():
        document['modes'][mode] = summary([by_spec[spec] for spec in options.specs()])
        if mode != options.modes[0]:
            loss, low, high = paired_difference(
                [reference[spec].success for spec in options.specs()],
                [by_spec[spec].success for spec in options.specs()],
            )
            document['paired'][mode] = {'loss': loss, 'low': low, 'high': high}
    return document


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Success, depth, re-runs and latency of one mode."""
    wins = sum(result.success for result in results)
    chunks = sum(result.chunks for result in results)
    layers = sum(result.layers_run for result in results)
    total = results[0].layers_total
    passes = np.array([s for result in results for s in result.pass_seconds] or [0.0]) * 1e3
    backbone = np.array([s for result in results for s in result.backbone_seconds] or [0.0]) * 1e3
    share = float(backbone.sum() / passes.sum()) if passes.sum() else 0.0
    depth = layers / (total * chunks) if chunks else 1.0
    return {
        'episodes': len(results),
        'successes': wins,
        'success_rate': wins / len(results),
        'success_interval': wilson_interval(wins, len(results)),
        'families': {
            family: _family([r for r in results if r.spec.family == family])
            for family in FAMILIES
            if any(r.spec.family == family for r in results)
        },
        'layers_run_mean': layers / chunks if chunks else float(total),
        'layers_total': total,
        'depth': depth,
        'depth_by_phase': {phase: _phase_depth(results, phase, total) for phase in PHASES},
        'rerun_rate': sum(result.reruns for result in results) / max(chunks, 1),
        'actions_median': float(np.median([result.actions for result in results])),
        'seconds_median': float(np.median([result.seconds for result in results])),
        'pass_ms': dict(
            zip(('p50', 'p95'), np.percentile(passes, (50, 95)).tolist(), strict=True)
        ),
        'backbone_ms_mean': float(backbone.mean()),
        'backbone_share': share,
        'end_to_end_ceiling': ceiling(share, min(depth, 1.0)),
        'hold_ratio': sum(r.holds for r in results) / max(sum(r.commands for r in results), 1),
        'limited_commands': sum(result.limited for result in results),
    }


def _family(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    wins = sum(result.success for result in results)
    return {
        'episodes': len(results),
        'success_rate': wins / len(results),
        'success_interval': wilson_interval(wins, len(results)),
    }


def _phase_depth(results: Sequence[EpisodeResult], phase: str, total: int) -> float | None:
    layers = sum(result.phase_layers[phase][0] for result in results)
    chunks = sum(result.phase_layers[phase][1] for result in results)
    return layers / (chunks * total) if chunks else None


# ---- workers -------------------------------------------------------------------------------

_Job = tuple[Mode, EpisodeSpec]


class _Bench:
    """One worker's policy and world, opened once."""

    def __init__(self, options: EvaluateOptions) -> None:
        self.options = options
        self.policy = open_policy(replace(options.config.engine, path=options.bundle))
        self.world = World()
        action = self.policy.manifest.action
        kinematics = ArmKinematics(urdf(), arm.JOINT_NAMES, action.tip_link, action.frame_id)
        self.planner = MotionPlanner(action, arm_limits(options.config), kinematics)

    def run(self, job: _Job) -> tuple[Mode, EpisodeSpec, EpisodeResult]:
        mode, spec = job
        options = self.options
        told = spec
        if options.probe == 'shuffled_instruction':
            told = replace(spec, instruction=_another_instruction(spec))
        result = run_episode(
            self.world,
            mode_policy(self.policy, mode, options.random_depth, spec.seed),
            self.planner,
            mode_config(options.config, mode),
            told,
            latency=options.latency,
            image_filter=_blank if options.probe == 'blank_image' else None,
        )
        return mode, spec, result


def _another_instruction(spec: EpisodeSpec) -> str:
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


def _start_worker(options: EvaluateOptions) -> None:
    global _bench
    _bench = _Bench(options)


def _work(job: _Job) -> tuple[Mode, EpisodeSpec, EpisodeResult]:
    assert _bench is not None
    return _bench.run(job)


def _run_all(
    options: EvaluateOptions, jobs: Sequence[_Job]
) -> Iterator[tuple[Mode, EpisodeSpec, EpisodeResult]]:
    if options.workers == 1:
        bench = _Bench(options)
        for job in jobs:
            yield bench.run(job)
        return
    # Each worker is one process with one thread: two on one core would spoil the latencies.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    context = multiprocessing.get_context('spawn')
    with context.Pool(options.workers, _start_worker, (options,)) as pool:
        yield from pool.imap_unordered(_work, jobs)


def bundle_name(path: str) -> str:
    """What a report calls the bundle."""
    return Path(path).name if path else 'bundled model'
