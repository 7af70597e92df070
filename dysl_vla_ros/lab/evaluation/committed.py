"""Finished episodes as evidence keeps them: small enough to commit, enough for every table.

A line an episode. Times of passes are means, so that no quantile can be told from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.ledger import Ledger
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.observer import PHASES

_WHOLE = (
    'success', 'actions', 'chunks', 'reruns', 'layers_run', 'controllers', 'layers_total',
    'static_layers', 'holds', 'commands', 'limited', 'lost', 'unsafe', 'resting',
)  # fmt: skip
_REAL = ('seconds', 'longest_still_s', 'jerk_rms', 'jerk_peak', 'way')
_MEANS = ('pass_seconds', 'backbone_seconds')
_BEFORE: dict[str, Any] = {'families': list(FAMILIES), 'time_limit': 30.0}
"""Of reports that do not say: every piece had these."""
COLUMNS = (*_WHOLE, *_REAL, *_MEANS, *(f'passes_{phase}' for phase in PHASES))
"""Of a line, separated by commas; ``passes_<phase>``: layers executed, a colon, how many passes
that were observed in the phase executed as many."""


def played_with(about: Mapping[str, Any]) -> dict[str, Any]:
    """What episodes depend on beside row and spec, as JSON, with the parameters as they differ.

    A parameter that is new does not make earlier episodes others, as long as it is not set.

    Args:
        about: As a ledger is begun with.
    """
    bundle = json.dumps(about['bundle'], sort_keys=True).encode()
    told = {
        **about,
        'bundle': {'name': about['bundle']['name'], 'sha256': hashlib.sha256(bundle).hexdigest()},
        'parameters': differs(about['parameters'], asdict(NodeConfig())),
    }
    return dict(json.loads(json.dumps(told)))


def episodes_told(options: EvaluateOptions) -> dict[str, Any]:
    """Which episodes a report is of, and what its rows are, as JSON."""
    return dict(json.loads(json.dumps({
        'first_seed': options.first_seed, 'split': options.split, 'families': options.families,
        'time_limit': options.time_limit,
        'rows': {row.name: row.settings for row in options.rows()},
    })))  # fmt: skip


def packed(result: EpisodeResult) -> str:
    """An episode's line."""
    counts: dict[str, dict[int, int]] = {phase: {} for phase in PHASES}
    for _, layers, _, phase in result.depth_trace:
        counts[phase][layers] = counts[phase].get(layers, 0) + 1
    means = (sum(times) / max(len(times), 1) for times in
             (getattr(result, name) for name in _MEANS))  # fmt: skip
    return ','.join([
        *(str(int(getattr(result, name))) for name in _WHOLE),
        *(f'{getattr(result, name):.5g}' for name in _REAL),
        *(f'{mean:.5g}' for mean in means),
        *(' '.join(f'{layers}:{count}' for layers, count in sorted(counts[phase].items()))
          for phase in PHASES),
    ])  # fmt: skip


def unpacked(line: str, spec: EpisodeSpec) -> EpisodeResult:
    """The episode of a line, as far as it is told there.

    Raises:
        ValueError: The line is none of ``packed``.
    """
    told = dict(zip(COLUMNS, line.split(','), strict=True))
    values: dict[str, Any] = {name: int(told[name]) for name in _WHOLE}
    values |= {name: bool(values[name]) for name in ('success', 'resting')}
    values |= {name: float(told[name]) for name in _REAL}
    values |= {name: (float(told[name]),) * values['chunks'] for name in _MEANS}
    passes = {phase: _counts(told[f'passes_{phase}']) for phase in PHASES}
    trace = [(0.0, layers, None, phase) for phase, counts in passes.items()
             for layers, count in counts for _ in range(count)]  # fmt: skip
    sums: dict[str, tuple[int, int]] = {
        phase: (sum(layers * count for layers, count in counts), sum(count for _, count in counts))
        for phase, counts in passes.items()
        if counts
    }
    return EpisodeResult(
        spec=spec, instruction='', depth_trace=tuple(trace), phase_layers=sums, **values
    )


def play_on_from(report: Mapping[str, Any], options: EvaluateOptions, ledger: Ledger) -> None:
    """Let a ledger know what an earlier report, played with the same, tells of these episodes.

    Raises:
        ConfigError: It is of other episodes or rows, or a line of it is none of ours.
    """
    _check_episodes(report, episodes_told(options))
    for row in options.rows():
        lines = report['episodes'].get(row.name, ())
        for spec, line in zip(options.specs(), lines, strict=False):
            try:
                ledger.know(row, unpacked(line, spec))
            except ValueError as error:
                raise ConfigError(
                    f'episodes of {row.name}', line, 'a line as dysl results --run wrote it '
                    f'({error}); without the file all of them are played again',
                ) from None  # fmt: skip


def differs(given: Any, default: Any) -> Any:
    """Of parameters by name those that are not the default."""
    return {
        key: differs(value, default[key]) if isinstance(value, dict) and key in default else value
        for key, value in given.items()
        if key not in default or value != default[key]
    }


def _check_episodes(report: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    right = '{!r}: the report there is of other episodes; move it away or name another --evidence'
    for field in ('first_seed', 'split', 'families', 'time_limit'):
        told = report.get(field, _BEFORE.get(field))
        if told != wanted[field]:
            raise ConfigError(field, told, right.format(wanted[field]))
    rows = report.get('rows', {'random': {'share': report.get('random_depth')}})
    for name in report['episodes']:
        if name not in wanted['rows']:
            raise ConfigError('rows', name, f'one of {", ".join(wanted["rows"])}: what else was '
                              'played would be lost; move the report away')  # fmt: skip
        asked = wanted['rows'][name]
        given = rows.get(name, asked)
        for key in {**asked, **given}:
            if given.get(key) != asked.get(key):
                raise ConfigError(f'rows.{name}.{key}', given.get(key),
                                  right.format(asked.get(key)))  # fmt: skip


def _counts(text: str) -> Sequence[tuple[int, int]]:
    pairs = (entry.split(':') for entry in text.split())
    return [(int(layers), int(count)) for layers, count in pairs]
