"""``dysl recipe``: from nothing to a bundle, in one command that goes on where it stopped.

Several GPUs: ``torchrun --nproc-per-node N -m dysl_vla_ros.cli.main recipe ...``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysl_vla_ros.cli.inputs import look_at_bundle, look_at_checkpoint, need
from dysl_vla_ros.cli.recipe_options import STAGES, refuse_idle
from dysl_vla_ros.cli.values import COUNT, POSITIVE, SEED, WORKERS, whole
from dysl_vla_ros.lab.folders import is_workspace
from dysl_vla_ros.targets import folder_target

if TYPE_CHECKING:
    from dysl_vla_ros.lab.recipe import Recipe

_PRESET = "default: the preset's"
EXAMPLE = 'dysl recipe --preset toy --folder runs/toy'
KEPT = 'every finished stage and the state saved last are kept; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--preset', default='full', choices=('full', 'toy'),
                        help='toy: everything small, two minutes')  # fmt: skip
    parser.add_argument('--world', default='tabletop', choices=('tabletop', 'libero'),
                        help='libero: make libero')  # fmt: skip
    parser.add_argument('--suite', default='libero_object', help='of LIBERO')
    parser.add_argument('--episodes', type=COUNT,
                        help=f'of LIBERO, demonstrations per scene; {_PRESET}')  # fmt: skip
    parser.add_argument('--steps', type=COUNT,
                        help=f'of LIBERO, updates of the dense training; {_PRESET}')  # fmt: skip
    parser.add_argument('--precision', default='auto', choices=('auto', 'bf16', 'fp32'),
                        help='of the trainings; auto: bf16 on a GPU only')  # fmt: skip
    parser.add_argument('--folder', type=Path, required=True, help='intermediate files; large')
    parser.add_argument('--results', type=Path, help='checkpoints and plots; default: --folder')
    parser.add_argument('--workers', type=WORKERS, default=2, help='processes that simulate')
    parser.add_argument('--device', default='', help='torch device; default: a GPU, or the CPU')
    parser.add_argument('--until', default='bundle',
                        choices=STAGES,
                        help='last stage')  # fmt: skip
    parser.add_argument('--start', type=Path, help='checkpoint, or bundle of the '
                        'simulated arm, in place of the first training')  # fmt: skip
    parser.add_argument('--collect-seconds', type=POSITIVE,
                        help=f'limit of the collection; {_PRESET}')  # fmt: skip
    parser.add_argument('--train-seconds', type=POSITIVE,
                        help=f'limit of the first training; {_PRESET}')  # fmt: skip
    parser.add_argument('--round-seconds', type=POSITIVE,
                        help=f'limit of each DAgger training; {_PRESET}')  # fmt: skip
    parser.add_argument('--round-episodes', type=COUNT,
                        help=f'episodes of each DAgger round (of LIBERO: per scene); '
                        f'{_PRESET}')  # fmt: skip
    parser.add_argument('--rounds', type=whole(0, 100), help=f'number of DAgger rounds; {_PRESET}')
    parser.add_argument('--seed', type=SEED, default=0, help='of everything random')


def run(given: argparse.Namespace) -> int:
    """Run every stage whose file is not there yet."""
    refuse_idle(given)
    if given.start is not None and given.start.expanduser().is_dir():
        look_at_bundle('--start', given.start)
    else:
        look_at_checkpoint('--start', given.start)
    for name in ('folder', 'results'):
        if getattr(given, name) is not None:
            folder_target(f'--{name}', getattr(given, name), is_workspace,
                          'the folder of an earlier run')  # fmt: skip
    need('train', 'torch', 'accelerate', 'pyarrow', 'matplotlib', 'onnx', 'onnxscript')
    need('sim', 'mujoco')
    from dysl_vla_ros.lab import recipe as recipes
    from dysl_vla_ros.lab.learn.half import check_speed
    from dysl_vla_ros.lab.workspace import training_device

    logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stdout)
    logging.getLogger('dysl_vla_ros').setLevel(logging.INFO)
    device = training_device(given.device)
    check_speed('precision', given.precision, device.type == 'cuda')
    if given.world == 'libero':
        return _libero(given, device)
    recipe = adjusted(recipes.preset(given.preset, given.workers, device.type == 'cuda'), given)
    recipes.run(recipe, given.folder, given.results or given.folder, device, given.workers,
                given.until, given.start)  # fmt: skip
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
    recipe = replace(recipe, ground=replace(recipe.ground, precision=given.precision),
                     train=replace(recipe.train, precision=given.precision),
                     distill=replace(recipe.distill, precision=given.precision))  # fmt: skip
    rounds = recipe.rounds
    if given.rounds is not None:
        rounds = tuple((rounds * given.rounds)[: given.rounds])
    if given.round_seconds:
        rounds = tuple(replace(r, train=replace(r.train, max_seconds=given.round_seconds))
                       for r in rounds)  # fmt: skip
    if given.round_episodes:
        rounds = tuple(replace(r, episodes=given.round_episodes) for r in rounds)
    rounds = tuple(replace(r, train=replace(r.train, seed=n, precision=given.precision))
                   for n, r in enumerate(rounds, 1))  # fmt: skip
    return replace(recipe, rounds=rounds)


def _libero(given: argparse.Namespace, device: Any) -> int:
    from dysl_vla_ros.lab.libero_recipe import libero_preset, run_libero
    from dysl_vla_ros.lab.recipe import Printer
    from dysl_vla_ros.lab.workspace import Workspace

    recipe = libero_preset(given.preset, given.suite, given.workers, device.type == 'cuda')
    changes = {name: value for name, value in (('steps', given.steps),
               ('max_seconds', given.train_seconds)) if value}  # fmt: skip
    train = replace(recipe.train, precision=given.precision, seed=given.seed, **changes)
    ground = recipe.ground and replace(recipe.ground, precision=given.precision)
    if given.episodes:
        recipe = replace(recipe, collect=replace(recipe.collect, episodes=given.episodes))
    distill = replace(recipe.distill, precision=given.precision)
    rounds = recipe.rounds if given.rounds is None else recipe.rounds[:1] * given.rounds
    rounds = tuple(
        replace(one, episodes=given.round_episodes or one.episodes,
                train=replace(one.train, precision=given.precision, seed=1000 * n + given.seed,
                              max_seconds=given.round_seconds or 0.0))
        for n, one in enumerate(rounds, start=1)
    )  # fmt: skip
    recipe = replace(recipe, train=train, ground=ground, distill=distill, rounds=rounds,
                     seed=given.seed)  # fmt: skip
    printer = Printer()
    results = given.results or given.folder
    space = Workspace(given.folder, results, device, printer.progress, printer.told)
    print(run_libero(recipe, space, given.until))
    return 0
