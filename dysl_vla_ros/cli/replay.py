"""``dysl replay``: recorded observations through a policy again, offline."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.cli.ignored import either
from dysl_vla_ros.cli.inputs import look_at_bundle, look_at_file
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.replay_tables import motion_tables, replay_tables
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT_FROM_0, POSITIVE, SHARE, WORKERS, add_backend
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.data_types import SKIP_MODES
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.node_parameters import load_yaml

if TYPE_CHECKING:
    from dysl_vla_ros.lab.replay.fed_policy import Change, FedPolicy
    from dysl_vla_ros.lab.replay.player import Otherwise
    from dysl_vla_ros.lab.replay.run import Result
    from dysl_vla_ros.lab.replay.steps import Step

FORMAT = 'dysl_vla_replay'
FORMAT_VERSION = 1
_MODES = tuple(mode for mode in SKIP_MODES if mode != 'compare')
_WORD = re.compile(r'([^\s=]+)=([^=]+)')

EXAMPLE = """
dysl replay recording/
dysl replay recording/ --mode full --json replay.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add('bag', type=Path, help='recording: an .mcap or .db3 file, or a folder of them; or a '
        'flight file (.json), for its motion only')  # fmt: skip
    add('--engine', default='', help='bundle folder; default: the bundled model')
    add_backend(parser)
    add('--plans', default='', help='folder given to dysl build --plans')
    add('--threads', type=WORKERS, default=1, help='of ONNX Runtime (default: 1)')
    skip = parser.add_argument_group('when to skip', 'by default as it was recorded')
    skip.add_argument('--mode', default='', choices=('', *_MODES), metavar='MODE',
                      help=', '.join(_MODES))  # fmt: skip
    skip.add_argument('--exit-layer', type=COUNT_FROM_0, default=0,
                      help="of mode fixed; default: the bundle's")  # fmt: skip
    skip.add_argument('--rule', default='', choices=('', 'ceil', 'level'), metavar='RULE',
                      help='ceil or level')  # fmt: skip
    skip.add_argument('--tau', type=SHARE, default=0.0, help='a controller opens when its score '
                      'is greater')  # fmt: skip
    skip.add_argument('--calibration', type=Path, help='of another bundle (folder), or a JSON '
                      'file with some of its keys')  # fmt: skip
    what = parser.add_argument_group('what if', 'compared with the same pass without the change')
    what.add_argument('--layer-on', type=COUNT_FROM_0, nargs='+', default=[], metavar='LAYER',
                      help='no controller jumps over it')  # fmt: skip
    what.add_argument('--layer-off', type=COUNT_FROM_0, nargs='+', default=[], metavar='LAYER',
                      help='is left out: its input goes on to the next one')  # fmt: skip
    what.add_argument('--word', nargs='+', default=[], metavar='WORD=OTHER',
                      help='of the instruction, as red=blue')  # fmt: skip
    what.add_argument('--blank', nargs='+', default=[], metavar='CAMERA', help='shows black')
    other = parser.add_argument_group('recordings', 'that dysl_vla_ros did not make with '
                                      'record:=true: cameras, joints, instruction')  # fmt: skip
    other.add_argument('--params-file', type=Path, help='of the node: joints, gripper, image.*; '
                       'default: those of the simulated arm')  # fmt: skip
    other.add_argument('--camera', nargs='+', default=[], metavar='NAME=TOPIC',
                       help='where a camera of the bundle is in the recording')  # fmt: skip
    other.add_argument('--joints', default='', metavar='TOPIC', help='of the joint states')
    other.add_argument('--instruction', default='', help='where none was recorded')
    other.add_argument('--every', type=POSITIVE, default=0.0, help='seconds between two '
                       'observations; default: half a chunk')  # fmt: skip
    add('--topic', default='', help='of the passes, where several nodes were recorded')
    add('--chunks', type=COUNT_FROM_0, default=0, help='the first so many; default: all')
    add('--rows', type=COUNT_FROM_0, default=20, help='of the table (default: 20)')
    add('--json', type=Path, help='write all of it here')
    add('--plot', type=Path, help='draw layers, continuity and differences here (.png)')


def run(given: argparse.Namespace) -> int:
    """Replay, print tables, write JSON and plot; 1 where the recording is not reproduced."""
    check_json(given.json, 'replay')
    look_at_bundle('--engine', given.engine)
    look_at_file('--params-file', given.params_file, 'a parameter file')
    if not given.bag.exists():
        raise ConfigError('bag', str(given.bag), 'a recording: there is nothing of this name')
    from dysl_vla_ros.lab.replay.plot import check_plot

    check_plot(given.plot)
    _check(given)
    console = Output(highlight=False)
    if given.bag.suffix == '.json':
        return _motion(given, console)
    from dysl_vla_ros.lab.data.bags.bag import open_bag
    from dysl_vla_ros.lab.replay.sources import kind_of_source

    with open_bag(given.bag) as bag:
        if kind_of_source(bag, _cameras(given.camera)) == 'motion':
            return _motion(given, console, bag)
        return _replayed(given, console, bag)


def _check(given: argparse.Namespace) -> None:
    look_at_bundle('--engine', given.engine)
    if not given.bag.exists():
        raise ConfigError('bag', str(given.bag), 'a recording: an .mcap or .db3 file, a folder '
                          'with them, or a flight file (.json)')  # fmt: skip
    for name, low in (('chunks', 0), ('rows', 0), ('threads', 1), ('exit_layer', 0)):
        if getattr(given, name) < low:
            raise ConfigError(f'--{name}'.replace('_', '-'), getattr(given, name),
                              f'at least {low}')  # fmt: skip
    if not 0 <= given.tau <= 1:
        raise ConfigError('--tau', given.tau, 'within [0, 1]; 0: as it was')
    if not 0 <= given.every < 1e6:
        raise ConfigError('--every', given.every, 'less than a million seconds')


def _words(entries: Iterable[str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        match = _WORD.fullmatch(entry.strip())
        if match is None:
            raise ConfigError('--word', entry, 'WORD=OTHER, as red=blue')
        found[match[1]] = match[2]
    return found


def _cameras(entries: Iterable[str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        name, equals, topic = entry.partition('=')
        if not name or not equals or not topic:
            raise ConfigError('--camera', entry, 'NAME=TOPIC, as image=/camera/color/image_raw')
        found[name] = topic
    return found


def _parameters(given: argparse.Namespace) -> NodeConfig:
    path = given.params_file
    if path is not None and not path.expanduser().is_file():
        raise ConfigError('--params-file', str(path), 'a file that exists')
    return load_yaml(path or config_folder() / 'robots' / 'sim.yaml')


def _engine(given: argparse.Namespace, config: EngineConfig) -> EngineConfig:
    """The policy without a model is that of the arm in the parameters, as in the node."""
    from dysl_vla_ros.contract import engine_of

    return engine_of(replace(_parameters(given), engine=config))


def _replayed(given: argparse.Namespace, console: Output, bag: Any) -> int:
    from dysl_vla_ros.lab.replay.fed_policy import Change, open_fed
    from dysl_vla_ros.lab.replay.sources import open_steps
    from dysl_vla_ros.lab.replay.topics import Wishes

    change = Change(tuple(given.layer_on), tuple(given.layer_off), _words(given.word),
                    tuple(given.blank))  # fmt: skip
    config = EngineConfig(path=given.engine, backend=given.backend, plans=given.plans,
                          threads=given.threads)  # fmt: skip
    policy = open_fed(_engine(given, config), change)
    try:
        otherwise = _otherwise(given, policy)
        wishes = Wishes(_cameras(given.camera), given.joints, given.instruction, given.every)
        steps = open_steps(bag, policy.manifest, _parameters(given), wishes, given.topic)
        return _shown(given, console, policy, change, otherwise, steps, bag)
    finally:
        policy.engine.close()


def _otherwise(given: argparse.Namespace, policy: FedPolicy) -> Otherwise:
    from dysl_vla_ros.lab.replay.player import Otherwise
    from dysl_vla_ros.lab.replay.settings_file import read_calibration

    manifest, exits = policy.manifest, policy.manifest.layout.exit_layers
    calibration = None
    if given.calibration is not None:
        calibration = read_calibration(given.calibration, manifest)
    own = calibration or manifest.calibration
    if given.mode == 'by_instruction' and not own.exit_by_instruction:
        raise ConfigError('--mode', given.mode, 'another one: the bundle names no exits by '
                          'instruction')  # fmt: skip
    known = given.exit_layer or own.exit_layer
    if given.mode == 'fixed' and known not in exits:
        raise ConfigError('--exit-layer', given.exit_layer, f'within [1, {exits[-1]}]' if exits
                          else 'another --mode: the bundle has no exits')  # fmt: skip
    if given.exit_layer and given.mode != 'fixed':
        raise ConfigError('--exit-layer', given.exit_layer, '--mode fixed with it')
    return Otherwise(given.mode, given.exit_layer, given.rule, given.tau, calibration)


def _shown(
    given: argparse.Namespace, console: Output, policy: FedPolicy, change: Change,
    otherwise: Otherwise, steps: Any, bag: Any,
) -> int:  # fmt: skip
    from dysl_vla_ros.lab.replay.compare import to_json
    from dysl_vla_ros.lab.replay.plot import plot_replay
    from dysl_vla_ros.lab.replay.run import replay, summary

    began = time.monotonic()
    unchanged = policy.without_change() if change else None
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task('chunks', total=given.chunks or None)
        result = replay(
            _first(steps, given.chunks), policy, otherwise, change, unchanged,
            lambda done: bars.update(task, completed=done),
        )  # fmt: skip
    found = summary(result)
    notes = [*bag.notes, *steps.notes, *_notes(result, policy), *_without_effect(given, result)]
    if given.json is not None:
        write_json(given.json, {
            'format': FORMAT, 'version': FORMAT_VERSION, 'bag': str(given.bag),
            'bundle': policy.manifest.name, 'device': policy.engine.device,
            'source': steps.topic, 'notes': notes, 'summary': found,
            'chunks': [to_json(row) for row in result.rows],
            'date': time.strftime('%Y-%m-%d'), 'seconds': time.monotonic() - began,
        })  # fmt: skip
    for table in replay_tables(result.rows, found, given.rows):
        console.print(table)
    for note in notes:
        console.say(f'note: {note}')
    if given.plot is not None:
        settings = policy.manifest.calibration if otherwise.calibration is None else (
            otherwise.calibration)  # fmt: skip
        plot_replay(given.plot, result.rows, result.compared, settings.threshold)
        console.say(f'wrote {given.plot}')
    if given.json is not None:
        console.say(f'wrote {given.json}')
    console.tell(_verdict(result, policy))
    return 1 if result.first_difference else 0


def _notes(result: Result, policy: FedPolicy) -> list[str]:
    found = [f'{count} observations cannot be run: {text}'
             for text, count in result.unusable.items()]  # fmt: skip
    others = sorted({name for name, _ in result.recorded_with} - {policy.manifest.name})
    if others:
        found.append(f'recorded with {", ".join(others)}, replayed with {policy.manifest.name}')
    devices = sorted({device for _, device in result.recorded_with} - {policy.engine.device})
    if devices:
        found.append(f'recorded on {", ".join(devices)}, replayed on {policy.engine.device}')
    return found


def _without_effect(given: argparse.Namespace, result: Result) -> list[str]:
    """Of options about controllers, where none was asked: a fixed exit asks none."""
    options = {'--rule': given.rule, '--tau': given.tau, '--layer-on': given.layer_on}
    said = [option for option, value in options.items() if value]
    asked = any(one.trace.scores for row in result.rows for one in row.now.passes)
    if not said or not result.rows or asked:
        return []
    return [f'no controller was asked in any of these passes: {either(said)} changed nothing; '
            '--mode auto asks them']  # fmt: skip


def _verdict(result: Result, policy: FedPolicy) -> str:
    from dysl_vla_ros.lab.replay.compare import TOLERANCE

    if not result.verified:
        against = {'recorded': 'compared with what was recorded',
                   'unchanged': 'compared with the same passes without the change'}  # fmt: skip
        said = against.get(result.compared, 'nothing to compare with')
        return f'{len(result.rows)} chunks, {said}'
    if result.first_difference:
        return f'NOT reproduced: the first chunk that differs is {result.first_difference}'
    largest = max((row.largest or 0.0 for row in result.rows), default=0.0)
    return (f'reproduced: the layers of all {len(result.rows)} chunks are the recorded ones, '
            f'actions differ by {largest:.2g} at most '
            f'(expected: {TOLERANCE[policy.manifest.precision]:g})')  # fmt: skip


def _first(steps: Iterable[Step], count: int) -> Iterator[Step]:
    for number, step in enumerate(steps):
        if count and number >= count:
            return
        yield step


def _motion(given: argparse.Namespace, console: Output, bag: Any = None) -> int:
    """A flight file, or a recording without pictures: no model runs."""
    from dysl_vla_ros.lab.replay.motion import (
        chunks_of_bag,
        chunks_of_flight,
        motion_to_json,
        replay_motion,
    )
    from dysl_vla_ros.lab.replay.settings_file import read_calibration
    from dysl_vla_ros.remote_policy import manifest_of

    for option in ('layer_on', 'layer_off', 'word', 'blank', 'mode', 'exit_layer', 'tau', 'plot'):
        if getattr(given, option):
            raise ConfigError(f'--{option}'.replace('_', '-'), getattr(given, option),
                              'a recording with pictures: this one holds motion only')  # fmt: skip
    manifest = manifest_of(_engine(given, EngineConfig(path=given.engine)))
    calibration = manifest.calibration
    if given.calibration is not None:
        calibration = read_calibration(given.calibration, manifest)
    found = chunks_of_flight(given.bag) if bag is None else chunks_of_bag(bag, given.topic)
    if given.chunks:
        found = found[: given.chunks]
    rows = replay_motion(found, manifest, calibration, given.rule)
    for table in motion_tables(rows, given.rows):
        console.print(table)
    if bag is not None:
        for note in bag.notes:
            console.say(f'note: {note}')
    if given.json is not None:
        write_json(given.json, {
            'format': FORMAT, 'version': FORMAT_VERSION, 'bag': str(given.bag),
            'bundle': manifest.name, 'source': 'motion', 'chunks': motion_to_json(rows),
            'date': time.strftime('%Y-%m-%d'),
        })  # fmt: skip
        console.say(f'wrote {given.json}')
    console.tell(f'{len(rows)} chunks, their motion only: no picture was recorded, so no '
                 'model ran')  # fmt: skip
    return 0
