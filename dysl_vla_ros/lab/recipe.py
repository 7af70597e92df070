"""From nothing to a bundle: the one documented way in which the shipped model was made.

    dysl recipe --preset full --folder runs/full --workers 16

collects demonstrations, trains the dense policy, corrects it where it went (DAgger), chooses the
static layers, distils adapters and controllers, calibrates the guidance, and exports. Every stage
leaves a file; a stage whose file exists is not run again, and is refused where it was made by
other numbers. ``--preset toy`` does the same in seconds with a network too small to succeed at
anything.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf, Stages
from dysl_vla_ros.lab.data.batches import Augmentation
from dysl_vla_ros.lab.data.collect import CollectSettings, collect
from dysl_vla_ros.lab.data.dataset_writer import is_dataset
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, join
from dysl_vla_ros.lab.data.references import from_dataset
from dysl_vla_ros.lab.data.samples import load_samples
from dysl_vla_ros.lab.export.restored import restored
from dysl_vla_ros.lab.folders import START
from dysl_vla_ros.lab.guidance.guidance import equal_weights, guidance
from dysl_vla_ros.lab.learn.closed_loop import (
    EpisodeResult,
    NetworkPolicy,
    Timing,
    roll_out,
    summarise,
)
from dysl_vla_ros.lab.learn.dense import (
    DenseSettings,
    fit,
    forget_states,
    teach_heads,
    train_dense,
)
from dysl_vla_ros.lab.learn.distill import DistillSettings
from dysl_vla_ros.lab.learn.distilling import distil_checkpoint, note_size
from dysl_vla_ros.lab.learn.layer_choice import choose_layers, chosen_layers
from dysl_vla_ros.lab.learn.losses import LossWeights
from dysl_vla_ros.lab.learn.made_of import checkpoint_of, shaping
from dysl_vla_ros.lab.learn.train import TrainSettings
from dysl_vla_ros.lab.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    with_card,
)
from dysl_vla_ros.lab.model.shapes import TOY_NETWORK
from dysl_vla_ros.lab.workspace import Workspace
from dysl_vla_ros.lab.worlds.cell import EpisodeSpec
from dysl_vla_ros.lab.worlds.world_pool import WorldPool
from dysl_vla_ros.sim.goals import FAMILIES, Split
from dysl_vla_ros.targets import write_whole

log = logging.getLogger(__name__)

DAGGER_SEED = 20_000_000
EVALUATION_SEED = 900_000_000
RECORDING_SEED = 30_000_000


@dataclass(frozen=True)
class Round:
    """One DAgger round: play, label, train on.

    Attributes:
        episodes: Played by the current policy.
        train: How to go on.
    """

    episodes: int
    train: TrainSettings


@dataclass(frozen=True)
class Recipe:
    """All numbers of a run.

    Attributes:
        collect: Demonstrations.
        ground: Warm-up of vision, words and lower layers.
        train: First training.
        rounds: DAgger rounds.
        distill: Both stages.
        network: Changes to the network's default shape.
        rank: Of the adapters; 0 is width / 16.
        depth: Layers run / all layers that the guidance is fitted to; 0 takes quantiles.
        static_share: Of the layers.
        static_lot: Seed by which they are drawn; None takes those that score highest.
        own_share: Share of samples with the goal that was being pursued.
        evaluate: Episodes of each quick evaluation.
        record: Episodes of the recording for the calibration.
        worlds: Simulated at a time.
        timing: Of the closed loop.
        max_actions: Longest episode.
        seed: Of everything.
    """

    collect: CollectSettings
    ground: TrainSettings
    train: TrainSettings
    rounds: tuple[Round, ...]
    distill: DistillSettings
    network: dict[str, Any] = field(default_factory=dict)
    rank: int = 32
    depth: float = 0.0
    static_share: float = 0.2
    static_lot: int | None = None
    own_share: float = 0.5
    evaluate: int = 200
    record: int = 96
    worlds: int = 192
    timing: Timing = field(default_factory=Timing)
    max_actions: int = 300
    seed: int = 0


GRIPPER_WEIGHT = 2.0
"""In the continuity: what the gripper does marks grasp and release better than the path."""
_BY_DEVICE = ('batch',)
"""A preset takes another one on a GPU: a stage that is finished holds on both."""
MILD = Augmentation(shift=1, gain=0.08, tint=0.04, noise=0.01)


def preset(name: str, workers: int, on_gpu: bool) -> Recipe:
    """The recipe's numbers.

    Args:
        name: ``full`` or ``toy``.
        workers: Processes that simulate.
        on_gpu: Batches twice as large.
    """
    if name == 'toy':
        few = TrainSettings(steps=6, batch=8, warmup=2, note_every=2, augmentation=MILD)
        return Recipe(
            collect=CollectSettings(episodes=4, per_file=2, keep=0.1, label_goals=3,
                                    workers=workers),
            ground=few, train=few, rounds=(Round(episodes=2, train=few),),
            distill=DistillSettings(adapter_steps=4, controller_steps=4, batch=8),
            network=TOY_NETWORK,
            rank=4, evaluate=2, record=2, worlds=2, max_actions=24,
        )  # fmt: skip
    if name != 'full':
        raise ConfigError('preset', name, "'full' or 'toy'")
    # Sized for two CPU cores and two processes (torchrun); the README says how long each took.
    batch = 32 if not on_gpu else 64
    dense = TrainSettings(
        steps=2400, batch=batch, learning_rate=7e-4, warmup=100, ema=0.997, note_every=25,
        save_every_s=120.0,
    )  # fmt: skip
    further = replace(dense, learning_rate=5e-4, exits=3, exit_layers=(5, 10),
                      weights=LossWeights(point=0.08, offset=0.25, name=0.1))  # fmt: skip
    return Recipe(
        collect=CollectSettings(episodes=2200, keep=0.4, workers=workers),
        ground=replace(dense, steps=750, learning_rate=8e-4),
        train=dense,
        rounds=(Round(600, replace(further, steps=3000)),
                Round(440, replace(further, steps=2400, ema=0.99))),
        # No stage 1: after early exits the bare state is the better start.
        distill=DistillSettings(adapter_steps=0, controller_steps=480, batch=32,
                                controller_rate=2e-3, joint_rate=1e-3, skip_weight=0.012,
                                positions=14),
        network={'layers': 20, 'width': 160, 'auxiliary_layer': 5},
        rank=64, depth=0.46, worlds=4 * workers,
    )  # fmt: skip


class Run:
    """One run of the recipe in one folder."""

    def __init__(self, recipe: Recipe, space: Workspace, workers: int) -> None:
        self.recipe, self.space, self.workers = recipe, space, workers
        self.folder, self.results, self.device = space.folder, space.results, space.device
        self.data: Demonstrations | None = None
        self.exits = ExitStack()
        self.pool: WorldPool | None = None
        self.stages = Stages(self.folder, space.say, space.main)
        space.report['recipe'] = dataclasses.asdict(recipe)

    def demonstrations(self) -> Demonstrations:
        """Collect, or read what was collected."""
        if self.data is None:
            folder = self.folder / 'demonstrations'
            episodes = collect(folder, self.recipe.collect, self.counter('collect'))
            began = time.monotonic()
            self.data = load_samples([folder])
            self.space.note('collect', episodes=episodes, frames=self.data.frames,
                            samples=self.data.samples,
                            load_s=time.monotonic() - began)  # fmt: skip
        return self.data

    def dense(self) -> Checkpoint:
        """Train the dense policy from scratch."""
        path = self.folder / 'dense.safetensors'
        recipe = self.recipe
        made_of = {
            'collect': _demonstrated(recipe.collect),
            'ground': shaping(recipe.ground, *_BY_DEVICE), 'network': recipe.network,
            'train': shaping(recipe.train, *_BY_DEVICE), 'own_share': recipe.own_share,
            'seed': recipe.seed,
        }  # fmt: skip
        if self.stages.there(path, made_of):
            return load_checkpoint(path)
        settings = DenseSettings(recipe.ground, recipe.train, recipe.network, recipe.own_share,
                                 recipe.seed)  # fmt: skip
        trained = train_dense(self.demonstrations(), settings, self.space)
        checkpoint = self.save(path, trained, made_of)
        forget_states(self.space, 'ground', 'train')
        return checkpoint

    def begun(self, start: Path) -> Checkpoint:
        """What takes the place of the first training: a checkpoint, or one read out of a bundle.

        Raises:
            ConfigError: It is of a robot of its own.
        """
        from_bundle = start.is_dir()
        checkpoint = restored(start, self.recipe.seed) if from_bundle else load_checkpoint(start)
        if checkpoint.robot is not None:
            raise ConfigError('start', str(start), 'a policy of the simulated arm: this one is of '
                              'a robot of its own; dysl train --start trains it further'
                              )  # fmt: skip
        path, recipe = self.folder / START, self.recipe
        made_of: dict[str, Any] = {'start': checkpoint_of(checkpoint)}
        if from_bundle:
            made_of |= {
                'collect': _demonstrated(recipe.collect),
                'heads': shaping(recipe.ground, *_BY_DEVICE), 'own_share': recipe.own_share,
            }  # fmt: skip
        if self.stages.there(path, made_of):
            return load_checkpoint(path)
        if from_bundle:
            found = teach_heads(checkpoint, self.demonstrations(), recipe.ground, self.space,
                                recipe.own_share)  # fmt: skip
            self.space.note('heads', **found)
        return self.save(path, checkpoint, made_of)

    def correct(self, number: int, checkpoint: Checkpoint, plan: Round) -> Checkpoint:
        """DAgger: let the policy play, have the expert label where it went, train on."""
        path = self.folder / f'dagger_{number}.safetensors'
        start = {'start': checkpoint_of(checkpoint)}
        made_of = {**start, 'collect': _played(self.recipe.collect), 'episodes': plan.episodes,
                   'train': shaping(plan.train, *_BY_DEVICE), 'own_share': self.recipe.own_share,
                   'max_actions': self.recipe.max_actions}  # fmt: skip
        if self.stages.there(path, made_of):
            return load_checkpoint(path)
        before = self.folder / f'before_{number}.safetensors'
        if not self.stages.there(before, start):
            self.stages.note(before, start)
            save_checkpoint(before, checkpoint)
        folders = [self.folder / 'corrections' / f'round_{n}' for n in range(1, number + 1)]
        settings = replace(
            self.recipe.collect, episodes=plan.episodes, policy=str(before),
            first_seed=DAGGER_SEED + 1_000_000 * number, max_actions=self.recipe.max_actions,
        )  # fmt: skip
        collect(folders[-1], settings, self.counter(f'corrections {number}'))
        # The newest demonstrations stay last: they are what validation is made of.
        data = join([load_samples(folders), self.demonstrations()])
        name = f'train_{number}'
        result = fit(name, checkpoint, data, plan.train, self.space, self.recipe.own_share)
        checkpoint = self.save(path, replace(checkpoint, network=result.network), made_of)
        forget_states(self.space, name)
        return checkpoint

    def distilled(self, checkpoint: Checkpoint) -> Checkpoint:
        """Choose static layers, distil, calibrate."""
        path = self.folder / 'policy.safetensors'
        recipe = self.recipe
        made_of = {
            'start': checkpoint_of(checkpoint), 'rank': recipe.rank, 'depth': recipe.depth,
            'distill': shaping(recipe.distill, *_BY_DEVICE), 'record': recipe.record,
            'static_share': recipe.static_share, 'static_lot': recipe.static_lot,
            'max_actions': recipe.max_actions, 'seed': recipe.seed,
        }  # fmt: skip
        if self.stages.there(path, made_of):
            return load_checkpoint(path)
        data = self.demonstrations()
        checkpoint = choose_layers(checkpoint, data, self.space, recipe.static_share,
                                   lot=recipe.static_lot)  # fmt: skip
        layout = chosen_layers(checkpoint)
        assert layout is not None
        checkpoint = distil_checkpoint(checkpoint, layout, data, recipe.distill, self.space,
                                       recipe.rank, seed=recipe.seed)  # fmt: skip
        results = self.play(checkpoint, 'live', recipe.record, RECORDING_SEED)
        spec = guidance([result.passes for result in results], layout, self.space,
                        (*equal_weights(checkpoint.config.action_dim - 1), GRIPPER_WEIGHT),
                        drop_rate=0.1, rule='level', depth=recipe.depth)  # fmt: skip
        checkpoint = self.save(path, replace(checkpoint, calibration=spec), made_of)
        forget_states(self.space, 'distill')
        return checkpoint

    def play(
        self, checkpoint: Checkpoint, mode: str, episodes: int, first_seed: int,
        split_name: Split = 'train',
    ) -> list[EpisodeResult]:  # fmt: skip
        """Closed loop over many worlds; families take turns."""
        specs = [
            EpisodeSpec(first_seed + n, FAMILIES[n % len(FAMILIES)], split_name,
                        self.recipe.max_actions)
            for n in range(episodes)
        ]  # fmt: skip
        policy = NetworkPolicy(checkpoint, self.device, mode)
        if self.pool is None:
            self.pool = self.exits.enter_context(WorldPool(self.workers, self.recipe.worlds))
        return roll_out(self.pool, specs, policy, checkpoint, self.recipe.timing)

    def evaluate(
        self, name: str, checkpoint: Checkpoint, mode: str = 'full', split_name: Split = 'train'
    ) -> None:
        """A quick look on unseen seeds."""
        began = time.monotonic()
        results = self.play(checkpoint, mode, self.recipe.evaluate, EVALUATION_SEED,
                            split_name=split_name)  # fmt: skip
        self.space.note(name, **summarise(results), seconds=time.monotonic() - began)

    def save(self, path: Path, checkpoint: Checkpoint, made_of: MadeOf) -> Checkpoint:
        """Save, copy to the results, and go on with exactly what was saved."""
        self.stages.note(path, made_of)
        figures = {k: v for k, v in self.space.report.items() if k != 'recipe'}
        save_checkpoint(path, with_card(checkpoint, recipe=figures))
        if self.results != self.folder:
            write_whole(self.results / path.name, lambda place: shutil.copyfile(path, place))
        return load_checkpoint(path)

    def counter(self, stage: str) -> Callable[[int, int], None]:
        """Progress of a stage that only counts."""
        return lambda done, total: self.space.progress(stage, done, total, {})


def _played(settings: CollectSettings) -> dict[str, Any]:
    """What decides the content of an episode; who plays is another stage."""
    return {name: value for name, value in settings.described().items() if name != 'policy'}


def _demonstrated(settings: CollectSettings) -> dict[str, Any]:
    """What decides the content of the demonstrations."""
    return {**_played(settings), 'episodes': settings.episodes}


class Printer:
    """Progress as lines: for logs that are read later."""

    def __init__(self) -> None:
        """Begin to count the seconds."""
        self._began = time.monotonic()
        self._last = -math.inf

    def progress(self, stage: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """A line every ten seconds, and at the end of a stage."""
        if time.monotonic() - self._last > 10.0 or step == steps:
            self._last = time.monotonic()
            shown = '  '.join(f'{k} {v:.4g}' for k, v in figures.items() if k != 'step')
            print(f'[{self._elapsed:6.0f} s] {stage} {step}/{steps}  {shown}', flush=True)

    def told(self, stage: str, figures: Mapping[str, Any]) -> None:
        """What a stage found."""
        shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        print(f'[{self._elapsed:6.0f} s] {stage}: {shown}', flush=True)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def run(
    recipe: Recipe, folder: Path, results: Path, device: torch.device, workers: int,
    until: str = 'bundle', start: Path | None = None,
) -> Path:  # fmt: skip
    """Run the stages up to ``until``: ``dense``, ``dagger``, ``policy`` or ``bundle``.

    Args:
        recipe: The numbers.
        folder: Of intermediate files; large.
        results: Where checkpoints, plots and the report go.
        device: Where the network runs.
        workers: Processes that simulate.
        until: Last stage.
        start: A checkpoint, or a bundle, to begin with in place of the first training.
    """
    printer = Printer()
    space = Workspace(folder, results, device, printer.progress, printer.told)
    job = Run(recipe, space, workers)
    with job.exits:
        return _stages(job, until, start)


def _stages(job: Run, until: str, start: Path | None) -> Path:
    recipe, folder, device = job.recipe, job.folder, job.device
    job.space.note(
        'device', name=torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU',
        torch=torch.__version__, workers=job.workers,
    )  # fmt: skip
    checkpoint = job.dense() if start is None else job.begun(start)
    job.evaluate('evaluate_dense' if start is None else 'evaluate_start', checkpoint)
    newest = folder / ('dense.safetensors' if start is None else START)
    if until == 'dense':
        return newest
    for number, plan in enumerate(recipe.rounds, start=1):
        checkpoint = job.correct(number, checkpoint, plan)
        job.evaluate(f'evaluate_{number}', checkpoint)
    if until == 'dagger':
        return folder / f'dagger_{len(recipe.rounds)}.safetensors' if recipe.rounds else newest
    job.evaluate('evaluate_new_phrasings', checkpoint, split_name='heldout_phrasing')
    checkpoint = job.distilled(checkpoint)
    note_size(checkpoint, job.space)
    for mode in ('full', 'live', 'static'):
        job.evaluate(f'evaluate_{mode}', checkpoint, mode)
    if until == 'policy':
        return folder / 'policy.safetensors'
    from dysl_vla_ros.lab.export.onnx_export import export_bundle
    from dysl_vla_ros.lab.export.small_parts import SmallParts

    bundle = job.results / 'bundle'
    data = folder / 'demonstrations'
    cameras = SmallParts(checkpoint).contract().cameras
    pictures = from_dataset(data, cameras) if is_dataset(data) else {}
    export_bundle(checkpoint, bundle, 'tabletop', references=pictures)
    job.space.note('bundle', bytes=sum(p.stat().st_size for p in bundle.rglob('*') if p.is_file()))
    return bundle
