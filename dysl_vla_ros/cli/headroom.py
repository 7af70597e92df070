"""``dysl headroom``: how much dynamic depth could save at best, for this policy, here."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from rich.progress import Progress

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.cli.evaluate import interrupted
from dysl_vla_ros.cli.headroom_gate import add_gate, try_gate
from dysl_vla_ros.cli.headroom_tables import closed_table, exits_table, groups_table
from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.inputs import look_at_bundle, look_at_file, look_at_observations
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT, SEED, TIME_LIMIT, WORKERS, latency_seconds, number
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.bench_observations import fits_the_simulator, load_recorded
from dysl_vla_ros.lab.evaluation.choice import default_exits
from dysl_vla_ros.lab.evaluation.evaluate import (
    Played,
    about,
    bundle_name,
    evaluated_manifest,
    play,
)
from dysl_vla_ros.lab.evaluation.exits import all_exits
from dysl_vla_ros.lab.evaluation.headroom import (
    DENSE,
    TriedState,
    closed_loop,
    offline,
    tried_states,
    verdict,
)
from dysl_vla_ros.lab.evaluation.ledger import Ledger, waiting
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.sim.goals import FAMILIES, Split, in_order

FORMAT = 'dysl_vla_headroom'
FORMAT_VERSION = 1
TOLERANCES = (0.03, 0.06, 0.12, 0.25)
_MOST_TOLERANCES = 6
"""More columns do not fit a terminal."""

_OF_EPISODES = ('--exit-layer', '--episodes', '--families', '--splits', '--first-seed',
                '--latency', '--time-limit', '--workers', '--params-file', '--keep')  # fmt: skip
_OF_GATES = ('--exit-layer', '--first-seed')
EXAMPLE = 'dysl headroom --episodes 2 --json headroom.json'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--engine', default='', help='bundle folder; default: the bundled model')
    parser.add_argument('--observations', type=Path, help='a recording (bag), or '
                        '.npz as for dysl bench: the offline part alone')  # fmt: skip
    parser.add_argument('--tolerance', type=number(0, 10, above=True), nargs='+',
                        default=list(TOLERANCES), metavar='RMS',
                        help='of the normalised actions to the dense ones')  # fmt: skip
    parser.add_argument('--exit-layer', type=COUNT, nargs='+', default=[], metavar='LAYER',
                        help='fixed exits in closed loop; default: from a quarter to half the '
                        'depth')  # fmt: skip
    parser.add_argument('--episodes', type=COUNT, default=15, help='per family and split')
    parser.add_argument('--families', nargs='+', default=list(FAMILIES), choices=FAMILIES,
                        metavar='FAMILY',
                        help='kinds of task: ' + ', '.join(FAMILIES))  # fmt: skip
    parser.add_argument('--splits', nargs='+', default=['train', 'heldout_objects'],
                        choices=get_args(Split), help='scenes and phrasings')  # fmt: skip
    parser.add_argument('--first-seed', type=SEED, default=31_000_000,
                        help='of the first episode; the others count up')  # fmt: skip
    parser.add_argument('--latency', default='0.02', help='of every pass, seconds or zero')
    parser.add_argument('--time-limit', type=TIME_LIMIT, default=30.0, help='per episode [s]')
    parser.add_argument('--workers', type=WORKERS, default=1, help='processes')
    parser.add_argument('--params-file', type=Path,
                        help='of the node; default: those of the simulated arm')  # fmt: skip
    parser.add_argument('--keep', type=Path, help='finished episodes, to go on from; default: '
                        'beside --json')  # fmt: skip
    add_gate(parser)
    parser.add_argument('--json', type=Path, help='write the report here')


def run(given: argparse.Namespace) -> int:
    """Measure, print the tables and a verdict, write JSON."""
    _refuse_idle(given)
    check_json(given.json, 'headroom')
    look_at_bundle('--engine', given.engine)
    look_at_observations('--observations', given.observations)
    look_at_file('--params-file', given.params_file, 'a parameter file')
    if not 1 <= len(given.tolerance) <= _MOST_TOLERANCES:
        raise ConfigError('--tolerance', given.tolerance, f'1 to {_MOST_TOLERANCES} numbers')
    for tolerance in given.tolerance:
        if not 0 < tolerance <= 10:
            raise ConfigError('--tolerance', tolerance, 'more than 0 and at most 10')
    console, began = Output(), time.monotonic()
    if given.gate:
        told = try_gate(given, console)
        told |= {'bundle': bundle_name(given.engine), 'date': time.strftime('%Y-%m-%d')}
        if given.json is not None:
            write_json(given.json, told)
        return 0
    document = _recorded(given) if given.observations is not None else _played(given, console)
    if document is None:
        return 130
    document |= {
        'format': FORMAT,
        'version': FORMAT_VERSION,
        'bundle': bundle_name(given.engine),
        'tolerances': given.tolerance,
        'date': time.strftime('%Y-%m-%d'),
        'seconds': time.monotonic() - began,
    }
    show(console, document)
    if given.json is not None:
        write_json(given.json, document)
    return 0


def _refuse_idle(given: argparse.Namespace) -> None:
    """Refuse options that would change nothing."""
    if given.gate:
        idle = [option for option in ('--tolerance', *_OF_EPISODES) if option not in _OF_GATES]
        refuse_ignored(given, idle, 'beside --gate', 'no tolerance is tried, no episode played')
        if given.observations is not None:
            refuse_ignored(given, ('--first-seed',), 'beside --gate with --observations',
                           'no episode is simulated')  # fmt: skip
    elif given.observations is not None:
        refuse_ignored(given, _OF_EPISODES, 'beside --observations', 'no episode is played')


def show(console: Output, document: dict[str, Any]) -> None:
    """Print the tables, and the verdict of each closed loop."""
    found, names = document['offline'], [f'{one:g}' for one in document['tolerances']]
    console.print(exits_table(found, names))
    if found['groups']:
        console.print(groups_table(found, names))
    for split, loop in document.get('closed_loop', {}).items():
        console.print(closed_table(split, loop))
        console.tell(f'{split}: {verdict(loop)}')
    if 'closed_loop' not in document:
        console.say('Recorded observations: what an error does to success is not known.')


def _recorded(given: argparse.Namespace) -> dict[str, Any]:
    policy = open_policy(EngineConfig(path=given.engine))
    try:
        layout = policy.manifest.layout
        observations = load_recorded(given.observations, policy.manifest)
        with Progress(transient=True) as bars:
            states = [
                TriedState(all_exits(policy, one).errors(), {'task': one.instruction})
                for one in bars.track(observations, description='observations')
            ]
    finally:
        policy.engine.close()
    return {'offline': offline(states, layout.layers_total, given.tolerance)}


def _played(given: argparse.Namespace, console: Output) -> dict[str, Any] | None:
    by_split = {split: _options(given, split) for split in given.splits}
    one = next(iter(by_split.values()))
    manifest = evaluated_manifest(one)
    if not fits_the_simulator(manifest):
        raise ConfigError('--engine', given.engine, 'a bundle for the simulated arm, or '
                          '--observations FILE with what your own robot saw')  # fmt: skip
    layers = given.exit_layer or default_exits(manifest.layers_total)
    rows = [DENSE, *(Row('fixed', exit_layer=layer) for layer in layers),
            *(Row('oracle', tolerance=tolerance) for tolerance in given.tolerance)]  # fmt: skip
    path = given.keep
    if path is None and given.json is not None:
        path = given.json.with_suffix('.episodes.jsonl')
    facts = about(one)
    if path is None:
        named = {**facts, 'splits': given.splits, 'rows': [asdict(row) for row in rows],
                 'episodes': [asdict(spec) for spec in one.specs()]}  # fmt: skip
        ledger = waiting('headroom', named, facts, manifest.layers_total)
    else:
        ledger = Ledger(path, facts, manifest.layers_total)
    total = len(rows) * sum(len(options.specs()) for options in by_split.values())
    played: dict[str, Played] = {}
    try:
        with Progress(console=console, transient=True) as bars:
            task = bars.add_task('episodes', total=total)
            for split, options in by_split.items():
                played[split] = play(options, rows, lambda row, result: bars.advance(task), ledger)
    except KeyboardInterrupt:
        console.say(interrupted(len(ledger), total, path))
        return None
    if given.keep is None and given.json is None:
        ledger.done()
    states = [state for found in played.values() for state in tried_states(found[DENSE])]
    return {
        'offline': offline(states, manifest.layers_total, given.tolerance),
        'closed_loop': {split: closed_loop(found) for split, found in played.items()},
        'first_seed': given.first_seed,
        'episodes_per_family': given.episodes,
        'latency': given.latency,
    }


def _options(given: argparse.Namespace, split: Split) -> EvaluateOptions:
    config = load_yaml(given.params_file or config_folder() / 'robots' / 'sim.yaml')
    return replace(
        EvaluateOptions(
            bundle=given.engine, modes=('oracle',), tolerances=tuple(given.tolerance),
            episodes=given.episodes, first_seed=given.first_seed,
            families=in_order(given.families), latency=latency_seconds(given.latency),
            time_limit=given.time_limit, workers=given.workers, config=config,
        ),
        split=split,
    )  # fmt: skip
