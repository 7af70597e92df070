"""From nothing to a bundle: the one documented way in which the shipped model was made.

    python -m dysl_vla_ros.training --preset full --folder runs/full --workers 16

collects demonstrations, trains the dense policy, corrects it where it went (DAgger), chooses the
static layers, distils adapters and controllers, calibrates the guidance, and exports. Every stage
leaves a file; a stage whose file exists is not run again. ``--preset toy`` does the same in
seconds with a network too small to succeed at anything.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    with_card,
)
from dysl_vla_ros.model.policy_network import PolicyNetwork
from dysl_vla_ros.model.shapes import CameraShape, PolicyConfig
from dysl_vla_ros.model.skipping import SkipModules
from dysl_vla_ros.sim.goals import FAMILIES, Split
from dysl_vla_ros.sim.wording import all_words
from dysl_vla_ros.training.batches import Augmentation, BatchSource
from dysl_vla_ros.training.calibrate import calibrate
from dysl_vla_ros.training.closed_loop import (
    EpisodeResult,
    NetworkPolicy,
    Timing,
    roll_out,
    summarise,
)
from dysl_vla_ros.training.collect import CollectSettings, collect
from dysl_vla_ros.training.demonstrations import (
    Demonstrations,
    join,
    load_shard,
    save_shard,
    statistics,
)
from dysl_vla_ros.training.distill import DistillSettings, distill
from dysl_vla_ros.training.goals import all_goals, all_phrases, target_names
from dysl_vla_ros.training.ground import ground
from dysl_vla_ros.training.layer_scores import choose_static, knock_out, layer_scores
from dysl_vla_ros.training.plots import plot_continuity, plot_curve, plot_layers
from dysl_vla_ros.training.stage import CAMERA_SIZES, DROPPED_ROWS, HORIZON, EpisodeSpec
from dysl_vla_ros.training.train import TrainResult, TrainSettings, train
from dysl_vla_ros.training.words import build_tokenizer, encode_table
from dysl_vla_ros.training.world_pool import WorldPool

log = logging.getLogger(__name__)

LARGEST_STEP = 0.011
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
        static_share: Of the layers.
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
    static_share: float = 0.2
    own_share: float = 0.5
    evaluate: int = 200
    record: int = 96
    worlds: int = 192
    timing: Timing = field(default_factory=Timing)
    max_actions: int = 300
    seed: int = 0


MILD = Augmentation(shift=1, gain=0.08, tint=0.04, noise=0.01)


def preset(name: str, workers: int, on_gpu: bool) -> Recipe:
    """The recipe's numbers.

    Args:
        name: ``full`` or ``toy``.
        workers: Processes that simulate.
        on_gpu: Compile layers, which only pays there.
    """
    if name == 'toy':
        few = TrainSettings(steps=6, batch=8, warmup=2, note_every=2, augmentation=MILD)
        return Recipe(
            collect=CollectSettings(episodes=4, per_shard=2, keep=0.1, label_goals=3,
                                    workers=workers),
            ground=few, train=few, rounds=(Round(episodes=2, train=few),),
            distill=DistillSettings(adapter_steps=4, controller_steps=4, batch=8),
            network={'layers': 6, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
                     'auxiliary_layer': 2},
            rank=4, evaluate=2, record=2, worlds=2, max_actions=24,
        )  # fmt: skip
    if name != 'full':
        raise ConfigError('preset', name, "'full' or 'toy'")
    # Sized for two CPU cores: about 6 minutes of collection, 6 of grounding, 55 of training, 10 of
    # distillation. Two processes (torchrun) halve the training.
    batch = 64
    dense = TrainSettings(
        steps=2400, batch=batch, learning_rate=7e-4, warmup=100, ema=0.997, note_every=25,
        compile=on_gpu, save_every_s=120.0,
    )  # fmt: skip
    return Recipe(
        collect=CollectSettings(episodes=2200, workers=workers),
        ground=replace(dense, steps=750, learning_rate=8e-4, save_every_s=0.0),
        train=dense,
        rounds=(),
        distill=DistillSettings(adapter_steps=600, controller_steps=600, batch=32,
                                adapter_rate=2e-3, controller_rate=2e-3, joint_rate=3e-4),
        network={'layers': 20, 'width': 160, 'auxiliary_layer': 5},
        worlds=4 * workers,
    )  # fmt: skip


class Run:
    """One run of the recipe in one folder."""

    def __init__(
        self, recipe: Recipe, folder: Path, results: Path, device: torch.device, workers: int
    ) -> None:
        self.recipe, self.folder, self.results = recipe, folder, results
        self.device, self.workers = device, workers
        self.began = time.monotonic()
        self.report: dict[str, Any] = {'recipe': dataclasses.asdict(recipe)}
        self.tokenizer: Tokenizer = build_tokenizer(all_words())
        self.data: Demonstrations | None = None
        self.exits = ExitStack()
        self.pool: WorldPool | None = None
        folder.mkdir(parents=True, exist_ok=True)
        results.mkdir(parents=True, exist_ok=True)

    def note(self, stage: str, **figures: Any) -> None:
        """Print and keep what a stage found."""
        self.report[stage] = figures
        shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        print(f'[{self.elapsed:6.0f} s] {stage}: {shown}', flush=True)
        text = json.dumps(self.report, indent=1, default=str)
        (self.results / 'report.json').write_text(text + '\n', encoding='utf-8')

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def demonstrations(self) -> Demonstrations:
        """Collect, or read what was collected."""
        if self.data is None:
            shards = collect(self.folder / 'demonstrations', self.recipe.collect, self.counter(
                'shards'))  # fmt: skip
            began = time.monotonic()
            self.data = join([load_shard(path) for path in shards])
            self.check(self.data)
            self.note('collect', shards=len(shards), frames=self.data.frames,
                      samples=self.data.samples, load_s=time.monotonic() - began)  # fmt: skip
        return self.data

    def check(self, data: Demonstrations) -> None:
        """Refuse spoilt data before a step is made."""
        data.check(len(all_goals()), HORIZON, 7, LARGEST_STEP)

    def source(self, data: Demonstrations, checkpoint: Checkpoint, seed: int) -> BatchSource:
        """Batches of training phrasings."""
        tokens = checkpoint.config.instruction_tokens
        table = encode_table(Tokenizer.from_str(checkpoint.tokenizer), all_phrases(), tokens)
        return BatchSource(data, table, checkpoint.statistics, self.device, seed,
                           self.recipe.own_share, target_names())  # fmt: skip

    def dense(self) -> Checkpoint:
        """Train the dense policy from scratch."""
        path = self.folder / 'dense.safetensors'
        if path.is_file():
            return load_checkpoint(path)
        data = self.demonstrations()
        torch.manual_seed(self.recipe.seed)
        cameras = tuple(
            CameraShape(name, size, size, DROPPED_ROWS) for name, size in CAMERA_SIZES.items()
        )
        config = PolicyConfig(
            vocabulary=self.tokenizer.get_vocab_size(), cameras=cameras, instruction_tokens=12,
            action_horizon=HORIZON, **self.recipe.network,
        )  # fmt: skip
        network = PolicyNetwork(config)
        checkpoint = Checkpoint(config, statistics(data), self.tokenizer.to_str(), network)
        training, _ = split(data)
        found = ground(network, self.source(training, checkpoint, self.recipe.seed),
                       self.recipe.ground, self.print_step)  # fmt: skip
        self.note('ground', **found)
        result = self.fit('train', checkpoint, data, self.recipe.train)
        return self.save(path, replace(checkpoint, network=result.network))

    def fit(
        self, name: str, checkpoint: Checkpoint, data: Demonstrations, settings: TrainSettings
    ) -> TrainResult:
        """One training, with a held-out tail for validation."""
        training, held_out = split(data)
        state = self.folder / f'{name}.state.safetensors'
        result = train(
            checkpoint.network, self.source(training, checkpoint, settings.seed),
            self.source(held_out, checkpoint, 1), settings, state, self.print_step,
        )  # fmt: skip
        state.unlink(missing_ok=True)
        plot_curve(self.results / f'{name}.png', result.curve, ('action', 'point', 'offset'))
        self.note(name, steps=result.steps, seconds=result.seconds, **result.validation)
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        return result

    def correct(self, number: int, checkpoint: Checkpoint, plan: Round) -> Checkpoint:
        """DAgger: let the policy play, have the expert label where it went, train on."""
        path = self.folder / f'dagger_{number}.safetensors'
        if path.is_file():
            return load_checkpoint(path)
        shard = self.folder / 'corrections' / f'round_{number}.safetensors'
        if not shard.is_file():
            first = DAGGER_SEED + 1_000_000 * number
            results, frames = self.play(checkpoint, 'full', plan.episodes, first, label=True)
            data = frames.joined()
            self.check(data)
            save_shard(shard, data)
            self.note(f'round_{number}', frames=data.frames, **summarise(results))
        corrections = [
            load_shard(self.folder / 'corrections' / f'round_{n}.safetensors')
            for n in range(1, number + 1)
        ]
        # The newest demonstrations stay last: they are what validation is made of.
        data = join([*corrections, self.demonstrations()])
        result = self.fit(f'train_{number}', checkpoint, data, plan.train)
        return self.save(path, replace(checkpoint, network=result.network))

    def distilled(self, checkpoint: Checkpoint) -> Checkpoint:
        """Choose static layers, distil, calibrate."""
        path = self.folder / 'policy.safetensors'
        if path.is_file():
            return load_checkpoint(path)
        network = checkpoint.network.to(self.device)
        training, held_out = split(self.demonstrations())
        source, validation = (self.source(training, checkpoint, 2),
                              self.source(held_out, checkpoint, 3))  # fmt: skip
        scores = layer_scores(network, validation)
        layout = choose_static(scores['slots'], self.recipe.static_share)
        worth = knock_out(network, validation)
        plot_layers(self.results / 'layers.png', {
                        'all': scores['all'], 'slots': scores['slots'], 'error without it': worth},
                    layout.static_layers)  # fmt: skip
        self.note('layers', static=layout.static_layers,
                  all=[round(s, 4) for s in scores['all']],
                  slots=[round(s, 4) for s in scores['slots']],
                  without=[round(w, 4) for w in worth])  # fmt: skip
        torch.manual_seed(self.recipe.seed)
        skipping = SkipModules(layout, checkpoint.config.width, self.recipe.rank)
        curve = distill(network, skipping, source, self.recipe.distill, self.print_stage)
        plot_curve(self.results / 'distill.png', [c for c in curve if c['stage'] == 2],
                   ('error', 'open'))  # fmt: skip
        checkpoint = replace(checkpoint, skipping=skipping)
        recording, _ = self.play(checkpoint, 'live', self.recipe.record, RECORDING_SEED)
        weights = (1.0,) * checkpoint.config.action_dim
        spec, found = calibrate([r.passes for r in recording], layout, weights)
        plot_continuity(self.results / 'continuity.png', found.continuity, spec.threshold)
        self.note('calibrate', **dataclasses.asdict(spec), drop_rate=found.drop_rate,
                  seam_drops=found.seam_drops, plans_open=found.plans_open,
                  rerun_rate=found.rerun_rate)  # fmt: skip
        return self.save(path, replace(checkpoint, calibration=spec))

    def play(
        self, checkpoint: Checkpoint, mode: str, episodes: int, first_seed: int,
        label: bool = False, split_name: Split = 'train',
    ) -> tuple[list[EpisodeResult], Any]:  # fmt: skip
        """Closed loop over many worlds; families take turns."""
        specs = [
            EpisodeSpec(first_seed + n, FAMILIES[n % len(FAMILIES)], split_name,
                        self.recipe.max_actions)
            for n in range(episodes)
        ]  # fmt: skip
        policy = NetworkPolicy(checkpoint, self.device, mode)
        if self.pool is None:
            self.pool = self.exits.enter_context(WorldPool(self.workers, self.recipe.worlds))
        return roll_out(
            self.pool, specs, policy, checkpoint, self.recipe.timing,
            self.recipe.collect.label_goals if label else 0,
        )  # fmt: skip

    def evaluate(
        self, name: str, checkpoint: Checkpoint, mode: str = 'full', split_name: Split = 'train'
    ) -> None:
        """A quick look on unseen seeds."""
        began = time.monotonic()
        results, _ = self.play(checkpoint, mode, self.recipe.evaluate, EVALUATION_SEED,
                               split_name=split_name)  # fmt: skip
        self.note(name, **summarise(results), seconds=time.monotonic() - began)

    def save(self, path: Path, checkpoint: Checkpoint) -> Checkpoint:
        """Save, copy to the results, and go on with exactly what was saved."""
        figures = {k: v for k, v in self.report.items() if k != 'recipe'}
        save_checkpoint(path, with_card(checkpoint, recipe=figures))
        if self.results != self.folder:
            shutil.copyfile(path, self.results / path.name)
        return load_checkpoint(path)

    def counter(self, what: str) -> Any:
        """A progress printer for counts."""
        last = [0.0]

        def show(done: int, total: int) -> None:
            if time.monotonic() - last[0] > 5.0 or done == total:
                last[0] = time.monotonic()
                print(f'[{self.elapsed:6.0f} s] {done}/{total} {what}', flush=True)

        return show

    def print_step(self, step: int, steps: int, note: dict[str, float]) -> None:
        """A progress line now and then."""
        if step % 1000 == 0 or step == steps or step == 50:
            self.print_stage('update', step, steps, note)

    def print_stage(self, stage: str, step: int, steps: int, note: dict[str, float]) -> None:
        """A progress line."""
        if step % 500 == 0 or step == steps or step == 50:
            shown = '  '.join(f'{k} {v:.4g}' for k, v in note.items() if k != 'step')
            print(f'[{self.elapsed:6.0f} s] {stage} {step}/{steps}  {shown}', flush=True)


def split(data: Demonstrations, share: float = 0.02) -> tuple[Demonstrations, Demonstrations]:
    """Cut the samples of the last frames off for validation; the pictures are not copied."""
    border = int(data.frames * (1.0 - share))
    kept = data.frame < border
    return _samples(data, kept), _samples(data, ~kept, border)


def _samples(data: Demonstrations, kept: np.ndarray, first: int = 0) -> Demonstrations:
    """A view of some samples; frames before ``first`` are left out."""
    return Demonstrations(
        images={name: images[first:] for name, images in data.images.items()},
        proprioception=data.proprioception[first:],
        frame=data.frame[kept] - first, goal=data.goal[kept], own=data.own[kept],
        chunk=data.chunk[kept], point=data.point[kept], offset=data.offset[kept],
    )  # fmt: skip


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
        start: A checkpoint to begin with in place of the first training.
    """
    job = Run(recipe, folder, results, device, workers)
    with job.exits:
        return _stages(job, until, start)


def _stages(job: Run, until: str, start: Path | None) -> Path:
    recipe, folder, device = job.recipe, job.folder, job.device
    job.note('device', name=torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU',
             torch=torch.__version__, workers=job.workers)  # fmt: skip
    checkpoint = job.dense() if start is None else load_checkpoint(start)
    job.evaluate('evaluate_dense' if start is None else 'evaluate_start', checkpoint)
    if until == 'dense':
        return folder / 'dense.safetensors'
    for number, plan in enumerate(recipe.rounds, start=1):
        checkpoint = job.correct(number, checkpoint, plan)
        job.evaluate(f'evaluate_{number}', checkpoint)
    if until == 'dagger':
        return folder / f'dagger_{len(recipe.rounds)}.safetensors'
    job.evaluate('evaluate_new_phrasings', checkpoint, split_name='heldout_phrasing')
    checkpoint = job.distilled(checkpoint)
    for mode in ('full', 'live', 'static'):
        job.evaluate(f'evaluate_{mode}', checkpoint, mode)
    if until == 'policy':
        return folder / 'policy.safetensors'
    from dysl_vla_ros.export.onnx_export import export_bundle

    bundle = job.results / 'bundle'
    export_bundle(checkpoint, bundle, 'tabletop')
    job.note('bundle', bytes=sum(p.stat().st_size for p in bundle.rglob('*') if p.is_file()))
    return bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog='dysl-recipe', description=__doc__)
    parser.add_argument('--preset', default='full', choices=('full', 'toy'))
    parser.add_argument('--folder', type=Path, required=True, help='intermediate files; large')
    parser.add_argument('--results', type=Path, help='checkpoints and plots; default: --folder')
    parser.add_argument('--workers', type=int, default=2, help='processes that simulate')
    parser.add_argument(
        '--device', default='', help='torch device; default: a GPU if there is one'
    )
    parser.add_argument(
        '--until', default='bundle', choices=('dense', 'dagger', 'policy', 'bundle')
    )
    parser.add_argument('--start', type=Path, help='checkpoint in place of the first training')
    parser.add_argument('--collect-seconds', type=float, help='limit of the collection')
    parser.add_argument('--train-seconds', type=float, help='limit of the first training')
    parser.add_argument('--round-seconds', type=float, help='limit of each DAgger training')
    parser.add_argument('--round-episodes', type=int, help='episodes of each DAgger round')
    parser.add_argument('--rounds', type=int, help='number of DAgger rounds')
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stdout)
    logging.getLogger('dysl_vla_ros').setLevel(logging.INFO)
    device = torch.device(given.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if device.type == 'cuda':
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision('high')
    recipe = adjusted(preset(given.preset, given.workers, device.type == 'cuda'), given)
    run(recipe, given.folder, given.results or given.folder, device, given.workers, given.until,
        given.start)  # fmt: skip
    return 0


def adjusted(recipe: Recipe, given: argparse.Namespace) -> Recipe:
    """The preset with the limits of the command line."""
    shift = 100_000 * given.seed
    recipe = replace(recipe, seed=given.seed, collect=replace(
        recipe.collect, first_seed=recipe.collect.first_seed + shift))  # fmt: skip
    if given.collect_seconds:
        recipe = replace(recipe, collect=replace(recipe.collect,
                                                 max_seconds=given.collect_seconds))  # fmt: skip
    if given.train_seconds:
        recipe = replace(recipe, train=replace(recipe.train, max_seconds=given.train_seconds))
    rounds = recipe.rounds
    if given.rounds is not None:
        rounds = tuple((rounds * given.rounds)[: given.rounds])
    if given.round_seconds:
        rounds = tuple(replace(r, train=replace(r.train, max_seconds=given.round_seconds))
                       for r in rounds)  # fmt: skip
    if given.round_episodes:
        rounds = tuple(replace(r, episodes=given.round_episodes) for r in rounds)
    rounds = tuple(replace(r, train=replace(r.train, seed=n)) for n, r in enumerate(rounds, 1))
    return replace(recipe, rounds=rounds)
