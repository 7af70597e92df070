"""``dysl calibrate``: static layers, when to skip, and whether that beats a fixed exit."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.folder import open_bundle, write_manifest
from dysl_vla_ros.bundle.manifest import LONGEST_WINDOW, CalibrationSpec, Manifest
from dysl_vla_ros.cli import calibrate_mode
from dysl_vla_ros.cli.calibrate_mode import Chosen
from dysl_vla_ros.cli.calibrate_options import refuse_idle, what_is_kept
from dysl_vla_ros.cli.calibrate_recording import keep_as_written, kept_recording
from dysl_vla_ros.cli.failures import FAILED
from dysl_vla_ros.cli.inputs import (
    holds_recording,
    look_at_checkpoint,
    look_at_dataset,
    look_at_observations,
    need,
)
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.published import add_published, calibrate_published, is_published
from dysl_vla_ros.cli.robot_set import load_for
from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.cli.values import (
    COUNT,
    COUNT_FROM_0,
    DEPTH,
    SEED,
    SHARE_INSIDE,
    TIME_LIMIT,
    WORKERS,
    latency_seconds,
    whole,
)
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.folders import is_workspace
from dysl_vla_ros.sim.arm import JOINT_NAMES
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.targets import contents, folder_target, keep_before, listed

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
    from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
    from dysl_vla_ros.lab.guidance.kept_recording import KeptRecording
    from dysl_vla_ros.lab.workspace import Workspace

    Episodes = Sequence[Sequence[RecordedPass]]

FIRST_SEED = 30_000_000
_SCORED_FRAMES = 20_000
"""Layers are scored on the held-out end of so many frames; more would only take memory."""

EXAMPLE = """
dysl calibrate runs/bundle --depth 0.46
dysl calibrate runs/dense/dense.safetensors --dataset runs/demos
"""
KEPT = what_is_kept


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('target', type=Path, help='checkpoint, or folder of a bundle: the '
                        'calibration is written into it; or a published folder')  # fmt: skip
    parser.add_argument(
        '--dataset',
        type=Path,
        nargs='+',
        default=[],
        help='for a checkpoint: score its layers and choose the static ones',
    )
    source = parser.add_argument_group('recording', 'by default the policy plays in simulation')
    source.add_argument('--bag', type=Path, help='MCAP file or bag folder with ~/chunk_info')
    source.add_argument('--topic', default='', help='of the chunks in the bag')
    source.add_argument('--episodes', type=COUNT, default=24, help='per family')
    source.add_argument('--first-seed', type=SEED, default=FIRST_SEED,
                        help='of the first episode; the others count up')  # fmt: skip
    source.add_argument('--latency', default='measured',
                        help='of a bundle: measured, zero, or seconds')  # fmt: skip
    source.add_argument('--time-limit', type=TIME_LIMIT, default=30.0, help='per episode [s]')
    source.add_argument('--workers', type=WORKERS, default=1, help='processes that simulate')
    parser.add_argument(
        '--weights',
        nargs='+',
        default=['balanced'],
        metavar='WEIGHT',
        help='balanced: no dimension drowns the others; equal; or numbers',
    )
    parser.add_argument(
        '--window', type=whole(1, LONGEST_WINDOW), default=5, help='k, steps averaged'
    )
    parser.add_argument('--drop-rate', type=SHARE_INSIDE, default=0.15,
                        help='share of chunks that may count as holding a drop')  # fmt: skip
    parser.add_argument('--depth', type=DEPTH, default=0.0,
                        help='layers run / all layers that both rules are fitted to, re-runs '
                        'included; not with --bag, which lacks the scores')  # fmt: skip
    parser.add_argument('--rule', default='', choices=('', 'ceil', 'level'),
                        help='guidance rule; default: as it was, at first level')  # fmt: skip
    parser.add_argument('--compare', type=COUNT_FROM_0, metavar='EPISODES',
                        help='of a bundle, per family: fixed exits against the dynamic modes; the '
                        'shallowest within a point of the best at --depth becomes its mode, '
                        'unless dense never wins or 5 are not reached; 0: its mode stays; '
                        'default: as --episodes')  # fmt: skip
    parser.add_argument('--observations', type=Path, help='of a bundle: compare the modes on '
                        'a recording (bag, or .npz as for dysl bench) of 20 states or more '
                        'instead, by their error to dense; the guidance stays')  # fmt: skip
    parser.add_argument('--by-instruction', type=Path, metavar='REPORT', help='of a bundle: give '
                        'each instruction the shallowest of the exits that won most, by a '
                        'report of dysl evaluate --world --json; the guidance stays')  # fmt: skip
    parser.add_argument('--static-share', type=SHARE_INSIDE, default=0.2,
                        help='share of static layers')  # fmt: skip
    parser.add_argument('--tokens', default='slots', choices=('slots', 'all'),
                        help='tokens whose score chooses them')  # fmt: skip
    parser.add_argument('--out', type=Path, help='folder of report and plots; default: beside it')
    parser.add_argument('--device', default='', help='torch device; default: a GPU, or the CPU')
    parser.add_argument('--skipping', type=Path, help='of a published folder: what was distilled '
                        'for it; when to skip is written into it')  # fmt: skip
    parser.add_argument('--batch', type=COUNT, default=8,
                        help='of a published folder: frames at a time')  # fmt: skip
    parser.add_argument('--batches', type=COUNT, default=8, help='how many of them')
    add_published(parser)


def run(given: argparse.Namespace) -> int:
    """Calibrate and write the result back, atomically."""
    _check(given)
    need('train', 'torch', 'accelerate', 'matplotlib')
    if given.bag is not None:
        need('bags', 'mcap', 'rosbags')
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    if is_published(given.target):
        return calibrate_published(given)
    out = _results(given)
    console = Output()
    with StageBars(console) as bars:
        space = Workspace(out, out, training_device(given.device), bars.progress)
        calibrate = _bundle if given.target.is_dir() else _checkpoint
        found = calibrate(given, space, bars)
    for table in found.tables:
        console.print(table)
    if found.told:
        console.say(found.told)
    if given.target.is_dir():
        at = f' at layer {found.spec.exit_layer}' if found.spec.mode == 'fixed' else ''
        console.say(f'skip mode of the bundle: {found.spec.mode}{at}'
                    + ', as it was' * found.kept)  # fmt: skip
    console.say(f'{given.target}: calibration written; report and plots in {out}')
    if found.failed:
        console.tell('no mode was chosen, which is an error: what the policy wins decides it')
    return FAILED if found.failed else 0


def _results(given: argparse.Namespace) -> Path:
    folder: Path | None = given.out
    return folder or given.target.parent / f'{given.target.stem}_calibration'


def _check(given: argparse.Namespace) -> None:
    if not given.target.exists():
        raise ConfigError('target', str(given.target), 'a checkpoint, the folder of a bundle, or '
                          'a published folder: there is nothing of this name')  # fmt: skip
    if not given.target.is_dir():
        look_at_checkpoint('target', given.target)
    elif not any(given.target.glob('*.json')):
        there = listed(contents(given.target)) or 'nothing'
        raise ConfigError('target', str(given.target), 'a checkpoint, the folder of a bundle, or '
                          f'a published folder: in this one there is {there}')  # fmt: skip
    latency_seconds(given.latency)
    _named_weights(given.weights)
    _check_options(given)
    look_at_observations('--observations', given.observations)
    for folder in given.dataset:
        look_at_dataset('--dataset', folder)
    if given.bag is not None and not given.bag.exists():
        raise ConfigError('--bag', str(given.bag), 'an .mcap file, or a folder with one')
    if given.bag is not None and given.bag.is_dir() and not holds_recording(given.bag):
        raise ConfigError('--bag', str(given.bag), 'an .mcap file, or a folder with one: in this '
                          'one there is none')  # fmt: skip
    folder_target('--out', _results(given), is_workspace, 'the folder of an earlier run')


def _check_options(given: argparse.Namespace) -> None:
    """What the options say together."""
    refuse_idle(given)
    if is_published(given.target):
        if not given.dataset:
            raise ConfigError('dataset', None, 'a LeRobot data set of the robot')
        return
    if given.target.is_dir() and given.dataset:
        raise ConfigError('dataset', [str(path) for path in given.dataset],
                          'none: the static layers of a bundle are fixed; calibrate the '
                          'checkpoint it came from, distil and export again')  # fmt: skip
    manifest = open_bundle(given.target).manifest if given.target.is_dir() else None
    numbers = _named_weights(given.weights)
    if manifest is not None and numbers and len(numbers) != manifest.action.dim:
        raise ConfigError('weights', list(numbers), f'{manifest.action.dim} numbers')
    if (manifest is not None and given.bag is None and given.observations is None
            and given.by_instruction is None):  # fmt: skip
        names = manifest.action.joint_names
        if manifest.action.space.startswith('joint') and names and names != JOINT_NAMES:
            raise ConfigError('bag', None, f'a recording of the arm that {manifest.name} moves '
                              '(--bag): the simulation has another. Before it has run, its '
                              'checkpoint is calibrated along held-out episodes: dysl calibrate '
                              'CHECKPOINT --dataset SET, then export again')  # fmt: skip
        from dysl_vla_ros.lab.evaluation.simulated_arm import check_simulated

        check_simulated('target', str(given.target), manifest)
    calibrate_mode.check(given, manifest)


def _checkpoint(given: argparse.Namespace, space: Workspace, bars: StageBars) -> Chosen:
    import torch

    from dysl_vla_ros.lab.data.dataset_reader import Thinning
    from dysl_vla_ros.lab.data.samples import load_samples
    from dysl_vla_ros.lab.learn.layer_choice import choose_layers, chosen_layers
    from dysl_vla_ros.lab.model.checkpoint import load_checkpoint, load_tensors, save_checkpoint

    checkpoint = load_checkpoint(given.target)
    loaded = None
    if checkpoint.robot is not None:
        if not given.dataset:
            raise ConfigError(
                'dataset',
                None,
                'the set that it was trained on: no simulator '
                'plays this robot; its held-out episodes are played along',
            )
        loaded = load_for(checkpoint, given.dataset, _SCORED_FRAMES, bars.count('read'),
                          bars.say)  # fmt: skip
        checkpoint = choose_layers(checkpoint, loaded[2].training, space, given.static_share,
                                   given.tokens, 64)  # fmt: skip
    elif given.dataset:
        data = load_samples(given.dataset, Thinning(most=_SCORED_FRAMES))
        checkpoint = choose_layers(checkpoint, data, space, given.static_share, given.tokens)
    layout = chosen_layers(checkpoint)
    if checkpoint.skipping is not None:
        layout = checkpoint.skipping.layout
    if layout is None:
        raise ConfigError('dataset', None, 'a dataset: the static layers of a dense checkpoint '
                          'are chosen from the scores of its layers')  # fmt: skip
    dim = checkpoint.config.action_dim
    if given.bag is not None:
        episodes = _from_bag(given, layout.layers_total)
    elif loaded is not None:
        from dysl_vla_ros.lab.learn.robot_recording import record_held_out

        episodes = record_held_out(checkpoint, loaded[1], loaded[2], space.device,
                                   bars.count('episodes'))  # fmt: skip
    else:
        episodes = _played(given, checkpoint, space, bars)
    spec = _guidance(given, episodes, layout, space, dim, checkpoint.calibration)
    stored = {tensor.dtype for tensor in load_tensors(given.target)[0].values()}
    dtype = torch.float32 if torch.float32 in stored else torch.float16
    bars.say(f'the checkpoint before this calibration: {keep_before(given.target)}')
    save_checkpoint(given.target, replace(checkpoint, calibration=spec), dtype)
    return Chosen(spec, (_table(space.report['calibrate'], spec),))


def _bundle(given: argparse.Namespace, space: Workspace, bars: StageBars) -> Chosen:
    manifest = open_bundle(given.target).manifest
    if given.by_instruction is not None or given.observations is not None:
        if given.by_instruction is not None:
            spec, table = calibrate_mode.choose_by_instruction(given, manifest, space)
        else:
            spec, table = calibrate_mode.choose_on_recorded(given, manifest, space, bars)
        _write(given.target, manifest, spec, bars)
        return Chosen(spec, (table,))
    before = manifest.calibration
    kept: KeptRecording | None = None
    if given.bag is not None:
        episodes = _from_bag(given, manifest.layers_total)
    else:
        episodes, kept = _evaluated(given, space, bars)
    spec = _guidance(given, episodes, manifest.layout, space, manifest.action.dim, before)
    spec = replace(spec, mode=before.mode, exit_layer=before.exit_layer,
                   exit_by_instruction=before.exit_by_instruction)  # fmt: skip
    guided = _write(given.target, manifest, spec, bars)
    if kept is not None:
        keep_as_written(kept, _recorded(given), space.folder)
    chosen = Chosen(spec, (_table(space.report['calibrate'], spec),))
    if given.bag is None and calibrate_mode.compared_episodes(given):
        found = calibrate_mode.choose_in_simulation(given, guided, space, bars)
        # Guidance that is new was written a moment ago: what was there before it is kept.
        _write(given.target, guided, found.spec, bars if spec == before else None)
        chosen = replace(found, tables=(*chosen.tables, *found.tables))
    if kept is not None:
        kept.done()
    return chosen


def _write(
    folder: Path, manifest: Manifest, spec: CalibrationSpec, bars: StageBars | None
) -> Manifest:  # fmt: skip
    """Write what is new; ``bars`` says where the manifest before it is kept, None keeps none."""
    if spec != manifest.calibration and bars is not None:
        kept = keep_before(folder / MANIFEST_NAME, all_of_them=True)
        bars.say(f'the calibration before this one: {kept}')
    # The manifest holds the checksums of all other files and lies in none itself.
    write_manifest(folder, replace(manifest, calibration=spec))
    return open_bundle(folder).manifest


def _guidance(
    given: argparse.Namespace, episodes: Episodes, layout: Any, space: Workspace, dim: int,
    before: CalibrationSpec | None,
) -> CalibrationSpec:  # fmt: skip
    from dysl_vla_ros.lab.guidance.guidance import guidance
    from dysl_vla_ros.lab.guidance.recordings import check_recording

    source = str(given.bag) if given.bag is not None else 'closed loop'
    check_recording(episodes, dim, source)
    rule = given.rule or ('level' if before is None else before.rule)
    return guidance(episodes, layout, space, _weights(given.weights, episodes, dim),
                    given.window, given.drop_rate, rule, source, given.depth)  # fmt: skip


def _weights(wanted: Sequence[str], episodes: Episodes, dim: int) -> tuple[float, ...]:
    from dysl_vla_ros.lab.guidance.guidance import balanced_weights, equal_weights

    if wanted == ['equal']:
        return equal_weights(dim)
    numbers = _named_weights(wanted)
    if not numbers:
        return balanced_weights(episodes)
    if len(numbers) != dim or min(numbers) < 0 or not max(numbers) > 0:
        raise ConfigError('weights', list(numbers), f'{dim} numbers, none negative, not all 0')
    return numbers


def _named_weights(wanted: Sequence[str]) -> tuple[float, ...]:
    """The numbers among them; none where a word says how they are found.

    Raises:
        ConfigError: Neither words nor numbers that could be weights.
    """
    if list(wanted) in (['equal'], ['balanced']):
        return ()
    try:
        numbers = tuple(float(word) for word in wanted)
    except ValueError:
        raise ConfigError('weights', list(wanted), 'balanced, equal, or numbers') from None
    if min(numbers) < 0 or not 0 < max(numbers) < math.inf:
        raise ConfigError('weights', list(numbers), 'numbers, none negative, not all 0')
    return numbers


# ---- where recordings come from ----------------------------------------------------------------


def _from_bag(given: argparse.Namespace, layers: int) -> Episodes:
    from dysl_vla_ros.lab.guidance.bag import read_bag
    from dysl_vla_ros.lab.guidance.recordings import episodes_of

    return episodes_of(read_bag(given.bag, given.topic, layers))


def _played(
    given: argparse.Namespace, checkpoint: Any, space: Workspace, bars: StageBars
) -> Episodes:
    """Closed loop of the torch network: every controller live, or dense before distillation."""
    from dysl_vla_ros.lab.learn.closed_loop import NetworkPolicy, roll_out
    from dysl_vla_ros.lab.worlds.cell import EpisodeSpec
    from dysl_vla_ros.lab.worlds.world_pool import WorldPool

    total = given.episodes * len(FAMILIES)
    most = round(given.time_limit / 0.05)
    specs = [EpisodeSpec(given.first_seed + n, FAMILIES[n % len(FAMILIES)], max_actions=most)
             for n in range(total)]  # fmt: skip
    mode = 'full' if checkpoint.skipping is None else 'live'
    policy = NetworkPolicy(checkpoint, space.device, mode)
    with WorldPool(given.workers, min(4 * given.workers, total)) as pool:
        results = roll_out(
            pool, specs, policy, checkpoint,
            progress=lambda done, of, won: bars.progress('episodes', done, of, {'won': won}),
        )  # fmt: skip
    return [result.passes for result in results]


def _recorded(given: argparse.Namespace) -> EvaluateOptions:
    """The episodes that a bundle's guidance is taken from."""
    return calibrate_mode.played_in_simulation(given, given.episodes, given.first_seed)


def _evaluated(
    given: argparse.Namespace, space: Workspace, bars: StageBars
) -> tuple[Episodes, KeptRecording]:
    """Closed loop of the bundle in the robot's own control loop."""
    from dysl_vla_ros.lab.evaluation.record import record_episodes
    from dysl_vla_ros.lab.guidance.kept_recording import KeptEpisode
    from dysl_vla_ros.lab.guidance.recordings import AcceptedChunk, episodes_of

    options = _recorded(given)
    kept = kept_recording(options, space.folder)
    total = len(options.specs())
    if kept.episodes:
        bars.say(f'goes on after {len(kept.episodes)} of {total} recorded episodes')
    for played in record_episodes(options, len(kept.episodes)):
        chunks = [
            # C is reported for the actions that were still to be executed.
            AcceptedChunk(d.chunk.epoch, d.chunk.displacements,
                          len(d.chunk.displacements) - len(d.continuity), d.actions_played,
                          d.chunk.trace.scores)
            for d in played.accepted if d.chunk is not None
        ]  # fmt: skip
        kept.add(KeptEpisode(tuple(chunks), played.actions, bool(played.success)))
        won = sum(one.success for one in kept.episodes)
        bars.progress('episodes', len(kept.episodes), total, {'won': won})
    found = [episodes_of(one.chunks, one.actions) for one in kept.episodes]
    return [run for runs in found for run in runs], kept


def _table(found: dict[str, Any], spec: CalibrationSpec) -> Table:
    table = Table('', '', show_header=False)
    for name, value in (
        ('chunks, actions recorded', f'{found["chunks"]}, {found["actions"]}'),
        ('eta', f'{spec.eta:.4g}'),
        ('threshold, hysteresis', f'{spec.threshold:.4g}, {spec.hysteresis:.4g}'),
        ('level rule, from and to', f'{spec.level_low:.4g}, {spec.level_high:.4g}'),
        ('weights', ' '.join(f'{weight:g}' for weight in spec.weights)),
        ('chunks with a drop', f'{100 * found["chunks_with_a_drop"]:.1f} %'),
        ('re-runs predicted', f'{100 * found["predicted_rerun_rate"]:.1f} % of the chunks'),
        ('  at a seam, inside a chunk', f'{found["predicted_reruns_at_seam"]}, '
         f'{found["predicted_reruns_inside"]}'),
        ('chunks skipped in', f'{100 * found["predicted_skip_rate"]:.1f} %'),
        ('layers skipped, re-runs counted as run',
         f'{100 * found["predicted_skip_ratio"]:.1f} %'
         + ('' if found['predicted_skip_ratio'] > 0 else ': mode auto costs more than it saves')),
    ):  # fmt: skip
        table.add_row(name, value)
    return table
