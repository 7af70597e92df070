"""``dysl collect``: demonstrations of the expert, or corrections of a policy, as a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from rich.console import Console

from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.sim.goals import Split

EXPERT_SEED, POLICY_SEED = 10_000_000, 20_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('dataset', type=Path,
                        help='folder (LeRobotDataset v3); one that is there goes on')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=2200,
                        help='in all, four families in turn; of LIBERO per scene')  # fmt: skip
    parser.add_argument('--world', default='tabletop', choices=('tabletop', 'libero'))
    parser.add_argument('--suite', default='libero_object', help='of LIBERO, which takes '
                        '--episodes, --seed and --workers beside it')  # fmt: skip
    parser.add_argument('--seed', type=int, help='of the first episode; the others count up')
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--noise', type=float, default=1.0,
                        help='factor on the disturbances of the expert; labels stay clean')
    parser.add_argument('--label-goals', type=int, default=10,
                        help='every frame is labelled for so many goals, its own included')
    parser.add_argument('--keep', type=float, default=1.0,
                        help='share of the frames of free motion that is recorded; below 1 the '
                        'frames of an episode are not equally spaced')  # fmt: skip
    parser.add_argument('--split', default='train', choices=get_args(Split))
    parser.add_argument('--policy', default='', metavar='CHECKPOINT',
                        help='this policy plays, and the expert labels where it went (DAgger)')
    parser.add_argument('--mode', default='full', choices=('full', 'live', 'static'),
                        help='how the policy runs')  # fmt: skip
    parser.add_argument('--max-actions', type=int, default=300, help='of an episode of a policy')
    parser.add_argument('--per-file', type=int, default=50, help='episodes per data file')
    parser.add_argument('--max-seconds', type=float, default=0.0,
                        help='begin no episode after this time; 0 for no limit')  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Collect what is missing; an interrupted collection goes on."""
    if given.world == 'libero':
        return _libero(given)
    from dysl_vla_ros.lab.data.collect import CollectSettings, collect

    seed = given.seed
    if seed is None:
        seed = POLICY_SEED if given.policy else EXPERT_SEED
    settings = CollectSettings(
        episodes=given.episodes, first_seed=seed, per_file=given.per_file, keep=given.keep,
        label_goals=given.label_goals, noise=given.noise, workers=given.workers,
        max_seconds=given.max_seconds, split=given.split, policy=given.policy, mode=given.mode,
        max_actions=given.max_actions,
    )  # fmt: skip
    console = Console()
    with StageBars(console) as bars:
        found = collect(given.dataset, settings, bars.count('episodes'))
    left = settings.episodes - found
    console.print(f'{given.dataset}: {found} episodes' + (
        f'; {left} are left: the same command goes on' if left > 0 else ''))  # fmt: skip
    return 0


def _libero(given: argparse.Namespace) -> int:
    from dysl_vla_ros.lab.data.libero import LiberoCollect, collect_libero

    settings = LiberoCollect(given.suite, given.episodes, workers=given.workers,
                             first_seed=given.seed or 0)  # fmt: skip
    console = Console()
    with StageBars(console) as bars:
        found = collect_libero(given.dataset, settings, bars.count('episodes'))
    console.print(f'{given.dataset}: {found} won demonstrations of {given.suite}')
    return 0
