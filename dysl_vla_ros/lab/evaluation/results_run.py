"""What the results page asks for, in pieces that are played on, in as many goes as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.anchor_rows import Anchor, anchor_for, check_anchor
from dysl_vla_ros.lab.evaluation.committed import (
    COLUMNS,
    check_begun,
    check_episodes,
    episodes_told,
    packed,
    play_on_from,
    played_with,
    unpacked,
)
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.evaluate import (
    Played,
    about,
    evaluated_manifest,
    play_on,
    report,
)
from dysl_vla_ros.lab.evaluation.ledger import Ledger
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.statistics import paired_difference

_DROPPED = ('episodes', 'traces')
"""Of a report: large, and no table reads it."""
_TIMES = ('pass_ms', 'backbone_ms')
_KEPT = ('mean', 'p50')
"""Of a mode's times: a line has the mean of its episode, so that outer quantiles mean nothing, but
the median of these means is not moved by an hour in which the machine slept, as their mean is."""
FAR = 0.3
"""Share of all episodes lost, by the lower bound of the interval, that decides a row early."""


@dataclass(frozen=True)
class Piece:
    """One set of episodes that all rows play.

    Attributes:
        options: Everything but the bundle, the parameters and the workers.
        shows: In words.
        decided: Pairs after which a row that is certainly far behind the first one is played no
            further; 0 plays every row to the end.
        joins: The piece in whose table its rows stand; '' has a table of its own.
        renamed: Its row -> what that table calls it.
        anchor: What its bundle must be; None: the deep policy.
    """

    options: EvaluateOptions
    shows: str
    decided: int = 0
    joins: str = ''
    renamed: tuple[tuple[str, str], ...] = ()
    anchor: Anchor | None = None


def pieces(config: NodeConfig, bundle: str, workers: int) -> dict[str, Piece]:
    """By name, which is that of the evidence file, too.

    Every seed is used for nothing else: settings were chosen on others.
    """
    base = EvaluateOptions(bundle=bundle, latency=0.02, workers=workers, config=config)
    rows = replace(
        base,
        modes=('full', 'auto', 'max_skip', 'closed', 'static_only', 'random', 'fixed', 'deer'),
        exit_layers=(8, 7, 6, 5), deer_ratios=(0.5,), random_depth=0.288,
    )  # fmt: skip
    late = replace(
        base, modes=('full', 'auto', 'blend', 'blocking'), episodes=25, first_seed=73_000_000,
        config=replace(config, chunk=replace(config.chunk, max_time_stretch=2.5)),
    )  # fmt: skip
    return {
        'results_tabletop': Piece(
            replace(rows, episodes=250, first_seed=70_000_000), 'success against compute',
            decided=400),
        'results_heldout': Piece(
            replace(rows, episodes=25, first_seed=71_000_000, split='heldout_objects'),
            'the same on object pairs held out of training'),
        'ablation_tabletop': Piece(
            replace(base, modes=('full', 'auto', 'ceil', 'printed', 'max_skip', 'no_pre_skip',
                                 'no_rerun'),
                    episodes=50, first_seed=72_000_000), 'what each part of the guidance does'),
        **{f'ablation_k{window}_tabletop': Piece(
            replace(base, modes=('auto',), episodes=50, first_seed=72_000_000,
                    config=replace(config, continuity=replace(config.continuity, window=window))),
            f'continuity over {window} steps', joins='ablation_tabletop',
            renamed=(('auto', f'k {window}'),))
           for window in (1, 9)},
        'noise_tabletop': Piece(
            replace(base, modes=('full', 'noise_critical', 'noise_free'),
                    noises=(0.3, 0.4, 0.5, 0.6), episodes=25, first_seed=74_000_000),
            'noise on the weights in some phases'),
        'latency_smooth_tabletop': Piece(
            replace(late, latency=0.4, config=replace(
                late.config, safety=replace(config.safety, brake_s=0.2))),
            'passes that take one chunk, stop.brake_s 0.2'),
        **{f'latency_{name}_tabletop': Piece(
            replace(late, latency=seconds), f'passes that take {name} chunks')
           for name, seconds in (('zero', 0.0), ('quarter', 0.1), ('half', 0.2), ('one', 0.4),
                                 ('three', 1.2))},
    }  # fmt: skip


def anchored(piece: Piece, name: str, anchor: str) -> Piece:
    """The piece's episodes for a bundle of ``dysl anchors``: a row of its table.

    What never skips is played dense, a distillation as it is deployed.

    Args:
        piece: With the anchor's bundle.
        name: Of the piece.
        anchor: ``fixed_8``, ``layers_9``, ``random_static_1`` or ``stages_2``.

    Raises:
        ConfigError: Another name, or one of which the piece's table has no row.
    """
    found = anchor_for(name, anchor)
    mode = found.kind.mode
    options = replace(piece.options, modes=(mode,), exit_layers=(), deer_ratios=(),
                      tolerances=(), noises=(), random_depth=None)  # fmt: skip
    return Piece(options, f'{anchor}: {piece.shows}', joins=name,
                 renamed=((mode, found.shown),), anchor=found)  # fmt: skip


def check_piece_run(name: str, piece: Piece, before: Mapping[str, Any] | None) -> None:
    """Refuse what ``run_piece`` would refuse, before anything is played.

    Args:
        name: Of the piece.
        piece: What to play.
        before: The report of an earlier go, whose file this one would replace.

    Raises:
        ConfigError: As ``run_piece``.
    """
    if piece.anchor is not None:
        check_anchor(piece.anchor, evaluated_manifest(piece.options))
    if before is not None:
        check_begun(f'{name}.json', before, played_with(about(piece.options)))
        check_episodes(f'{name}.json', before, episodes_told(piece.options))


def run_piece(
    name: str, piece: Piece, keep: Path, minutes: float, episodes: int = 0,
    on_result: Callable[[int, int], None] | None = None, before: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:  # fmt: skip
    """Play what is missing of a piece, at most for some minutes.

    Args:
        name: Of the piece.
        piece: What to play.
        keep: Folder of finished episodes, not committed; they make the file again.
        minutes: Then episodes that are being played are given up.
        episodes: Per family, instead of the piece's; 0 takes the piece's.
        on_result: Called with episodes played and wanted, of all rows.
        before: The report of an earlier go, whose file this one would replace: what it tells is
            not played again.

    Returns:
        The report, with a line for each episode and without what no table reads, of the episodes
        that every row has played: ``episodes_played`` of ``episodes_wanted``, from the first seed
        on. None where that is not one. Rows in ``decided`` have fewer.

    Raises:
        ConfigError: ``before`` is of another bundle, other parameters, episodes or rows; or the
            bundle is not the anchor that was named.
    """
    if minutes <= 0:
        raise ConfigError('minutes', minutes, 'more than 0')
    until = time.monotonic() + 60 * minutes
    options = replace(piece.options, episodes=episodes or piece.options.episodes)
    depends = about(options)
    check_piece_run(name, piece, before)
    layers = evaluated_manifest(options).layers_total
    ledger, same = Ledger(keep / f'{name}.jsonl', depends, layers), played_with(depends)
    if before is not None:
        play_on_from(f'{name}.json', before, options, ledger)
    rows, specs = options.rows(), options.specs()
    told: set[tuple[str, EpisodeSpec]] = set()
    total = len(specs) * len(rows)

    def note(row: str, result: EpisodeResult) -> None:
        told.add((row, result.spec))
        if on_result is not None:
            on_result(len(told), total)

    behind: Played = {}
    if 0 < piece.decided < len(specs):
        play_on(options, rows, ledger, note, until, piece.decided)
        behind = _behind(_played(ledger, rows, specs[: piece.decided]), piece.decided)
    total -= len(behind) * (len(specs) - piece.decided)
    left = [row for row in rows if row not in behind]
    play_on(options, left, ledger, note, until)
    played = _played(ledger, left, specs)
    done = len(played[left[0]])
    if not done:
        return None
    played = {row: (behind | played)[row] for row in rows}
    wins = {row.name: ''.join(str(int(one.success)) for one in found)
            for row, found in played.items()}  # fmt: skip
    lines = {row: [packed(one) for one in found] for row, found in played.items()}
    # Told of the lines, so that another go tells the same of them.
    told_of = {row: [unpacked(line, one.spec) for line, one in zip(lines[row], found, strict=True)]
               for row, found in played.items()}  # fmt: skip
    found = {key: value for key, value in report(told_of).items() if key not in _DROPPED}
    for mode in found['modes'].values():
        mode.update({key: {kept: mode[key][kept] for kept in _KEPT} for key in _TIMES})
    if piece.joins:
        found |= {'joins': piece.joins, 'as': dict(piece.renamed)}
    return found | {
        'won': wins, 'columns': COLUMNS, 'played_with': same,
        'episodes': {row.name: told for row, told in lines.items()},
        **episodes_told(options), 'piece': name, 'shows': piece.shows,
        'episodes_per_family': options.episodes, 'latency': f'{options.latency}',
        'probe': options.probe,
        'episodes_played': done, 'episodes_wanted': len(specs),
        'decided': [row.name for row in behind],
    }  # fmt: skip


def _behind(played: Played, count: int) -> Played:
    """The rows that, after so many pairs, are certainly far behind the first one."""
    reference, *others = played
    wins = [one.success for one in played[reference]]
    if len(wins) < count:
        return {}
    return {row: found for row, found in played.items() if row in others
            and paired_difference(wins, [one.success for one in found])[1] > FAR}  # fmt: skip


def _played(ledger: Ledger, rows: Sequence[Row], specs: Sequence[EpisodeSpec]) -> Played:
    """From the first episode to the last before the first that a row lacks."""
    found: Played = {row: [] for row in rows}
    for spec in specs:
        results = [result for row in rows if (result := ledger.get(row, spec)) is not None]
        if len(results) < len(rows):
            break
        for row, result in zip(rows, results, strict=True):
            found[row].append(result)
    return found
