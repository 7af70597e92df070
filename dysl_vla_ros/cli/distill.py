"""``dysl distill``: adapters and controllers for a dense checkpoint, which itself stays frozen."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.inputs import look_at_checkpoint, look_at_dataset, look_at_file, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.published import add_published, distill_published, is_published
from dysl_vla_ros.cli.robot_set import load_for
from dysl_vla_ros.cli.stages import StageBars, listed
from dysl_vla_ros.cli.train import add_data_options, load_data
from dysl_vla_ros.cli.values import COUNT, COUNT_FROM_0, FROM_0, SEED, SHARE, SHARE_INSIDE
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.folders import is_workspace
from dysl_vla_ros.targets import folder_target

CHECKPOINT = 'policy.safetensors'

_PRESET = "default: the preset's"
EXAMPLE = 'dysl distill runs/dense/dense.safetensors --dataset runs/demos --out runs/dysl'
KEPT = 'the state saved last is kept; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('checkpoint', type=Path, help='dense; where dysl calibrate chose static '
                        'layers they are used, otherwise they are chosen now; or the folder of a '
                        'published OpenVLA-OFT')  # fmt: skip
    parser.add_argument('--dataset', type=Path, nargs='+', required=True, help='folders')
    parser.add_argument('--out', type=Path, required=True, help='folder of checkpoint and plots')
    parser.add_argument('--preset', default='full', choices=('full', 'toy'),
                        help='toy: everything small, a minute')  # fmt: skip
    parser.add_argument('--skip-weight', type=FROM_0,
                        help='what a skipped position is worth in action error: more skips '
                        f'more; {_PRESET}')  # fmt: skip
    parser.add_argument('--adapter-steps', type=COUNT_FROM_0,
                        help=f'updates of stage 1; {_PRESET}')  # fmt: skip
    parser.add_argument('--controller-steps', type=COUNT_FROM_0,
                        help=f'updates of stage 2; {_PRESET}')  # fmt: skip
    parser.add_argument('--batch', type=COUNT, help=f'samples per update; {_PRESET}')
    parser.add_argument('--rank', type=COUNT, help=f'of the adapters; {_PRESET}')
    parser.add_argument('--static-share', type=SHARE_INSIDE,
                        help=f'share of static layers; {_PRESET}')  # fmt: skip
    parser.add_argument('--static-lot', type=SEED, metavar='SEED',
                        help='draw as many static layers by lot; default: those that score '
                        'highest')  # fmt: skip
    parser.add_argument('--note-every', type=COUNT, default=100,
                        help='updates between looks at held-out samples, and between '
                        'resumable states')  # fmt: skip
    add_data_options(parser)
    parser.add_argument('--layers', type=Path, help='of a published folder: layers.json of dysl '
                        'calibrate')  # fmt: skip
    parser.add_argument('--task-share', type=SHARE, help='share of the demonstrated actions in '
                        'the target; published folder: 0, the dense model alone')  # fmt: skip
    parser.add_argument('--episodes', type=COUNT, default=24,
                        help='of a published folder: episodes that say when to skip')  # fmt: skip
    add_published(parser)


def run(given: argparse.Namespace) -> int:
    """Distil; an interrupted distillation goes on where it was saved last."""
    _check(given)
    from dysl_vla_ros.lab.begun_with import Stages
    from dysl_vla_ros.lab.learn.dense import forget_states
    from dysl_vla_ros.lab.learn.distilling import distil_checkpoint
    from dysl_vla_ros.lab.learn.layer_choice import choose_layers, chosen_layers
    from dysl_vla_ros.lab.learn.made_of import checkpoint_of, data_of, shaping
    from dysl_vla_ros.lab.model.checkpoint import load_checkpoint, save_checkpoint, with_card
    from dysl_vla_ros.lab.recipe import preset
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    if is_published(given.checkpoint):
        return distill_published(given)
    device = training_device(given.device)
    checkpoint = load_checkpoint(given.checkpoint)
    recipe = preset(given.preset, 1, device.type == 'cuda')
    settings = _changed(recipe.distill, given)
    if checkpoint.robot is None:
        data = load_data(given)
    else:
        data = load_for(checkpoint, given.dataset, given.max_frames)[2].training
    console = Output()
    with StageBars(console) as bars:
        space = Workspace(given.out, given.out, device, bars.progress, bars.told)
        path, stages = given.out / CHECKPOINT, Stages(given.out, space.say, space.main)
        rank = recipe.rank if given.rank is None else given.rank
        made_of = {
            'start': checkpoint_of(checkpoint), 'data': data_of(data), 'rank': rank,
            'distill': shaping(settings), 'static_share': given.static_share,
            'static_lot': given.static_lot, 'own_share': recipe.own_share,
        }  # fmt: skip
        if stages.there(path, made_of):
            return 0
        layout = chosen_layers(checkpoint)
        if layout is None or given.static_share is not None or given.static_lot is not None:
            share = given.static_share or recipe.static_share
            dense = replace(checkpoint, skipping=None)
            checkpoint = choose_layers(dense, data, space, share, batch=settings.batch,
                                       lot=given.static_lot)  # fmt: skip
            layout = chosen_layers(checkpoint)
        assert layout is not None
        checkpoint = distil_checkpoint(
            checkpoint, layout, data, settings, space, rank, given.note_every, given.seed,
            recipe.own_share,
        )  # fmt: skip
        card = {'distill': {**space.report, 'settings': asdict(settings)}}
        stages.note(path, made_of)
        save_checkpoint(path, with_card(checkpoint, **card))
        forget_states(space, 'distill')
    known = '' if checkpoint.robot is None else f' --dataset {given.dataset[0]}'
    console.say(f'{path}: static layers {listed(layout.static_layers)} of '
                f'{layout.layers_total}; '
                f'now dysl calibrate {path}{known}')  # fmt: skip
    return 0


def _check(given: argparse.Namespace) -> None:
    if given.static_lot is not None and is_published(given.checkpoint):
        raise ConfigError('static-lot', given.static_lot, 'nothing with a published folder, whose '
                          'static layers are those of --layers or of their scores')  # fmt: skip
    if not is_published(given.checkpoint):
        refuse_ignored(given, ('--layers', '--episodes'), 'beside a checkpoint',
                       'they are of a published folder')  # fmt: skip
        look_at_checkpoint('checkpoint', given.checkpoint)
    for folder in given.dataset:
        look_at_dataset('--dataset', folder)
    look_at_file('--layers', given.layers, 'layers.json of dysl calibrate')
    folder_target('--out', given.out, is_workspace, 'the folder of an earlier run')
    need('train', 'torch', 'accelerate', 'pyarrow', 'matplotlib')


def _changed(settings: Any, given: argparse.Namespace) -> Any:
    """The preset's numbers, changed by the command line."""
    changes = {name: getattr(given, name) for name in
               ('skip_weight', 'adapter_steps', 'controller_steps', 'batch', 'task_share')
               if getattr(given, name) is not None}  # fmt: skip
    return replace(settings, seed=given.seed, **changes)
