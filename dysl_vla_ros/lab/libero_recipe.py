"""From nothing to a bundle for one LIBERO suite.

The recipe of the bundled policy in a world that others know: scripted demonstrations, dense
training with early exits, corrections of where that policy went (DAgger), static layers,
distillation, export; guidance and skip mode from what the policy did at starts that are not the
official ones. Every stage leaves a file; a stage whose file exists is not run again, and is
refused where it was made by other numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.folder import open_bundle, write_manifest
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf, Stages
from dysl_vla_ros.lab.data.batches import Augmentation
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.lab.data.libero import LiberoCollect, collect_libero, load_libero, load_run
from dysl_vla_ros.lab.data.observation_file import MOST, OBSERVATIONS, write_observations
from dysl_vla_ros.lab.evaluation.choice import DENSE, by_rate, rows_within, with_mode
from dysl_vla_ros.lab.evaluation.decision import decide
from dysl_vla_ros.lab.evaluation.libero import LiberoOptions, LiberoTask, evaluate_libero
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.record import ScoredPolicy
from dysl_vla_ros.lab.evaluation.world import play_episode
from dysl_vla_ros.lab.export.onnx_export import export_bundle
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
from dysl_vla_ros.lab.guidance.guidance import equal_weights, guidance
from dysl_vla_ros.lab.learn.dense import DenseSettings, fit, forget_states, train_dense
from dysl_vla_ros.lab.learn.distill import DistillSettings
from dysl_vla_ros.lab.learn.distilling import distil_checkpoint, note_size
from dysl_vla_ros.lab.learn.layer_choice import choose_layers, chosen_layers
from dysl_vla_ros.lab.learn.made_of import checkpoint_of, shaping
from dysl_vla_ros.lab.learn.train import TrainSettings
from dysl_vla_ros.lab.libero_corrections import FIRST_SEED, correct_libero
from dysl_vla_ros.lab.model.checkpoint import (
    Checkpoint,
    all_static,
    load_checkpoint,
    save_checkpoint,
    with_card,
)
from dysl_vla_ros.lab.model.robot_contract import RobotContract
from dysl_vla_ros.lab.model.shapes import TOY_NETWORK
from dysl_vla_ros.lab.workspace import Workspace
from dysl_vla_ros.lab.worlds.libero.client import LiberoClient
from dysl_vla_ros.lab.worlds.libero.suites import JOINTS, PERIOD_S, STARTS
from dysl_vla_ros.policy import open_policy

ROBOT = RobotContract(
    joint_names=tuple(f'panda_joint{number}' for number in range(1, JOINTS + 1)),
    period_s=PERIOD_S, frame_id='panda_link0', tip_link='panda_grasp',
    delta_reference='measured',
)  # fmt: skip
_GRIPPER_WEIGHT = 2.0


@dataclass(frozen=True)
class LiberoRound:
    """One DAgger round: the policy leads, the expert goes on, train on with what was added.

    Attributes:
        episodes: Corrections per scene.
        train: On everything that is there then.
    """

    episodes: int
    train: TrainSettings


@dataclass(frozen=True)
class LiberoRecipe:
    """All numbers of a run.

    Attributes:
        collect: Demonstrations.
        ground: Warm-up of vision, words and lower layers.
        train: The training, with early exits.
        distill: Both stages.
        rounds: DAgger rounds after the training.
        network: Changes to the network's default shape.
        rank: Of the adapters; 0 is width / 16.
        static_share: Of the layers.
        depth: Layers run / all layers that the guidance is fitted to; 0 takes quantiles.
        record: Episodes per task of the recording for the guidance.
        compare: Episodes per task and skip mode, by which the bundle's mode is chosen; 0 leaves
            it at ``auto``.
        replan: Actions played of each chunk in that recording.
        seed: Of weights and order.
    """

    collect: LiberoCollect
    ground: TrainSettings | None
    train: TrainSettings
    distill: DistillSettings
    rounds: tuple[LiberoRound, ...] = ()
    network: dict[str, Any] = field(default_factory=dict)
    rank: int = 64
    static_share: float = 0.2
    depth: float = 0.46
    record: int = 2
    compare: int = 2
    replan: int = 8
    seed: int = 0


def libero_preset(name: str, suite: str, workers: int, on_gpu: bool) -> LiberoRecipe:
    """The numbers of ``full`` or ``toy``."""
    if name == 'toy':
        few = TrainSettings(steps=4, batch=8, warmup=1, note_every=2)
        return LiberoRecipe(
            collect=LiberoCollect(suite, episodes=1, tasks=(0,), workers=workers),
            ground=None, train=few,
            distill=DistillSettings(adapter_steps=2, controller_steps=2, batch=8),
            rounds=(LiberoRound(1, few),), network=TOY_NETWORK,
            rank=4, record=1, compare=0, depth=0.0,
        )  # fmt: skip
    batch = 256 if on_gpu else 64
    train = TrainSettings(
        steps=12_000 if on_gpu else 6000, batch=batch, learning_rate=7e-4, warmup=200, ema=0.998,
        note_every=50, exits=2, exit_layers=(5, 10), save_every_s=60.0,
        augmentation=Augmentation(shift=3, gain=0.2, tint=0.05, noise=0.05),
    )  # fmt: skip
    return LiberoRecipe(
        collect=LiberoCollect(suite, episodes=120, workers=workers),
        ground=replace(train, steps=1500, exits=0, exit_layers=(0, 0)),
        train=train,
        # No stage 1: after early exits the bare state is the better start.
        distill=DistillSettings(adapter_steps=0, controller_steps=600, batch=32,
                                controller_rate=2e-3, joint_rate=1e-3, skip_weight=0.012,
                                positions=8),
        rounds=(LiberoRound(24, replace(train, steps=1500, learning_rate=3e-4, warmup=50)),),
        network={'layers': 16, 'width': 160, 'auxiliary_layer': 5},
    )  # fmt: skip


def run_libero(recipe: LiberoRecipe, space: Workspace, until: str = 'bundle') -> Path:
    """Run the stages up to ``until``.

    Args:
        recipe: All numbers.
        space: Gets one file per stage.
        until: ``demonstrations``, ``dense``, ``dagger``, ``policy`` or ``bundle``.

    Raises:
        ConfigError: There are no rounds to end with.
    """
    if until == 'dagger' and not recipe.rounds:
        raise ConfigError('until', until, 'dense, policy or bundle: the recipe has no round')
    folder = space.folder
    space.report['recipe'] = dataclasses.asdict(recipe)
    there = collect_libero(
        folder / 'demonstrations',
        recipe.collect,
        lambda done, of: space.progress('demonstrations', done, of, {}),
    )
    space.note('demonstrations', episodes=there, suite=recipe.collect.suite)
    if until == 'demonstrations':
        return folder / 'demonstrations'
    data = load_libero(folder / 'demonstrations', recipe.collect.episodes)
    space.note('data', frames=data.frames, samples=data.samples)
    stages = Stages(folder, space.say, space.main)
    dense = {
        'suite': recipe.collect.suite, 'episodes': recipe.collect.episodes,
        'tasks': list(recipe.collect.tasks), 'network': recipe.network, 'seed': recipe.seed,
        'ground': None if recipe.ground is None else shaping(recipe.ground, 'batch'),
        'train': shaping(recipe.train, 'batch'),
    }  # fmt: skip
    checkpoint = _made(stages, folder / 'dense.safetensors', dense,
                       lambda: _dense(recipe, data, space))  # fmt: skip
    if until == 'dense':
        return folder / 'dense.safetensors'
    if recipe.rounds:
        del data  # gigabytes, which a round reads together with its own
        for number, plan in enumerate(recipe.rounds, start=1):
            made_of = {'start': checkpoint_of(checkpoint), 'episodes': plan.episodes,
                       'train': shaping(plan.train, 'batch'), 'replan': recipe.replan}  # fmt: skip
            make = partial(_corrected, recipe, plan, number, checkpoint, space, stages)
            checkpoint = _made(stages, folder / f'dagger_{number}.safetensors', made_of, make)
        if until == 'dagger':
            return folder / f'dagger_{len(recipe.rounds)}.safetensors'
        data = load_run(folder, recipe.collect.episodes)
    made_of = {'start': checkpoint_of(checkpoint), 'distill': shaping(recipe.distill, 'batch'),
               'rank': recipe.rank, 'static_share': recipe.static_share,
               'seed': recipe.seed}  # fmt: skip
    checkpoint = _made(stages, folder / 'policy.safetensors', made_of,
                       lambda: _distilled(recipe, checkpoint, data, space))  # fmt: skip
    note_size(checkpoint, space)
    if until == 'policy':
        return folder / 'policy.safetensors'
    bundle = space.results / 'bundle'
    made_of = {'start': checkpoint_of(checkpoint), 'depth': recipe.depth, 'record': recipe.record,
               'compare': recipe.compare, 'replan': recipe.replan}  # fmt: skip
    if not stages.there(bundle, made_of):
        uncalibrated = space.folder / 'uncalibrated'
        export_bundle(checkpoint, uncalibrated, recipe.collect.suite, robot=ROBOT)
        _calibrate(recipe, uncalibrated, space)
        if recipe.compare:
            _choose_mode(recipe, uncalibrated, space)
        stages.note(bundle, made_of)
        uncalibrated.rename(bundle)
    _observations(space.results / OBSERVATIONS, data)
    return bundle


def _made(
    stages: Stages, path: Path, made_of: MadeOf, make: Callable[[], Checkpoint]
) -> Checkpoint:
    if not stages.there(path, made_of):
        checkpoint = make()
        stages.note(path, made_of)
        save_checkpoint(path, checkpoint)
    return load_checkpoint(path)


def _dense(recipe: LiberoRecipe, data: Demonstrations, space: Workspace) -> Checkpoint:
    settings = DenseSettings(recipe.ground, recipe.train, recipe.network, seed=recipe.seed)
    found = train_dense(data, settings, space)
    forget_states(space, 'ground', 'train')
    card = {key: value for key, value in space.report.items() if key != 'recipe'}
    return with_card(found, world='libero', suite=recipe.collect.suite, recipe=card)


def _corrected(
    recipe: LiberoRecipe, plan: LiberoRound, number: int, checkpoint: Checkpoint,
    space: Workspace, stages: Stages,
) -> Checkpoint:  # fmt: skip
    """Where the policy went, and a training on that and on all there was before."""
    before, name = space.folder / f'before_{number}', f'train_{number}'
    start = {'start': checkpoint_of(checkpoint)}
    if not stages.there(before, start):
        stages.note(before, start)
        export_bundle(all_static(checkpoint), before, recipe.collect.suite, robot=ROBOT)
    settings = replace(recipe.collect, episodes=plan.episodes,
                       first_seed=FIRST_SEED * number)  # fmt: skip
    there = correct_libero(
        space.folder / 'corrections' / f'round_{number}', before, settings,
        lambda done, of: space.progress(f'corrections {number}', done, of, {}), recipe.replan,
    )  # fmt: skip
    space.note(f'corrections_{number}', episodes=there)
    data = load_run(space.folder, recipe.collect.episodes)
    found = fit(name, checkpoint, data, plan.train, space)
    forget_states(space, name)
    return replace(checkpoint, network=found.network)


def _distilled(
    recipe: LiberoRecipe, checkpoint: Checkpoint, data: Demonstrations, space: Workspace
) -> Checkpoint:
    checkpoint = choose_layers(checkpoint, data, space, recipe.static_share)
    layout = chosen_layers(checkpoint)
    assert layout is not None
    found = distil_checkpoint(checkpoint, layout, data, recipe.distill, space, recipe.rank,
                              seed=recipe.seed)  # fmt: skip
    forget_states(space, 'distill')
    return found


def _calibrate(recipe: LiberoRecipe, folder: Path, space: Workspace) -> None:
    """Guidance from the policy's own chunks, at starts that no evaluation uses."""
    manifest = open_bundle(folder).manifest
    policy = ScoredPolicy(open_policy(EngineConfig(path=str(folder))))
    config = with_bundle(mode_config(NodeConfig(), Row('auto')), manifest)
    episodes: list[list[RecordedPass]] = []
    total, won = recipe.record * len(recipe.collect.tasks), 0
    with LiberoClient() as client:
        for task in recipe.collect.tasks:
            world = LiberoTask(client, recipe.collect.suite, task, recipe.collect.keep)
            for number in range(recipe.record):
                chunks: list[RecordedPass] = []
                played = play_episode(
                    world, policy, config, STARTS + number, world.instruction, recipe.replan,
                    on_chunk=lambda one, chunks=chunks: chunks.append(  # type: ignore[misc]
                        RecordedPass(one.passes[-1].normalised.astype(np.float64), one.played,
                                     one.passes[-1].trace.scores)
                    ),
                )  # fmt: skip
                episodes.append(chunks)
                won += played.success
                space.progress('recording', len(episodes), total, {'won': won})
    space.note('recording', episodes=total, won=won)
    weights = (*equal_weights(manifest.action.dim - 1), _GRIPPER_WEIGHT)
    spec = guidance(episodes, manifest.layout, space, weights, drop_rate=0.1, rule='level',
                    depth=recipe.depth)  # fmt: skip
    write_manifest(folder, replace(manifest, calibration=spec))


def _choose_mode(recipe: LiberoRecipe, folder: Path, space: Workspace) -> None:
    """The shallowest mode that is as good as the best, at starts of neither kind.

    Nobody asked for a budget, so that none costs success. Where the episodes cannot decide, the
    mode stays.
    """
    manifest = open_bundle(folder).manifest
    rows = rows_within(manifest.layers_total, 0.0)
    collect = recipe.collect
    options = LiberoOptions(
        collect.suite, rows, str(folder), collect.tasks, recipe.compare, STARTS + recipe.record,
        thin=collect.keep, replan=recipe.replan, workers=collect.workers,
    )  # fmt: skip
    count, done = len(rows) * len(collect.tasks) * recipe.compare, itertools.count(1)
    found = evaluate_libero(
        options, None, lambda one: space.progress('modes', next(done), count, {})
    )
    won = {row: [bool(one[2]) for one in found['episodes'][row.name]] for row in rows}
    candidates = by_rate({row: found['rows'][row.name] for row in rows})
    decision = decide(candidates, won, DENSE, manifest.layers_total)
    chosen = None if decision.row is None else decision.row.name
    space.write('modes.json', {'chosen': chosen, 'told': decision.told,
                               **{key: found[key] for key in ('rows', 'paired')}})  # fmt: skip
    space.note('modes', chosen=chosen, told=decision.told,
               episodes=recipe.compare * len(collect.tasks))  # fmt: skip
    if decision.row is not None:
        spec = replace(manifest.calibration, **with_mode(manifest.calibration, decision.row))
        write_manifest(folder, replace(manifest, calibration=spec))


def _observations(path: Path, data: Demonstrations) -> None:
    """Some states of the demonstrations, far apart: no passes in turn."""
    chosen = np.flatnonzero(data.own)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(MOST, len(chosen))).astype(int)]
    when = {}
    if data.episode is not None:
        frames = data.frame[chosen]
        episode = data.episode[frames]
        first = np.searchsorted(data.episode, episode)
        when = {'episode': episode, 'stamp': PERIOD_S * (frames - first)}
    write_observations(path, data, chosen, 1, when)
