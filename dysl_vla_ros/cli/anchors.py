"""``dysl anchors``: fine-tuned exits, shallow dense models, other distillations of one run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dysl_vla_ros.cli.inputs import look_at_bundle, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.cli.values import COUNT, SEED, WORKERS
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.folders import is_workspace

if TYPE_CHECKING:
    from dysl_vla_ros.bundle.manifest import CalibrationSpec
    from dysl_vla_ros.lab.anchors import AnchorSettings
    from dysl_vla_ros.lab.recipe import Recipe

EXAMPLE = 'dysl anchors runs/full --exit-layer 8 5 --layers 9'
_PRESETS = ('full', 'toy')
KEPT = 'every finished checkpoint and the state saved last are kept; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('folder', type=Path, help='of a run of dysl recipe, of either world, that '
                        'has a dense policy; --preset as it had')  # fmt: skip
    parser.add_argument(
        '--exit-layer',
        type=COUNT,
        nargs='+',
        default=[],
        metavar='LAYER',
        help='fixed exits to fine-tune, by as many updates as the distillation',
    )
    parser.add_argument(
        '--layers',
        type=COUNT,
        nargs='+',
        default=[],
        metavar='N',
        help='depths of dense policies to train from nothing by the recipe',
    )
    parser.add_argument('--own-corrections', action='store_true', help='each policy of --layers '
                        'plays, and is corrected where it went itself; else it takes the '
                        'corrections of the run')  # fmt: skip
    parser.add_argument('--together', type=COUNT, nargs='+', default=[], metavar='LAYER',
                        help='exits to fine-tune in one policy, by as many updates: for '
                        'dysl evaluate --modes paced')  # fmt: skip
    parser.add_argument('--by-instruction', type=Path, metavar='BUNDLE', help='whose calibration '
                        'names an exit for each instruction (dysl calibrate --by-instruction): '
                        'fine-tune each at its own, by as many updates')  # fmt: skip
    parser.add_argument('--deepest', type=COUNT, metavar='LAYER', help='with --by-instruction: '
                        'where instructions leave that have a deeper exit, or none')  # fmt: skip
    parser.add_argument('--random-static', type=SEED, nargs='+', default=[], metavar='SEED',
                        help='distillations whose static layers are drawn by lot')  # fmt: skip
    parser.add_argument('--stages', type=int, nargs='+', default=[], choices=(1, 2),
                        help='distillations of as many updates: 1, adapters and controllers '
                        'together; 2, half of them adapters alone before')  # fmt: skip
    parser.add_argument('--preset', default='full', choices=_PRESETS,
                        help='as the run had it; another is refused')  # fmt: skip
    parser.add_argument('--out', type=Path, help='checkpoints and bundles; default: anchors in '
                        'the folder')  # fmt: skip
    parser.add_argument('--precision', default='auto', choices=('auto', 'bf16', 'fp32'),
                        help='of the training')  # fmt: skip
    parser.add_argument('--seed', type=SEED, default=0, help='of everything random')
    parser.add_argument('--workers', type=WORKERS, default=2, help='processes that simulate the '
                        'recording of a distilled policy')  # fmt: skip
    parser.add_argument('--device', default='', help='torch device; default: a GPU, or the CPU')


def run(given: argparse.Namespace) -> int:
    """Train and export what is not there yet; an interrupted run goes on."""
    if not any((given.exit_layer, given.layers, given.together, given.by_instruction,
                given.random_static, given.stages)):  # fmt: skip
        raise ConfigError('exit-layer', [], '--exit-layer, --layers, --together, --by-instruction,'
                          ' --random-static or --stages with a value')  # fmt: skip
    if given.deepest is not None and given.by_instruction is None:
        raise ConfigError('deepest', given.deepest, '--by-instruction BUNDLE with it')
    if given.own_corrections and not given.layers:
        raise ConfigError('own-corrections', 'given', '--layers N with it')
    if not given.folder.is_dir():
        there = 'this is a file' if given.folder.exists() else 'there is nothing of this name'
        raise ConfigError('folder', str(given.folder), f'that of a run of dysl recipe: {there}')
    told = None
    if given.by_instruction is not None:
        look_at_bundle('--by-instruction', given.by_instruction)
        told = exits_told(given.by_instruction, given.deepest)
    if not is_workspace(given.folder) and not any(given.folder.glob('*.safetensors')):
        raise ConfigError('folder', str(given.folder), 'that of a run of dysl recipe: in this one '
                          'there is none')  # fmt: skip
    need('train', 'torch', 'accelerate', 'pyarrow', 'onnx')
    if given.random_static or given.stages or given.own_corrections:
        need('train', 'matplotlib')
        need('sim', 'mujoco')
    from dysl_vla_ros.lab.ablations import distillations, make_ablations
    from dysl_vla_ros.lab.anchors import BY_INSTRUCTION, guided, make_anchors
    from dysl_vla_ros.lab.data.libero import is_libero
    from dysl_vla_ros.lab.export.onnx_export import export_bundle
    from dysl_vla_ros.lab.learn.half import check_speed
    from dysl_vla_ros.lab.libero_recipe import ROBOT
    from dysl_vla_ros.lab.model.checkpoint import all_static, load_checkpoint
    from dysl_vla_ros.lab.recipe import preset
    from dysl_vla_ros.lab.shallow import make_corrected
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    out = given.out or given.folder / 'anchors'
    libero = is_libero(given.folder / 'demonstrations')
    device = training_device(given.device)
    check_speed('precision', given.precision, device.type == 'cuda')
    settings = anchor_settings(given, libero, device.type == 'cuda')
    if libero and (given.random_static or given.stages or given.own_corrections):
        raise ConfigError('folder', str(given.folder), 'that of a run of the bundled tasks with '
                          '--random-static, --stages or --own-corrections')  # fmt: skip
    recipe = preset(given.preset, given.workers, device.type == 'cuda')
    console = Output()
    with StageBars(console) as bars:
        space = Workspace(out, out, device, bars.progress, bars.told)
        depths = () if given.own_corrections else given.layers
        found = make_anchors(given.folder, given.exit_layer, depths, settings, space,
                             given.together, told)  # fmt: skip
        if given.own_corrections:
            found |= make_corrected(given.folder, given.layers, of_the_run(recipe, settings),
                                    space, given.workers)  # fmt: skip
        for name, path in found.items():
            bundle = out / f'{name}_bundle'
            if not bundle.is_dir():
                made = load_checkpoint(path)
                # What chooses between exits needs the guidance; the others have one way to go.
                made = all_static(made) if made.skipping is None else guided(made, given.folder)
                export_bundle(made, bundle, name, robot=ROBOT if libero else None)
        recipe = replace(recipe, distill=replace(settings.distill, precision=given.precision))
        wanted = distillations(recipe, given.random_static, given.stages, given.seed)
        distilled = make_ablations(given.folder, wanted, space, given.workers)
        for name, path in distilled.items():
            if not (out / f'{name}_bundle').is_dir():
                export_bundle(load_checkpoint(path), out / f'{name}_bundle', name)
    exits = sorted(set(given.together))
    for name in (*found, *distilled):
        modes = 'full auto' if name in distilled else 'full'
        if name.startswith('exits_'):
            modes = f'paced --pace continuity:{exits[0]}@0.5/{exits[-1]}@0.5'
        if name == BY_INSTRUCTION:
            modes = name
        console.say(f'{out / name}_bundle: dysl evaluate --engine {out / name}_bundle '
                    f'--modes {modes}')  # fmt: skip
    return 0


def exits_told(bundle: Path, deepest: int | None) -> CalibrationSpec:
    """A bundle's calibration, which names exits by instruction, none deeper than ``deepest``.

    Raises:
        ConfigError: It names none.
    """
    from dysl_vla_ros.bundle.folder import open_bundle

    told = open_bundle(bundle).manifest.calibration
    if not told.exit_by_instruction:
        raise ConfigError('by-instruction', str(bundle), 'a bundle that dysl calibrate '
                          '--by-instruction has given an exit for each instruction')  # fmt: skip
    if deepest is None:
        return told
    table = {words: min(layer or deepest, deepest)
             for words, layer in told.exit_by_instruction.items()}  # fmt: skip
    return replace(told, exit_by_instruction=table)


def of_the_run(recipe: Recipe, settings: AnchorSettings) -> Recipe:
    """The recipe with the numbers of a run's dense training; its rounds are the preset's."""
    dense = settings.dense
    precision = dense.train.precision
    rounds = tuple(
        replace(one, train=replace(one.train, seed=number, precision=precision))
        for number, one in enumerate(recipe.rounds, start=1)
    )
    return replace(recipe, ground=dense.ground or recipe.ground, train=dense.train,
                   network=dense.network, rounds=rounds, seed=settings.seed)  # fmt: skip


def anchor_settings(given: argparse.Namespace, libero: bool, on_gpu: bool) -> AnchorSettings:
    """The numbers of the recipe that made the run.

    Raises:
        ConfigError: The run was made with another preset.
    """
    from dysl_vla_ros.lab.anchors import AnchorSettings, as_the_run_had
    from dysl_vla_ros.lab.learn.dense import DenseSettings
    from dysl_vla_ros.lab.learn.train import TrainSettings
    from dysl_vla_ros.lab.libero_recipe import libero_preset
    from dysl_vla_ros.lab.recipe import preset
    from dysl_vla_ros.lab.run_numbers import check_preset

    def with_precision(plan: TrainSettings) -> TrainSettings:
        return replace(plan, precision=given.precision)

    if libero:
        check_preset(given.folder, given.preset, {
            name: libero_preset(name, 'libero_object', 1, on_gpu).network for name in _PRESETS
        })  # fmt: skip
        other = libero_preset(given.preset, 'libero_object', 1, on_gpu)
        ground = other.ground and with_precision(other.ground)
        dense = DenseSettings(ground, with_precision(other.train), other.network)
        return as_the_run_had(given.folder, AnchorSettings(dense, (), other.distill, given.seed))
    check_preset(given.folder, given.preset,
                 {name: preset(name, 1, on_gpu).network for name in _PRESETS})  # fmt: skip
    recipe = preset(given.preset, 1, on_gpu)
    dense = DenseSettings(with_precision(recipe.ground), with_precision(recipe.train),
                          recipe.network, recipe.own_share)  # fmt: skip
    rounds = tuple(with_precision(one.train) for one in recipe.rounds)
    return as_the_run_had(given.folder,
                          AnchorSettings(dense, rounds, recipe.distill, given.seed))  # fmt: skip
