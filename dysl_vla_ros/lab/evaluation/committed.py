"""Finished episodes as evidence keeps them: small enough to commit, enough for every table.

A line an episode. Times of passes are means, so that no quantile can be told from them.
"""

from __future__ import annotations

import hashlib
import json
import math
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
FAMILIES_BEFORE, TIME_LIMIT_BEFORE = FAMILIES, 30.0
"""Of reports that do not say: every piece had these."""
_BEFORE: dict[str, Any] = {'families': list(FAMILIES_BEFORE), 'time_limit': TIME_LIMIT_BEFORE}
_DIGITS = 12
_MOST_CHUNKS = 100_000
"""Of an episode; one of a minute has a few hundred."""
_AT_MOST: dict[str, int | str] = {
    'success': 1, 'resting': 1, 'chunks': _MOST_CHUNKS, 'reruns': 'chunks',
    'static_layers': 'layers_total',
}  # fmt: skip
"""Of whole numbers: the most, or the column that has it."""
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
    parts = line.split(',')
    if len(parts) != len(COLUMNS):
        raise ValueError(f'{len(parts)} columns, expected {len(COLUMNS)}')
    told = dict(zip(COLUMNS, parts, strict=True))
    values: dict[str, Any] = {name: _whole(name, told[name]) for name in _WHOLE}
    for name, most in _AT_MOST.items():
        most = most if isinstance(most, int) else values[most]
        if values[name] > most:
            raise ValueError(f'{name} = {values[name]}, expected at most {most}')
    values |= {name: bool(values[name]) for name in ('success', 'resting')}
    values |= {name: _real(name, told[name]) for name in _REAL}
    values |= {name: (_real(name, told[name]),) * values['chunks'] for name in _MEANS}
    passes = {phase: _counts(told[f'passes_{phase}']) for phase in PHASES}
    seen = sum(count for counts in passes.values() for _, count in counts)
    if seen not in (0, values['chunks']):
        raise ValueError(f'{seen} passes of {values["chunks"]} chunks, expected as many or none')
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


def check_begun(file: str, report: Mapping[str, Any], same: Mapping[str, Any]) -> None:
    """Refuse to replace a report of something else.

    Args:
        file: Its name.
        report: That is there.
        same: What would be played with now, as ``played_with``.

    Raises:
        ConfigError: Names what differs; of two bundles their digests, shortened.
    """
    begun = report.get('played_with')
    other = 'name another folder with --evidence, or move the file away'
    if not isinstance(begun, Mapping):
        raise ConfigError(f'{file}: played_with', begun, 'what it was played with, which this '
                          f'file of an earlier version does not say: {other}')  # fmt: skip
    for key in {**same, **begun}:
        told, wanted = begun.get(key), same.get(key)
        if told == wanted:
            continue
        if key == 'bundle':
            told, wanted = _called(told), _called(wanted)
        raise ConfigError(f'{file}: played_with.{key}', told,
                          f'{wanted!r}, as it would be played now: {other}')  # fmt: skip


def check_episodes(file: str, report: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to go on from a report of other episodes or rows.

    Args:
        file: Its name.
        report: That is there.
        wanted: As ``episodes_told``.

    Raises:
        ConfigError: Names what differs.
    """
    right = '{!r}: the report there is of other episodes; move it away or name another --evidence'
    for field in ('first_seed', 'split', 'families', 'time_limit'):
        told = report.get(field, _BEFORE.get(field))
        if told != wanted[field]:
            raise ConfigError(f'{file}: {field}', told, right.format(wanted[field]))
    rows = report.get('rows', {'random': {'share': report.get('random_depth')}})
    for name in report['episodes']:
        if name not in wanted['rows']:
            raise ConfigError(f'{file}: rows', name, f'one of {", ".join(wanted["rows"])}: what '
                              'else was played would be lost; move the report away')  # fmt: skip
        asked = wanted['rows'][name]
        given = rows.get(name, asked)
        for key in {**asked, **given}:
            if given.get(key) != asked.get(key):
                raise ConfigError(f'{file}: rows.{name}.{key}', given.get(key),
                                  right.format(asked.get(key)))  # fmt: skip


def play_on_from(
    file: str, report: Mapping[str, Any], options: EvaluateOptions, ledger: Ledger
) -> None:
    """Let a ledger know what an earlier report, played with the same, tells of these episodes.

    Args:
        file: Name of the report's file.
        report: The earlier one.
        options: What is to be played.
        ledger: Gets its episodes.

    Raises:
        ConfigError: It is of other episodes or rows, or a line of it is none of ours.
    """
    check_episodes(file, report, episodes_told(options))
    for row in options.rows():
        lines = report['episodes'].get(row.name, ())
        for spec, line in zip(options.specs(), lines, strict=False):
            try:
                ledger.know(row, unpacked(line, spec))
            except ValueError as error:
                raise ConfigError(
                    f'{file}: episodes of {row.name}', line, 'a line as dysl results --run wrote '
                    f'it ({error}); without the file all of them are played again',
                ) from None  # fmt: skip


def differs(given: Any, default: Any) -> Any:
    """Of parameters by name those that are not the default."""
    return {
        key: differs(value, default[key]) if isinstance(value, dict) and key in default else value
        for key, value in given.items()
        if key not in default or value != default[key]
    }


def _called(bundle: Any) -> str:
    if not isinstance(bundle, Mapping):
        return 'none'
    return f'{bundle.get("name")} {str(bundle.get("sha256"))[:12]}'


def _counts(text: str) -> Sequence[tuple[int, int]]:
    pairs = (entry.split(':') for entry in text.split())
    return [(_whole('passes', layers), _whole('passes', count)) for layers, count in pairs]


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ValueError(f'{name} = {text[:40]!r}, expected a whole number')
    return int(text)


def _real(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f'{name} = {text[:40]!r}, expected a number of at least 0')
    return value
