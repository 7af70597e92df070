"""The part of ``dysl headroom`` that tries a gate trained on the errors of exits."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.progress import Progress
from rich.table import Table

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.values import whole
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.bench_observations import load_observed, simulated
from dysl_vla_ros.lab.evaluation.choice import default_exits
from dysl_vla_ros.lab.evaluation.exits import all_exits
from dysl_vla_ros.lab.evaluation.observed import Observed, in_turn
from dysl_vla_ros.lab.evaluation.regret import FEWEST, Outcome, compare, halves, verdict
from dysl_vla_ros.policy import open_policy

_THRESHOLDS = (0.02, 0.04, 0.06, 0.09, 0.12, 0.18, 0.25)


def add_gate(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument('--gate', type=whole(FEWEST + 1), default=0, metavar='STATES',
                        help='only this: a gate trained on the errors of exits, in so many states '
                        "(of --observations, or of the scripted expert's), beside fixed exits; "
                        'judged on other episodes than it was fitted to')  # fmt: skip


def try_gate(given: argparse.Namespace, console: Output) -> dict[str, Any]:
    """Calibrate on the earlier episodes, judge on the later ones, print the table.

    Raises:
        ConfigError: No states to try, too few, of one episode, or exits that the bundle has not.
    """
    policy = open_policy(EngineConfig(path=given.engine))
    try:
        manifest = policy.manifest
        exits = _exits(given.exit_layer, manifest)
        seen = _seen(given, manifest)
        observations, episodes = seen.observations[: given.gate], seen.episodes[: given.gate]
        judged = len(observations) - _fitted(given, episodes)
        with Progress(console=console, transient=True) as bars:
            states = [all_exits(policy, one)
                      for one in bars.track(observations, description='states')]  # fmt: skip
    finally:
        policy.engine.close()
    moves = manifest.action.dim - int(manifest.action.gripper)
    found = compare(states, episodes, exits, moves, _THRESHOLDS)
    console.print(_table(found, judged))
    console.tell(verdict(found))
    return {'gate': [asdict(one) for one in found], 'states': len(states),
            'first_seed': given.first_seed if given.observations is None else None,
            'verdict': verdict(found)}  # fmt: skip


def _fitted(given: argparse.Namespace, episodes: Sequence[int]) -> int:
    """How many states the gate is fitted to: judged before any of them is looked at."""
    few = f'so many that {FEWEST} or more are fitted to, and another episode is judged: '
    try:
        half = halves(episodes)
    except ConfigError as error:
        raise ConfigError('--gate', given.gate, few + _one_episode(given, error)) from None
    if half < FEWEST:
        raise ConfigError('--gate', given.gate, f'{few}{len(episodes)} states are there, {half} '
                          'of them before the episode next to the middle')  # fmt: skip
    return half


def _one_episode(given: argparse.Namespace, error: ConfigError) -> str:
    if given.observations is None:
        return 'these are of one episode; name more'
    return f'{error.value} are there, of one episode; {error.expected}'


def _exits(wanted: Sequence[int], manifest: Manifest) -> list[int]:
    """Rising, whatever order they were named in."""
    known = manifest.layout.exit_layers
    for layer in wanted:
        if layer not in known:
            right = f'layers within [1, {known[-1]}]' if known else 'none: it has too few layers'
            raise ConfigError('--exit-layer', layer, right)
    return sorted(set(wanted)) or list(default_exits(manifest.layers_total))


def _seen(given: argparse.Namespace, manifest: Manifest) -> Observed:
    if given.observations is not None:
        return load_observed(given.observations, manifest)
    found = simulated(manifest, given.gate, given.first_seed)
    if found is None:
        raise ConfigError('--engine', given.engine, 'a bundle for the simulated arm, or '
                          '--observations FILE')  # fmt: skip
    return in_turn(found, manifest)


def _table(found: list[Outcome], states: int) -> Table:
    table = Table(title=f'{states} states that the gate was not fitted to', box=box.SIMPLE_HEAD,
                  title_justify='left', padding=(0, 1, 0, 0), show_edge=False)  # fmt: skip
    for title in ('', 'layers', 'free look', 'error', 'p95', 'harmful'):
        table.add_column(title, justify='right', no_wrap=True)
    for one in found:
        table.add_row(one.name, f'{one.layers:.2f}', f'{one.layers_free:.2f}',
                      f'{one.error_mean:.4f}', f'{one.error_p95:.4f}',
                      f'{100 * one.harmful:.1f} %')  # fmt: skip
    return table
