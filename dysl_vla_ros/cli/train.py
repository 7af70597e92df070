"""``dysl train``: the dense policy from datasets.

Several GPUs or machines: ``accelerate launch -m dysl_vla_ros.cli.main train ...``, or torchrun.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.inputs import look_at_checkpoint, look_at_dataset, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.robot_set import (
    READ,
    TRAINED,
    add_robot_options,
    add_training_options,
    kind_of,
    train_robot_set,
)
from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.cli.values import (
    COUNT,
    COUNT_FROM_0,
    FROM_0,
    POSITIVE,
    SEED,
    SHARE_ABOVE_0,
    whole,
)
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.folders import is_workspace
from dysl_vla_ros.lab.model.shapes import TOY_NETWORK, check_network
from dysl_vla_ros.targets import folder_target

CHECKPOINT = 'dense.safetensors'

_PRESET = "default: the preset's"
EXAMPLE = """
dysl train LEROBOT_SET --out runs/mine --minutes 60
dysl train --dataset runs/demos --out runs/dense
"""
KEPT = 'the state saved last is kept; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'sets',
        type=Path,
        nargs='*',
        metavar='DATASET',
        help='folder of a LeRobot set of any robot, or of dysl import; or those '
        'of dysl collect: the last frames of the last one are for validation',
    )
    parser.add_argument('--dataset', type=Path, nargs='+', default=[], help='the same')
    parser.add_argument('--out', type=Path, default=Path('runs/dense'),
                        help='folder of checkpoint and plots')  # fmt: skip
    parser.add_argument('--preset', default='full', choices=('full', 'toy'),
                        help='toy: everything small, a minute')  # fmt: skip
    parser.add_argument('--steps', type=COUNT, help=f'updates; {_PRESET}')
    parser.add_argument('--ground-steps', type=COUNT_FROM_0,
                        help=f'updates of the warm-up; 0 leaves it out; {_PRESET}')  # fmt: skip
    parser.add_argument('--batch', type=COUNT, help=f'samples per update and process; {_PRESET}')
    parser.add_argument('--learning-rate', type=SHARE_ABOVE_0, help=f'largest; {_PRESET}')
    parser.add_argument('--layers', type=whole(2), help=f'depth of the backbone; {_PRESET}')
    parser.add_argument('--width', type=whole(8), help=f'of a token; {_PRESET}')
    parser.add_argument('--exits', type=COUNT_FROM_0, help='early exits trained in every '
                        f'update, so that later jumps cost less; {_PRESET}')  # fmt: skip
    parser.add_argument('--exit-layers', type=COUNT, nargs=2, metavar=('FIRST', 'LAST'),
                        help=f'layers of which they are drawn; {_PRESET}')  # fmt: skip
    parser.add_argument('--precision', default='auto', choices=('auto', 'bf16', 'fp32'),
                        help='auto: bf16 on a GPU only; bf16 pays on a CPU with AVX512-BF16 or '
                        'AMX')  # fmt: skip
    parser.add_argument('--start', type=Path, metavar='CHECKPOINT',
                        help='train this one further, without a warm-up')  # fmt: skip
    parser.add_argument('--minutes', type=FROM_0, default=0.0,
                        help='updates are lowered to fit, once their speed is known')  # fmt: skip
    add_data_options(parser)
    add_robot_options(parser)
    add_training_options(parser)
    parser.add_argument('--save-every', type=POSITIVE, default=120.0,
                        help='interval of resumable states [s]')  # fmt: skip


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Declare what every command that reads a dataset takes."""
    parser.add_argument('--free-motion', type=SHARE_ABOVE_0, default=0.4,
                        help='share of the frames of free motion that is used')  # fmt: skip
    parser.add_argument(
        '--max-frames',
        type=COUNT_FROM_0,
        default=0,
        help='frames loaded per dataset, 27 kB each at 96x96; 0 for all',
    )
    parser.add_argument('--seed', type=SEED, default=0, help='of everything random')
    parser.add_argument('--device', default='', help='torch device; default: a GPU, or the CPU')


def run(given: argparse.Namespace) -> int:
    """Train; an interrupted training goes on where it was saved last."""
    given.dataset = [*given.sets, *given.dataset]
    if not given.dataset:
        raise ConfigError('dataset', None, 'the folder of a LeRobot set: dysl train DATASET')
    _refuse_beside_start(given)
    look_at_checkpoint('--start', given.start)
    for folder in given.dataset:
        if next(folder.glob('*.mcap'), next(folder.glob('*.db3'), None)) is not None:
            raise ConfigError('DATASET', str(folder), 'a LeRobot set: this is a recording; first '
                              f'dysl import {folder} FOLDER')  # fmt: skip
        look_at_dataset('DATASET', folder)
    folder_target('--out', given.out, is_workspace, 'the folder of an earlier run')
    if given.start is None and given.width is not None:
        check_network({**(TOY_NETWORK if given.preset == 'toy' else {}), 'width': given.width})
    need('train', 'torch', 'accelerate', 'pyarrow', 'matplotlib')
    ours = kind_of(given.dataset)
    _refuse_beside_sets(given, ours)
    if not ours:
        return train_robot_set(given)
    from dysl_vla_ros.lab.begun_with import Stages
    from dysl_vla_ros.lab.learn.dense import forget_states, train_dense
    from dysl_vla_ros.lab.learn.half import check_speed
    from dysl_vla_ros.lab.learn.made_of import checkpoint_of, data_of, shaping
    from dysl_vla_ros.lab.learn.train import describe
    from dysl_vla_ros.lab.model.checkpoint import load_checkpoint, save_checkpoint, with_card
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    device = training_device(given.device)
    check_speed('precision', given.precision, device.type == 'cuda')
    settings = dense_settings(given, device.type == 'cuda')
    if given.start is None:
        check_network(settings.network)
    data = load_data(given)
    start = None if given.start is None else load_checkpoint(given.start)
    console = Output()
    path = given.out / CHECKPOINT
    with StageBars(console, shown=_first()) as bars:
        space = Workspace(given.out, given.out, device, bars.progress, bars.told)
        stages = Stages(given.out, space.say, space.main)
        made_of = {
            'start': '' if start is None else checkpoint_of(start), 'data': data_of(data),
            'ground': settings.ground and shaping(settings.ground), 'network': settings.network,
            'train': shaping(settings.train), 'minutes': given.minutes,
            'own_share': settings.own_share,
        }  # fmt: skip
        if stages.there(path, made_of):
            return 0
        space.note('data', datasets=[str(folder) for folder in given.dataset], frames=data.frames,
                   samples=data.samples)  # fmt: skip
        checkpoint = train_dense(data, settings, space, start)
        card = {'train': {**space.report, 'settings': describe(settings.train)}}
        stages.note(path, made_of)
        if space.main:
            save_checkpoint(path, with_card(checkpoint, **card))
        forget_states(space, 'ground', 'train')
    if space.main:
        console.say(f'{path}: dense, {checkpoint.config.layers} layers of width '
                    f'{checkpoint.config.width}')  # fmt: skip
    return 0


def _refuse_beside_start(given: argparse.Namespace) -> None:
    """Refuse what the checkpoint decides."""
    if given.start is None:
        return
    refuse_ignored(given, ('--layers', '--width', *READ, *TRAINED), 'beside --start',
                   'a checkpoint that is trained further keeps its layers, and the set is read as '
                   'its own was')  # fmt: skip
    if given.ground_steps:
        refuse_ignored(given, ('--ground-steps',), 'beside --start',
                       'a checkpoint that is trained further has no warm-up')  # fmt: skip


def _refuse_beside_sets(given: argparse.Namespace, ours: bool) -> None:
    """Refuse what the kind of the set decides."""
    if ours:
        refuse_ignored(given, (*READ, *TRAINED), 'beside sets of dysl collect',
                       'they hold the numbers and pictures of the bundled arm')  # fmt: skip
        return
    refuse_ignored(given, ('--ground-steps', '--free-motion'), 'beside a set of any robot',
                   'no goals and no free motion are marked in it')  # fmt: skip


def dense_settings(given: argparse.Namespace, on_gpu: bool) -> Any:
    """The preset's numbers, changed by the command line."""
    from dysl_vla_ros.lab.learn.dense import DenseSettings
    from dysl_vla_ros.lab.recipe import preset

    recipe = preset(given.preset, 1, on_gpu)
    changes: dict[str, Any] = {name: value for name, value in (
        ('steps', given.steps), ('batch', given.batch), ('learning_rate', given.learning_rate),
        ('exits', given.exits), ('precision', given.precision),
        ('exit_layers', None if given.exit_layers is None else tuple(given.exit_layers)),
    ) if value is not None}  # fmt: skip
    train = replace(recipe.train, save_every_s=given.save_every, seed=given.seed,
                    max_seconds=60.0 * given.minutes, **changes)  # fmt: skip
    ground = None
    if given.ground_steps != 0:
        steps = given.ground_steps or recipe.ground.steps
        ground = replace(recipe.ground, steps=steps, batch=train.batch, precision=train.precision,
                         save_every_s=given.save_every)  # fmt: skip
    network = {**recipe.network, **{name: value for name, value in (
        ('layers', given.layers), ('width', given.width)) if value is not None}}  # fmt: skip
    return DenseSettings(ground, train, network, recipe.own_share, given.seed)


def load_data(given: argparse.Namespace) -> Any:
    """The datasets of the command line, checked and thinned."""
    from dysl_vla_ros.lab.data.dataset_reader import Thinning
    from dysl_vla_ros.lab.data.samples import load_samples

    thinning = Thinning(given.free_motion, given.max_frames, given.seed)
    return load_samples(given.dataset, thinning)


def _first() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)
