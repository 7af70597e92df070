"""Success over many seeded episodes, in several workers, several modes on the same seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.open_engine import folder_of
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult
from dysl_vla_ros.lab.evaluation.ledger import Ledger
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.simulated_arm import check_simulated
from dysl_vla_ros.lab.evaluation.summary import compared, outcomes, random_share, summary, trace_of
from dysl_vla_ros.lab.evaluation.workers import Job, run_all

OnResult = Callable[[str, EpisodeResult], None]
Played = dict[Row, list[EpisodeResult]]
"""Row -> its episodes, all rows in the same order."""


def evaluate(
    options: EvaluateOptions, on_result: OnResult | None = None, ledger: Ledger | None = None
) -> dict[str, Any]:
    """Run every mode on the same episodes.

    Args:
        options: What to run.
        on_result: Called with the row's name after each episode, for a progress bar.
        ledger: Episodes that need not be played again, and where new ones are kept.

    Returns:
        A JSON document: one entry per mode, and paired differences to the first mode.
    """
    rows = options.rows()
    later = [row for row in rows if row.mode == 'random' and options.random_depth is None]
    kept = Ledger(None, {}) if ledger is None else ledger
    played = play(options, [row for row in rows if row not in later], on_result, kept)
    for row in later:
        auto = played[Row('auto')]
        share = random_share(summary(auto), auto[0].static_layers)
        played |= play(options, [replace(row, share=share)], on_result, kept)
    by_mode = {row.mode: row for row in played}
    ordered = [by_mode['random'] if row in later else row for row in rows]
    return report({row: played[row] for row in ordered})


def play(
    options: EvaluateOptions,
    rows: Sequence[Row],
    on_result: OnResult | None = None,
    ledger: Ledger | None = None,
) -> Played:
    """Play rows on the episodes of ``options``; what the ledger has is not played again.

    Raises:
        ConfigError: A row does not fit the bundle.
    """
    kept = Ledger(None, {}) if ledger is None else ledger
    play_on(options, rows, kept, on_result)
    return {row: [_there(kept.get(row, spec)) for spec in options.specs()] for row in rows}


def play_on(
    options: EvaluateOptions, rows: Sequence[Row], kept: Ledger,
    on_result: OnResult | None = None, until: float = math.inf, most: int | None = None,
) -> None:  # fmt: skip
    """Play what a ledger lacks; where the time is over, the rest stays for another time.

    Every row plays an episode before the next one begins: what slows the machine for a while
    slows them all, and what was played when the time is over are pairs.

    Args:
        options: Which episodes.
        rows: In what order each is played.
        kept: Gets every episode as it is finished.
        on_result: Called with each, first with those that were there.
        until: Time of the steady clock; episodes that are being played then are given up.
        most: Of the episodes, the first ones; None is all.

    Raises:
        ConfigError: A row does not fit the bundle, or the bundle not the simulation.
    """
    manifest = evaluated_manifest(options)
    check_simulated('--engine', options.bundle, manifest)
    for row in rows:
        with_bundle(mode_config(options.config, row), manifest)
    jobs = []
    for job in (Job(row, spec) for spec in options.specs()[:most] for row in rows):
        result = kept.get(job.row, job.spec)
        if result is None:
            jobs.append(job)
        elif on_result is not None:
            on_result(job.row.name, result)
    if not jobs or time.monotonic() >= until:
        return
    with closing(run_all(options, jobs)) as results:
        for job, result in results:
            kept.add(job.row, result)
            if on_result is not None:
                on_result(job.row.name, result)
            if time.monotonic() >= until:
                return


def report(played: Mapping[Row, list[EpisodeResult]]) -> dict[str, Any]:
    """What ``evaluate`` returns, of episodes that are played; the first row is the reference.

    A row that has fewer episodes has the first ones, and is compared on those. Of the fixed exits
    that counts which is within a point of dense, wherever dense stands; without it none does.
    """
    rows = list(played)
    reference, fixed = played[rows[0]], _shallowest_fixed(played)
    against = [row for row in rows if fixed is not None and row != fixed]
    return {
        'modes': {row.name: summary(found) for row, found in played.items()},
        'paired': {row.name: _compared(reference, played[row]) for row in rows[1:]},
        'paired_fixed': {
            'reference': fixed.name,
            'rows': {row.name: _compared(played[fixed], played[row]) for row in against},
        } if fixed is not None else None,
        'random_depth': next((row.share for row in rows if row.mode == 'random'), None),
        'episodes': {row.name: outcomes(found) for row, found in played.items()},
        'traces': {row.name: _trace(found) for row, found in played.items()},
    }  # fmt: skip


def _compared(
    reference: Sequence[EpisodeResult], other: Sequence[EpisodeResult]
) -> dict[str, float | None]:
    return compared(reference[: len(other)], other)


def _shallowest_fixed(played: Mapping[Row, list[EpisodeResult]]) -> Row | None:
    """The fixed exit that others have to beat: the shallowest within a point of dense."""
    wins = {row: sum(one.success for one in found) for row, found in played.items()}
    dense = next((row for row in played if row.mode == 'full'), None)
    if dense is None:
        return None
    count = len(played[dense])
    within = [row for row, found in played.items() if row.mode == 'fixed'
              and len(found) == count and wins[row] >= wins[dense] - 0.01 * count]  # fmt: skip
    return min(within, key=lambda row: summary(played[row])['layers_run_mean'], default=None)


def evaluated_manifest(options: EvaluateOptions) -> Manifest:
    """Of the bundle that will play.

    Raises:
        BundleError: There is none, or it is altered.
    """
    if options.bundle == 'fake':
        return fake_manifest()
    return open_bundle(folder_of(options.bundle)).manifest


def about(options: EvaluateOptions) -> dict[str, Any]:
    """What episodes depend on beside row and spec: what a ledger is begun with."""
    manifest = evaluated_manifest(options)
    files = {name: entry.sha256 for name, entry in manifest.files.items()}
    config = asdict(replace(options.config, engine=replace(options.config.engine, path='')))
    return {
        'bundle': {'name': manifest.name, 'calibration': manifest.calibration.told(),
                   'static_layers': manifest.static_layers, 'files': files},
        'latency': options.latency,
        'probe': options.probe,
        'parameters': config,
    }  # fmt: skip


def _there(result: EpisodeResult | None) -> EpisodeResult:
    assert result is not None
    return result


def _trace(results: list[EpisodeResult]) -> dict[str, Any] | None:
    """A won episode with a grasp and a release in it, for the plot; else any with chunks."""
    told = [result for result in results if result.depth_trace]
    best = [r for r in told if r.success and r.spec.family in ('bin', 'place')]
    return trace_of((best or told)[0]) if told else None


def bundle_name(path: str) -> str:
    """What a report calls the bundle."""
    return Path(path).name if path else 'bundled model'
