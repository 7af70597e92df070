"""The part of ``dysl calibrate`` that compares the skip modes of a bundle and chooses one."""

from __future__ import annotations

import math
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.bundle.manifest import CalibrationSpec, Manifest
from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.cli.values import latency_seconds
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.sim.goals import FAMILIES

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.exits_by_instruction import ByInstruction
    from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
    from dysl_vla_ros.lab.workspace import Workspace

FEWEST_SEEN = 20
"""Recorded observations that a mode is chosen by; of fewer one that is unusual decides it."""


@dataclass(frozen=True)
class Chosen:
    """What a calibration of a bundle came to.

    Attributes:
        spec: What is written into the bundle.
        tables: To be printed.
        told: What decided, or why nothing did; '' is nothing to add.
        kept: Whether a mode was looked for and the bundle's stays.
        failed: Whether what was looked for cannot be found by playing more.
    """

    spec: CalibrationSpec
    tables: tuple[Table, ...]
    told: str = ''
    kept: bool = False
    failed: bool = False


def compared_episodes(given: Namespace) -> int:
    """Episodes per family on which the modes are compared; 0 compares none."""
    return int(given.episodes if given.compare is None else given.compare)


def check(given: Namespace, manifest: Manifest | None) -> None:
    """Refuse what cannot be compared, before anything is measured.

    Args:
        given: Options.
        manifest: Of a bundle; None of a checkpoint.

    Raises:
        ConfigError: The options contradict each other, or the bundle's robot is not simulated.
    """
    if given.compare is not None and given.compare < 0:
        raise ConfigError('compare', given.compare, 'at least 0')
    if given.by_instruction is not None:
        if manifest is None:
            raise ConfigError('by-instruction', str(given.by_instruction), 'the folder of a '
                              'bundle')  # fmt: skip
        if given.bag is not None or given.observations is not None:
            raise ConfigError('by-instruction', str(given.by_instruction), 'neither --bag nor '
                              '--observations with it')  # fmt: skip
        exits_told(given, manifest)
    if given.observations is not None:
        if manifest is None:
            raise ConfigError('observations', str(given.observations), 'the folder of a bundle')
        if not 0.0 < given.depth <= 1.0:
            raise ConfigError('depth', given.depth, 'more than 0 and at most 1 with --observations'
                              ', which do not tell what an error does to success')  # fmt: skip
        if given.bag is not None:
            raise ConfigError('observations', str(given.observations), 'one of --observations '
                              'and --bag; first the bag, for the guidance')  # fmt: skip


def played_in_simulation(given: Namespace, episodes: int, first_seed: int) -> EvaluateOptions:
    """How a calibration plays the bundle, to record and to compare: as the simulated arm runs.

    Args:
        given: Options.
        episodes: Per family.
        first_seed: Of the first.
    """
    from dysl_vla_ros.lab.evaluation.options import EvaluateOptions

    return EvaluateOptions(
        bundle=str(given.target), episodes=episodes, first_seed=first_seed,
        latency=latency_seconds(given.latency), time_limit=given.time_limit,
        workers=given.workers, config=load_yaml(config_folder() / 'robots' / 'sim.yaml'),
    )  # fmt: skip


def choose_in_simulation(
    given: Namespace, manifest: Manifest, space: Workspace, bars: StageBars
) -> Chosen:
    """Compare in closed loop, on seeds that the guidance was not calibrated on.

    Where the episodes cannot decide, the bundle keeps its mode.

    Args:
        given: Options; the bundle at ``target`` has the guidance that is to be compared.
        manifest: Of that bundle.
        space: Gets ``modes.json``.
        bars: Progress.
    """
    from dysl_vla_ros.lab.evaluation.choice import (
        DENSE,
        by_success,
        out_of_reach,
        rows_within,
    )
    from dysl_vla_ros.lab.evaluation.decision import FEWEST, decide
    from dysl_vla_ros.lab.evaluation.evaluate import about, play, report
    from dysl_vla_ros.lab.evaluation.ledger import Ledger, waiting_place

    rows, total = rows_within(manifest.layers_total, given.depth), manifest.layers_total
    options = played_in_simulation(given, compared_episodes(given),
                                   given.first_seed + given.episodes * len(FAMILIES))  # fmt: skip
    count, done = len(options.specs()) * len(rows), 0

    def show(row: str, result: Any) -> None:
        nonlocal done
        done += 1
        bars.progress('modes', done, count, {})

    facts = about(options)
    named = {**facts, 'rows': [asdict(row) for row in rows],
             'episodes': [asdict(spec) for spec in options.specs()]}  # fmt: skip
    ledger = Ledger(waiting_place('modes', named, space.folder), facts, total)
    played = play(options, rows, show, ledger)
    candidates = by_success(played)
    won = {row: [one.success for one in results] for row, results in played.items()}
    decision, found = decide(candidates, won, DENSE, total, given.depth), report(played)
    told, chosen, spec = decision.told, '', manifest.calibration
    if decision.row is not None:
        chosen, spec = decision.row.name, _with(spec, decision.row)
    else:
        more = '' if decision.hopeless else f' (--compare {math.ceil(FEWEST / len(FAMILIES))})'
        told = f'the mode stays: {told}{more}'
    space.write('modes.json', {'chosen': chosen or None, 'told': told, 'depth': given.depth,
                               **{k: found[k] for k in ('modes', 'paired')}})  # fmt: skip
    note = out_of_reach(candidates, total, given.depth) if chosen else ''
    table = _table(f'{len(options.specs())} episodes from seed {options.first_seed}', given.depth,
                   ('won', '95 %', 'lost to dense', '95 %', 'layers', 'ms'), note,
                   bool(chosen))  # fmt: skip
    for name, one in found['modes'].items():
        low, high = one['success_interval']
        lost = found['paired'].get(name)
        table.add_row(
            _marked(name, chosen),
            f'{100 * one["success_rate"]:.1f}',
            f'{100 * low:.0f}-{100 * high:.0f}',
            '' if lost is None else f'{100 * lost["loss"]:.1f}',
            '' if lost is None else f'{100 * lost["low"]:.1f}..{100 * lost["high"]:.1f}',
            f'{one["layers_run_mean"]:.2f}',
            '' if (ms := one['pass_ms']['mean']) is None else f'{ms:.1f}',
        )
    ledger.done()
    return Chosen(spec, (table,), told, decision.row is None, decision.hopeless)


def choose_by_instruction(
    given: Namespace, manifest: Manifest, space: Workspace
) -> tuple[CalibrationSpec, Table]:
    """Take each instruction's exit from a report of evaluated exits.

    Args:
        given: Options.
        manifest: Of the bundle, whose rows the report must be of.
        space: Gets ``exits.json``.

    Raises:
        ConfigError: The file is no such report, or of another policy.
    """
    found = exits_told(given, manifest)
    space.write('exits.json', asdict(found))
    layers = list(next(iter(found.won.values())))
    table = Table(title='episodes won by exit; > goes into the bundle, the shallowest of the best',
                  title_justify='left', box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  show_edge=False)  # fmt: skip
    table.add_column('instruction')
    for name in ('starts', *(_named(layer) for layer in layers)):
        table.add_column(name, justify='right', no_wrap=True)
    for words, chosen in found.exits.items():
        wins = (f'{"> " if layer == chosen else ""}{found.won[words][layer]}' for layer in layers)
        table.add_row(words, str(found.starts[words]), *wins)
    notes = [f'never won, so dense: {", ".join(found.never)}'] * bool(found.never)
    if found.thin < 1:
        notes.append(f'on pictures with {found.thin:g} of the triangles, not the benchmark itself')
    table.caption, table.caption_justify = '; '.join(notes) or None, 'left'
    table.add_row('any other', '', *('>' if layer == found.others else '' for layer in layers))
    spec = replace(manifest.calibration, mode='by_instruction', exit_layer=found.others,
                   exit_by_instruction=found.exits)  # fmt: skip
    return spec, table


def exits_told(given: Namespace, manifest: Manifest) -> ByInstruction:
    """What the report of ``--by-instruction`` decides.

    Raises:
        ConfigError: The file is no such report, of another policy, or decides nothing.
    """
    from dysl_vla_ros.lab.evaluation.exits_by_instruction import by_instruction
    from dysl_vla_ros.lab.evaluation.exits_report import read_exits_report

    return by_instruction(read_exits_report(given.by_instruction, manifest))


def _named(layer: int) -> str:
    return f'exit {layer}' if layer else 'dense'


def choose_on_recorded(
    given: Namespace, manifest: Manifest, space: Workspace, bars: StageBars
) -> tuple[CalibrationSpec, Table]:
    """Compare on recorded observations: the smallest error to dense within the budget.

    Args:
        given: Options.
        manifest: Of the bundle.
        space: Gets ``modes.json``.
        bars: Progress.

    Raises:
        ConfigError: There are too few to choose by.
    """
    from dysl_vla_ros.lab.evaluation.bench_observations import load_observed
    from dysl_vla_ros.lab.evaluation.choice import (
        by_error,
        choose,
        on_recorded,
        out_of_reach,
        rows_within,
    )
    from dysl_vla_ros.lab.evaluation.observed import GUIDED
    from dysl_vla_ros.policy import open_policy

    path: Path = given.observations
    observed, rows = load_observed(path, manifest), rows_within(manifest.layers_total, given.depth)
    if len(observed) < FEWEST_SEEN:
        raise ConfigError('--observations', str(path), f'{FEWEST_SEEN} observations or more to '
                          f'choose a mode by: there are {len(observed)} in it')  # fmt: skip
    why = observed.why_not_guided
    if why:
        rows = tuple(row for row in rows if row.mode not in GUIDED)
        bars.say(f'{" and ".join(GUIDED)} are not compared: {why}')
    elif observed.assumed:
        bars.say(f'{path} has no stamp: rows of the same words are taken to be passes in turn')
    policy = open_policy(EngineConfig(path=str(given.target)))
    try:
        found = on_recorded(policy, observed.observations, rows, bars.count('modes'),
                            observed.follows)  # fmt: skip
    finally:
        policy.engine.close()
    candidates, total = by_error(found), manifest.layers_total
    chosen = choose(candidates, total, given.depth, 0.0).row
    told = {row.name: one for row, one in found.items()}
    space.write('modes.json', {'chosen': chosen.name, 'depth': given.depth, 'modes': told,
                               'left_out': dict.fromkeys(GUIDED, why) if why else {}})  # fmt: skip
    table = _table(f'{len(observed)} recorded observations', given.depth,
                   ('error to dense', 'p95', 'layers', 're-runs'),
                   out_of_reach(candidates, total, given.depth))  # fmt: skip
    for row, one in found.items():
        table.add_row(
            _marked(row.name, chosen.name),
            f'{one["error_mean"]:.4f}',
            f'{one["error_p95"]:.4f}',
            f'{one["layers_run_mean"]:.2f}',
            f'{one["rerun_rate"]:.2f}',
        )
    return _with(manifest.calibration, chosen), table


def _with(spec: CalibrationSpec, row: Any) -> CalibrationSpec:
    from dysl_vla_ros.lab.evaluation.choice import with_mode

    return replace(spec, **with_mode(spec, row))


def _marked(name: str, chosen: str) -> str:
    return f'> {name}' if name == chosen else f'  {name}'


def _table(
    title: str, depth: float, titles: tuple[str, ...], note: str, decided: bool = True
) -> Table:  # fmt: skip
    budget = f', at most {100 * depth:.0f} % of the layers' if depth else ''
    mark = '; > goes into the bundle' * decided
    table = Table(title=f'skip modes on {title}{budget}{mark}',
                  title_justify='left', box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  show_edge=False, caption=note or None, caption_justify='left')  # fmt: skip
    table.add_column('', no_wrap=True)
    for name in titles:
        table.add_column(name, justify='right', no_wrap=True)
    return table
