"""``dysl import``: recorded topics, or a LeRobot set of any robot -> a set to train on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.inputs import need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.robot_set import READ, add_robot_options, choice_of
from dysl_vla_ros.cli.values import COUNT_FROM_0, POSITIVE, whole
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.partial_set import set_target

if TYPE_CHECKING:
    from dysl_vla_ros.lab.data.bag_import import BagChoice, BagEpisodes

KEPT = 'nothing is kept: a set appears whole or not at all'
INFO = 'meta/info.json'
_OF_RECORDINGS = ('--joints', '--gripper-topic', '--instruction', '--label', '--most-silent',
                  '--failures', '--no-failures')  # fmt: skip
_OF_BOTH = ('--cameras', '--action', '--joint-names')
_SAID = argparse.BooleanOptionalAction

EXAMPLE = "dysl import monday_1 monday_2 runs/pick --fps 20 --text 'pick up the cup'"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('source', type=Path, nargs='+', help='recordings of ros2 bag record, or '
                        'of record:=true, MCAP or sqlite3, whole or cut off; or one LeRobot '
                        'set')  # fmt: skip
    parser.add_argument('out', type=Path, help='folder of the set; a new one')
    parser.add_argument('--fps', type=whole(1, 200), default=0,
                        help='frames, and so actions, per second; '
                        "default: 20 for recordings, a set's own")  # fmt: skip
    parser.add_argument('--pictures', default='video', choices=('video', 'png'),
                        help='as AV1 video, or lossless and large')  # fmt: skip
    parser.add_argument('--size', type=COUNT_FROM_0, default=0, metavar='PIXELS',
                        help='shorter side of the pictures; 0: as they are')  # fmt: skip
    parser.add_argument('--robot', default='', help="of the set; default: the set's, or robot")
    bag = parser.add_argument_group('recordings', 'what is left out is found by type and name')
    bag.add_argument('--joints', default='', metavar='TOPIC', help='of JointState')
    bag.add_argument(
        '--gripper-topic',
        default='',
        metavar='TOPIC',
        help="of a gripper's command, added to the action; a gripper among the joints needs none",
    )
    bag.add_argument('--instruction', default='', metavar='TOPIC', help='default: the one that '
                     'ends with /instruction')  # fmt: skip
    bag.add_argument('--text', default='', metavar='WORDS',
                     help='the instruction, where none was recorded')  # fmt: skip
    bag.add_argument('--label', default='', metavar='TOPIC', help='of start, end, success and '
                     'failure; default: the one that ends with /label')  # fmt: skip
    bag.add_argument('--most-silent', type=POSITIVE, default=0.5, metavar='SECONDS',
                     help='a stream that is silent for longer ends the episode')  # fmt: skip
    bag.add_argument('--failures', action=_SAID, default=False,
                     help='keep episodes that are labelled so')  # fmt: skip
    parser.set_defaults(max_frames=0, seed=0, horizon=0, image_size=96, held_out=0.1)
    add_robot_options(parser)


def run(given: argparse.Namespace) -> int:
    """Import; the set appears whole or not at all."""
    set_target('OUT', given.out)
    for path in given.source:
        if not path.exists():
            raise ConfigError('SOURCE', str(path), 'a recording, or the folder of a LeRobot set: '
                              'there is nothing of this name')  # fmt: skip
    sets = [path for path in given.source if (path / INFO).is_file()]
    if sets and len(given.source) != 1:
        raise ConfigError('source', [str(path) for path in given.source], 'recordings, or one '
                          'LeRobot set')  # fmt: skip
    if sets:
        refuse_ignored(given, _OF_RECORDINGS, 'beside a LeRobot set',
                       'it has columns, and no topics (--text gives one instruction)')  # fmt: skip
    else:
        refuse_ignored(given, [name for name in READ if name not in _OF_BOTH], 'beside recordings',
                       'their topics are kept as they are; say it to dysl train, of the set that '
                       'comes of them')  # fmt: skip
    need('train', 'pyarrow', 'PIL', 'av')
    return _from_set(given) if sets else _from_bags(given)


def _from_bags(given: argparse.Namespace) -> int:
    from dysl_vla_ros.lab.data.bag_import import BagEpisodes, pictures
    from dysl_vla_ros.lab.data.robot_writer import RobotSetWriter, SetDescription

    choice = _bag_choice(given)
    # Everything that is missing is said before the first second of work.
    bags = [BagEpisodes(path, choice) for path in given.source]
    console = Output(highlight=False)
    for bag in bags:
        console.say(f'{bag.bag.path}: {_used(bag)}')
    writer: RobotSetWriter | None = None
    results: dict[str, int] = {}
    described: SetDescription | None = None
    try:
        for bag in bags:
            if described is not None:
                bag.like = described.state, described.action
            for episode in bag.episodes():
                if described is None or writer is None:
                    sizes = {name: next(pictures(entries, given.size)).shape[:2]
                             for name, entries in episode.pictures.items()}  # fmt: skip
                    described = SetDescription(
                        given.robot or 'robot', choice.fps, sizes, bag.state_names,
                        bag.names_of_actions, {'import': [str(p) for p in given.source]},
                    )  # fmt: skip
                    writer = RobotSetWriter(given.out, described, given.pictures)
                _same_names(bag, described)
                writer.add(episode.state, episode.action,
                           {name: pictures(entries, given.size)
                            for name, entries in episode.pictures.items()},
                           episode.instruction)  # fmt: skip
                results[episode.result] = results.get(episode.result, 0) + 1
            for note in bag.notes:
                console.say(f'{bag.bag.path}: {note}')
        if writer is None:
            raise ConfigError('episodes', 0, 'at least one: of ' + '; '.join(
                _used(bag) for bag in bags) + '. Streams that are silent for --most-silent '
                'seconds, and episodes labelled as failures, are left out')  # fmt: skip
        folder = writer.finish()
    except BaseException as error:
        if writer is not None:
            writer.__exit__(type(error), error, error.__traceback__)
        raise
    said = ', '.join(f'{count} {name or "without a label"}' for name, count in results.items())
    console.say(f'{folder}: {writer.episodes} episodes ({said}), {writer.frames} frames at '
                f'{choice.fps} Hz; now dysl train {folder}')  # fmt: skip
    return 0


def _bag_choice(given: argparse.Namespace) -> BagChoice:
    from dysl_vla_ros.lab.data.bag_import import BagChoice

    cameras = [text.partition('=') for text in given.cameras]
    if bad := [a + b + c for a, b, c in cameras if not (a and b and c)]:
        raise ConfigError('cameras', bad, 'NAME=TOPIC, for recordings')
    if len({name for name, _, _ in cameras}) < len(cameras):
        raise ConfigError('cameras', given.cameras, 'a name of its own for each topic')
    return BagChoice(
        {name: topic for name, _, topic in cameras}, given.joints, tuple(given.joint_names),
        given.action, given.gripper_topic, given.instruction, given.text, given.label,
        given.fps or 20, given.most_silent, given.failures,
    )  # fmt: skip


def _used(bag: BagEpisodes) -> str:
    topics = bag.topics
    pictures = ', '.join(f'{name} = {topic}' for name, topic in topics.cameras.items())
    rest = [f'joints {topics.joints}', f'actions {topics.action}']
    rest += [f'{what} {topic}' for what, topic in (
        ('gripper', topics.gripper), ('instruction', topics.instruction),
        ('labels', topics.label)) if topic]  # fmt: skip
    return f'pictures {pictures}; {"; ".join(rest)}'


def _same_names(bag: BagEpisodes, described: Any) -> None:
    for what, found, wanted in (('joints', bag.state_names, described.state),
                                ('actions', bag.names_of_actions, described.action)):  # fmt: skip
        if found != wanted:
            raise ConfigError(f'{bag.bag.path}: {what}', list(found),
                              f'{list(wanted)}, as in the first recording')  # fmt: skip


def _from_set(given: argparse.Namespace) -> int:
    from dysl_vla_ros.cli.stages import StageBars
    from dysl_vla_ros.lab.data.bag_import import sized
    from dysl_vla_ros.lab.data.lerobot_frames import read_pictures
    from dysl_vla_ros.lab.data.robot_samples import UNNAMED, read_set
    from dysl_vla_ros.lab.data.robot_writer import RobotSetWriter, SetDescription
    from dysl_vla_ros.lab.data.set_facts import facts_of

    choice = choice_of(given)
    data, reading, rows = read_set(str(given.source[0]), choice)
    every = data.fps / given.fps if given.fps else 1.0
    if every != round(every) or every < 1 or data.fps / every != round(data.fps / every):
        raise ConfigError('fps', given.fps or data.fps, f'{data.fps:g} divided by a whole number, '
                          'itself a whole number: frames are left out, not made up')  # fmt: skip
    if every > 1 and reading.space.endswith('delta'):
        raise ConfigError('fps', given.fps, f'{data.fps:g}: its actions are increments of a '
                          'frame')  # fmt: skip
    console = Output(highlight=False)
    for line in reading.told:
        console.say(f'- {line}')

    def taken(entry: Any, column: str) -> Iterator[Any]:
        frames = list(range(0, entry.episode.length, round(every)))
        for picture in read_pictures(data, entry, column, frames):
            yield sized(np.ascontiguousarray(picture), given.size)

    sizes: Mapping[str, tuple[int, int]] = {
        name: next(taken(rows[0], column)).shape[:2]
        for name, column in reading.columns.items()}  # fmt: skip
    described = SetDescription(
        given.robot or data.robot, round(data.fps / every), sizes, reading.state.names,
        reading.action.names,
        {'import': str(given.source[0]), 'told': list(reading.told), **facts_of(reading, choice)},
    )  # fmt: skip
    with RobotSetWriter(given.out, described, given.pictures) as writer, \
            StageBars(console) as bars:  # fmt: skip
        for number, entry in enumerate(rows, start=1):
            kept = slice(None, None, round(every))
            said = [text.strip() or UNNAMED for text in entry.instruction[kept]]
            writer.add(reading.state.read(entry.numbers)[kept],
                       reading.action.read(entry.numbers)[kept],
                       {name: taken(entry, column) for name, column in reading.columns.items()},
                       given.text or said)  # fmt: skip
            bars.progress('episodes', number, len(rows), {})
        folder = writer.finish()
    console.say(
        f'{folder}: {writer.episodes} episodes, {writer.frames} frames at '
        f'{described.fps} Hz, in radians and openings; now dysl train {folder}'
    )
    return 0
