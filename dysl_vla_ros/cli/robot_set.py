"""A data set of any robot on the command line: its options, its guesses, its table of errors."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.table import Table

from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.values import ANY, POSITIVE, SHARE_INSIDE, whole
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.shapes import TOY_NETWORK, check_network

if TYPE_CHECKING:
    from dysl_vla_ros.lab.data.lerobot import LerobotSet
    from dysl_vla_ros.lab.data.robot_reading import Reading
    from dysl_vla_ros.lab.data.robot_samples import RobotSamples
    from dysl_vla_ros.lab.data.set_choice import SetChoice
    from dysl_vla_ros.lab.learn.robot_policy import Scores
    from dysl_vla_ros.lab.model.checkpoint import Checkpoint

UNIT_NAMES = ('auto', 'radians', 'degrees', 'as-stored')
CPU, GPU = (2000, 32), (20_000, 64)
"""Updates, and samples per update."""
NETWORK: dict[str, dict[str, Any]] = {
    'cpu': {'layers': 8, 'width': 128, 'auxiliary_layer': 2},
    'gpu': {'layers': 20, 'width': 192, 'auxiliary_layer': 5},
    'toy': TOY_NETWORK,
}


READ = ('--cameras', '--state', '--action', '--action-space', '--gripper', '--gripper-range',
        '--action-scale', '--units', '--action-units', '--joint-names', '--only',
        '--action-names')  # fmt: skip
"""Options that say what the numbers and pictures of a set are."""
TRAINED = ('--horizon', '--image-size', '--held-out')
"""Options that say what is made of them in a training."""


def add_robot_options(parser: argparse.ArgumentParser) -> None:
    """Declare what says how a set of any robot is read; what is left out is taken from it."""
    group = parser.add_argument_group(
        'a set of any robot', 'a LeRobot set, version 2.0, 2.1 or 3.0, or one of dysl import: '
        'what is left out here is taken from it, and told')  # fmt: skip
    group.add_argument(
        '--cameras',
        nargs='+',
        default=[],
        metavar='NAME',
        help='pictures that the policy sees; image=front calls front image, which '
        'is what image_topic:= of the launch file feeds; default: all',
    )
    group.add_argument('--state', nargs='+', default=[], metavar='COLUMN',
                       help='columns of the joints; default: observation.state')  # fmt: skip
    group.add_argument('--action', default='', metavar='COLUMN', help='default: action')
    group.add_argument('--action-space', default='', choices=('', *get_args(ActionSpace)),
                       help='default: told from the numbers and their names')  # fmt: skip
    group.add_argument('--gripper', nargs='+', default=[], metavar='NAME',
                       help='names of the numbers that are openings, or none; default: those that '
                       'are called so')  # fmt: skip
    group.add_argument('--gripper-range', nargs=2, type=ANY, metavar=('CLOSED', 'OPEN'),
                       help="in the set's units; default: the extremes of the set")  # fmt: skip
    group.add_argument('--action-scale', nargs='+', type=POSITIVE, default=[], metavar='FACTOR',
                       help='metres and radians of 1.0, for each number of an action that is no '
                       'opening')  # fmt: skip
    group.add_argument('--units', default='auto', choices=UNIT_NAMES,
                       help='of the joints; auto: numbers beyond a turn are degrees')  # fmt: skip
    group.add_argument('--action-units', default='', choices=('', *UNIT_NAMES),
                       help='of the joints of an action; default: those of the state')  # fmt: skip
    group.add_argument('--joint-names', nargs='+', default=[], metavar='JOINT',
                       help="of the joints on the robot; default: the set's")  # fmt: skip
    group.add_argument('--only', nargs='+', default=[], metavar='NAME',
                       help='names of the numbers that are read and moved, in the order of the '
                       'arm, its opening last; default: all')  # fmt: skip
    group.add_argument('--action-names', nargs='+', default=[], metavar='NAME',
                       help='names of the state for the numbers of an action, in its order; '
                       "default: the set's")  # fmt: skip


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Declare what is made of a set of any robot in a training."""
    group = parser.add_argument_group('a training on a set of any robot')
    group.add_argument('--horizon', type=whole(2, 200), default=0,
                       help='actions per chunk; default: half a second, 8 to 32')  # fmt: skip
    group.add_argument(
        '--image-size',
        type=whole(16, 512),
        default=96,
        help='shorter side of a picture as the policy sees it [pixels]',
    )
    group.add_argument('--held-out', type=SHARE_INSIDE, default=0.1, metavar='SHARE',
                       help='of the episodes, to judge the policy by')  # fmt: skip


def is_ours(folder: Path) -> bool:
    """Whether a set holds the simulator's labels, for the bundled arm."""
    from dysl_vla_ros.lab.data.dataset_format import OURS, read_document

    if not (folder / OURS).is_file():
        return False
    return 'goals' in read_document(folder / OURS, 'written by dysl')


def kind_of(folders: Sequence[Path]) -> bool:
    """Whether all sets are the bundled arm's, with labels.

    Raises:
        ConfigError: Some are; or several sets of other robots.
    """
    ours = [is_ours(folder) for folder in folders]
    if any(ours) and not all(ours):
        mixed = [folder.name for folder, own in zip(folders, ours, strict=True) if not own]
        raise ConfigError('dataset', mixed, "sets of one robot: the others hold the simulator's "
                          'labels for the bundled arm')  # fmt: skip
    if not any(ours) and len(folders) != 1:
        raise ConfigError('dataset', [str(folder) for folder in folders], 'one set of a robot')
    return all(ours)


def choice_of(given: argparse.Namespace) -> SetChoice:
    """What the command line says of the set."""
    from dysl_vla_ros.lab.data.set_choice import SetChoice

    pair = given.gripper_range
    return SetChoice(
        tuple(given.cameras), tuple(given.state), given.action, given.action_space,
        tuple(given.gripper), None if pair is None else (pair[0], pair[1]),
        tuple(given.action_scale), given.units, tuple(given.joint_names), given.horizon,
        given.image_size, given.held_out, given.max_frames, given.seed, tuple(given.only),
        tuple(given.action_names), given.action_units,
    )  # fmt: skip


def load_for(
    checkpoint: Checkpoint, folders: Sequence[Path], most: int, progress: Any = None,
    say: Callable[[str], None] = print,
) -> tuple[LerobotSet, Reading, RobotSamples]:  # fmt: skip
    """A set, read as that of the checkpoint was; where by another order, ``say`` tells it.

    Raises:
        ConfigError: It is another robot's.
    """
    from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
    from dysl_vla_ros.lab.data.set_choice import SetChoice
    from dysl_vla_ros.lab.learn.robot_policy import reading_of

    reading = reading_of(checkpoint)
    if len(folders) != 1 or reading is None:
        raise ConfigError('dataset', [str(folder) for folder in folders],
                          'the set of the robot that the checkpoint was trained for')  # fmt: skip
    before = reading.told
    data, reading, rows = read_set(str(folders[0]), SetChoice(), reading)
    for line in reading.told:
        if line not in before:
            say(f'- {folders[0]}: {line}')
    return data, reading, load_robot_samples(data, reading, rows, most, progress)


def train_robot_set(given: argparse.Namespace) -> int:
    """Train a policy for the robot of a set, and print its errors beside the baselines'."""
    from dysl_vla_ros.cli.stages import StageBars
    from dysl_vla_ros.cli.train import CHECKPOINT
    from dysl_vla_ros.lab.begun_with import Stages
    from dysl_vla_ros.lab.data.batches import Augmentation
    from dysl_vla_ros.lab.data.observation_file import OBSERVATIONS
    from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
    from dysl_vla_ros.lab.learn.dense import forget_states
    from dysl_vla_ros.lab.learn.half import check_speed
    from dysl_vla_ros.lab.learn.made_of import checkpoint_of, data_of, shaping
    from dysl_vla_ros.lab.learn.robot_policy import NAME, train_robot
    from dysl_vla_ros.lab.learn.train import TrainSettings, describe
    from dysl_vla_ros.lab.model.checkpoint import load_checkpoint, save_checkpoint, with_card
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    device = training_device(given.device)
    check_speed('precision', given.precision, device.type == 'cuda')
    on_gpu = device.type == 'cuda'
    start = None if given.start is None else load_checkpoint(given.start)
    steps, batch = GPU if on_gpu else CPU
    if given.preset == 'toy':
        steps, batch = 6, 8
    changes = {name: getattr(given, name) for name in ('layers', 'width')
               if getattr(given, name) is not None}  # fmt: skip
    network = NETWORK['toy' if given.preset == 'toy' else 'gpu' if on_gpu else 'cpu'] | changes
    if start is None:
        check_network(network)
    settings = TrainSettings(
        steps=given.steps or steps, batch=given.batch or batch,
        learning_rate=given.learning_rate or 7e-4, warmup=min(100, (given.steps or steps) // 4),
        ema=0.99, note_every=25 if (given.steps or steps) > 100 else 2, seed=given.seed,
        max_seconds=60.0 * given.minutes, save_every_s=given.save_every,
        exits=given.exits or 0, precision=given.precision,
        augmentation=Augmentation(shift=2, noise=0.005),
        exit_layers=tuple(given.exit_layers) if given.exit_layers else (0, 0),
    )  # fmt: skip
    settings = replace(settings, weights=replace(settings.weights, gripper=1.0))
    console = Output(highlight=False)
    known = None
    if start is not None:
        from dysl_vla_ros.lab.learn.robot_policy import reading_of

        known = reading_of(start)
        if known is None:
            raise ConfigError('start', str(given.start), 'a checkpoint of the robot of the set')
    data, reading, rows = read_set(str(given.dataset[0]), choice_of(given), known)
    told = '\n'.join(f'- {line}' for line in reading.told)
    console.say(f'{given.dataset[0]}: {data.robot}, {len(data.episodes)} episodes, '
                f'{data.frames} frames\n{told}')  # fmt: skip
    with StageBars(console) as bars:
        space = Workspace(given.out, given.out, device, bars.progress)
        samples = load_robot_samples(data, reading, rows, given.max_frames, bars.count('read'))
        path, stages = given.out / CHECKPOINT, Stages(given.out, space.say, space.main)
        made_of = {
            'start': '' if start is None else checkpoint_of(start), 'reading': reading.as_json(),
            'data': data_of(samples.training), 'network': network, 'train': shaping(settings),
            'minutes': given.minutes,
        }  # fmt: skip
        if stages.there(path, made_of):
            return 0
        space.note('data', dataset=str(given.dataset[0]), robot=data.robot,
                   frames=samples.training.frames, told=list(reading.told))  # fmt: skip
        checkpoint, scores = train_robot(samples, reading, settings, network, space, start)
        card = {'train': {**space.report, 'settings': describe(settings)}}
        stages.note(path, made_of)
        save_checkpoint(path, with_card(checkpoint, **card))
        seen = _held_out(given.out / OBSERVATIONS, checkpoint, samples, reading)
        forget_states(space, NAME)
    console.print(scores_table(scores, len(samples.episodes), samples.held_out.frames))
    console.tell(verdict(scores))
    console.say(seen)
    console.say(f'{path}: dense, {checkpoint.config.layers} layers of width '
                f'{checkpoint.config.width}; now dysl distill {path} --dataset '
                f'{given.dataset[0]} --out FOLDER')  # fmt: skip
    return 0


def _held_out(path: Path, checkpoint: Checkpoint, samples: RobotSamples, reading: Reading) -> str:
    """Write what ``--observations`` takes; say so, or why there is none."""
    from dysl_vla_ros.lab.learn.robot_policy import write_held_out

    try:
        write_held_out(path, checkpoint, samples, reading)
    except ConfigError as error:
        return f'no observations were written beside it: {error}'
    return f'{path}: held-out states, for dysl calibrate, headroom and bench --observations'


def scores_table(scores: Scores, episodes: int, frames: int) -> Table:
    """Errors on held-out episodes."""
    table = Table(title=f'action error on {episodes} held-out episodes, {frames} frames',
                  title_justify='left')  # fmt: skip
    table.add_column('answer')
    table.add_column('error', justify='right')
    table.add_column('of the best baseline', justify='right')
    best = scores.baselines[scores.best]
    rows = [('the policy', scores.policy), ('  with shuffled pictures', scores.shuffled),
            *scores.baselines.items()]  # fmt: skip
    for name, value in rows:
        share = f'{100 * value / best:.0f} %' if best > 0 else '-'
        table.add_row(name, f'{value:.4f}', share)
    return table


def verdict(scores: Scores) -> str:
    """In words; errors are normalised: 2 is the range of a number."""
    if scores.baselines[scores.best] > 0:
        side = 'below' if scores.below > 0 else 'ABOVE'
        words = f'{abs(100 * scores.below):.0f} % {side} the best baseline ({scores.best})'
    else:
        words = f'ABOVE the best baseline ({scores.best}), which is never off in these frames: ' \
                'they tell little, --held-out takes more episodes'  # fmt: skip
    if scores.shuffled <= scores.policy * 1.02:
        words += '; it does NOT look at the pictures: shuffled ones are as good'
    return words
