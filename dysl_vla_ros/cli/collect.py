"""``dysl collect``: demonstrations of the expert, or corrections of a policy, as a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from dysl_vla_ros.cli.inputs import look_at_checkpoint, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.cli.values import COUNT, FROM_0, SEED, SHARE_ABOVE_0, WORKERS
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.goals import Split

EXPERT_SEED, POLICY_SEED = 10_000_000, 20_000_000

EXAMPLE = 'dysl collect runs/demos --episodes 100'
KEPT = 'finished episodes are kept; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('dataset', type=Path,
                        help='folder (LeRobotDataset v3); one that is there goes on')  # fmt: skip
    parser.add_argument('--episodes', type=COUNT, default=2200,
                        help='in all, four families in turn; of LIBERO per scene')  # fmt: skip
    parser.add_argument('--world', default='tabletop', choices=('tabletop', 'libero'),
                        help='where they are played')  # fmt: skip
    parser.add_argument('--suite', default='libero_object', help='of LIBERO, which takes '
                        '--episodes, --seed and --workers beside it')  # fmt: skip
    parser.add_argument(
        '--seed',
        type=SEED,
        help='of the first episode, the others count up; '
        f'default: {EXPERT_SEED}, or {POLICY_SEED} with --policy',
    )
    parser.add_argument('--workers', type=WORKERS, default=1, help='processes')
    parser.add_argument(
        '--noise',
        type=FROM_0,
        default=1.0,
        help='factor on the disturbances of the expert; labels stay clean',
    )
    parser.add_argument(
        '--label-goals',
        type=COUNT,
        default=10,
        help='every frame is labelled for so many goals, its own included',
    )
    parser.add_argument('--keep', type=SHARE_ABOVE_0, default=1.0,
                        help='share of the frames of free motion that is recorded; below 1 the '
                        'frames of an episode are not equally spaced')  # fmt: skip
    parser.add_argument('--split', default='train', choices=get_args(Split),
                        help='scenes and phrasings')  # fmt: skip
    parser.add_argument(
        '--policy',
        default='',
        metavar='CHECKPOINT',
        help='this policy plays, and the expert labels where it went (DAgger)',
    )
    parser.add_argument('--mode', default='full', choices=('full', 'live', 'static'),
                        help='how the policy runs')  # fmt: skip
    parser.add_argument('--max-actions', type=COUNT, default=300, help='of an episode of a policy')
    parser.add_argument('--per-file', type=COUNT, default=50, help='episodes per data file')
    parser.add_argument('--topics', action='store_true', help='write a recording of topics, as of '
                        'a teleoperated arm, instead of a set: for dysl import. A real arm is '
                        'recorded by record:=true, with start, success, failure or end on '
                        '~/label')  # fmt: skip
    parser.add_argument('--max-seconds', type=FROM_0, default=0.0,
                        help='begin no episode after this time; 0 for no limit')  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Collect what is missing; an interrupted collection goes on."""
    if given.policy:
        look_at_checkpoint('--policy', Path(given.policy))
        need('train', 'torch')
    need('train', 'pyarrow', 'PIL')
    if given.world == 'libero':
        return _libero(given)
    need('sim', 'mujoco')
    from dysl_vla_ros.lab.data.collect import CollectSettings, collect

    seed = given.seed
    if seed is None:
        seed = POLICY_SEED if given.policy else EXPERT_SEED
    if given.topics:
        return _topics(given, seed)
    settings = CollectSettings(
        episodes=given.episodes, first_seed=seed, per_file=given.per_file, keep=given.keep,
        label_goals=given.label_goals, noise=given.noise, workers=given.workers,
        max_seconds=given.max_seconds, split=given.split, policy=given.policy, mode=given.mode,
        max_actions=given.max_actions,
    )  # fmt: skip
    console = Output()
    with StageBars(console) as bars:
        found = collect(given.dataset, settings, bars.count('episodes'))
    left = settings.episodes - found
    console.say(f'{given.dataset}: {found} episodes' + (
        f'; {left} are left: the same command goes on' if left > 0 else ''))  # fmt: skip
    return 0


def _topics(given: argparse.Namespace, seed: int) -> int:
    """Made-up teleoperation."""
    from dysl_vla_ros.lab.data.teleoperation import record_teleoperation

    if given.policy or given.episodes < 1:
        raise ConfigError('topics', 'true', 'the expert, which plays at least one episode')
    console = Output()
    with StageBars(console) as bars:
        won = record_teleoperation(given.dataset, given.episodes, seed, bars.count('episodes'))
    console.say(f'{given.dataset}: {given.episodes} episodes, {won} won; now dysl import '
                f'{given.dataset} FOLDER')  # fmt: skip
    return 0


def _libero(given: argparse.Namespace) -> int:
    from dysl_vla_ros.lab.data.libero import LiberoCollect, collect_libero

    settings = LiberoCollect(given.suite, given.episodes, workers=given.workers,
                             first_seed=given.seed or 0)  # fmt: skip
    _refuse_other_seeds(given.dataset, settings.first_seed)
    console = Output()
    with StageBars(console) as bars:
        found = collect_libero(given.dataset, settings, bars.count('episodes'))
    console.say(f'{given.dataset}: {found} won demonstrations of {given.suite}')
    return 0


def _refuse_other_seeds(folder: Path, first: int) -> None:
    """Every scene was begun with the first seed: an earlier or later one would mix them."""
    seeds = [int(path.stem) for path in folder.glob('scene_*/*.npz') if path.stem.isdigit()]
    if seeds and min(seeds) != first:
        raise ConfigError('seed', first, f'{min(seeds)}, with which {folder} was begun; or '
                          'another folder')  # fmt: skip
