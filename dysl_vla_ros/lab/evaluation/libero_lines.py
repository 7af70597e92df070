"""Rows of LIBERO's reports, policy by policy, for the results page and its picture.

Reports of one suite are paired start by start, whatever bundle they played: a bundle of ``dysl
anchors`` is a row beside the policy that it was made from, and so are further rows of one policy,
on fewer starts. Only training seeds of one recipe are pooled (files ``NAME`` and ``NAME_seed_N``):
a policy that was trained on from another, or by another recipe, is no repetition of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dysl_vla_ros.lab.evaluation.choice import POINT
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.statistics import paired_difference
from dysl_vla_ros.lab.evaluation.world_report_check import check_libero
from dysl_vla_ros.lab.worlds.libero.suites import STARTS

SUITES = {'libero_object': 'Object', 'libero_spatial': 'Spatial', 'libero_goal': 'Goal'}
"""Whose rows are asked for, and what tables of others call them."""
DENSE = 'dense'
_NAMES = {'full': DENSE, 'fixed': 'fixed exit', 'auto': 'DySL `auto`', 'deer': 'DeeR',
          'static_only': 'static', 'by_instruction': 'exit by instruction'}  # fmt: skip
_ANCHORS = {'fixed': 'fixed exit {}, fine-tuned', 'layers': 'n-layer, {}'}
TOLD = 'by_instruction'
"""Bundle of ``dysl anchors --by-instruction``."""
_BY_CHUNK = ('layers_run_mean', 'controllers_mean', 'rerun_rate')
_SEED = re.compile(r'(.+)_seed_\d+')
_CHUNKS = 5
"""Where an episode's entry has them."""


@dataclass(frozen=True)
class Line:
    """One row of a report.

    Attributes:
        kind: Of a table's wanted rows, or the mode.
        name: As the table calls it.
        told: Its summary.
        won: (task, start), of several policies (policy, task, start) -> whether it was.
        run: Name of the file that it is of; '' where it is of several.
        chunks: Of all its episodes; 0 where the report does not tell them.
    """

    kind: str
    name: str
    told: Found
    won: Mapping[tuple[int, ...], bool]
    run: str = ''
    chunks: int = 0


@dataclass(frozen=True)
class Table:
    """The rows of one policy.

    Attributes:
        name: Of its file, after which those of its further rows are called.
        found: The report.
        lines: Its rows and those beside them.
    """

    name: str
    found: Found
    lines: Sequence[Line]


def official_reports(evidence: Mapping[str, Found]) -> dict[str, Found]:
    """LIBERO's reports on official starts, by file name.

    Raises:
        ConfigError: A report of LIBERO does not agree with itself: ``check_libero``.
    """
    reports = {name: one for name, one in evidence.items() if one.get('world') == 'libero'}
    for name, one in reports.items():
        check_libero(name, one)
    return {name: one for name, one in reports.items() if one.get('first_start', 0) < STARTS}


def policies_of(reports: Mapping[str, Found]) -> dict[str, Found]:
    """The reports that have a table, one for each policy of each suite, by file name."""
    official = {name: one for name, one in reports.items() if one.get('first_start', 0) < STARTS}
    return {name: one for suite in SUITES for name, one in _own(official, suite)}


def tables_of(reports: Mapping[str, Found], suite: str) -> list[Table]:
    """A table for each policy of a suite."""
    own, tables = dict(_own(reports, suite)), []
    for name, found in own.items():
        lines = list(lines_of(name, found))
        for other, one in _beside(reports, own, name):
            known = {line.name for line in lines}
            lines += [line for line in lines_of(other, one) if line.name not in known]
        tables.append(Table(name, found, lines))
    return tables


def recipes(tables: Sequence[Table]) -> list[list[Table]]:
    """Tables of training seeds of one recipe together; one alone is one."""
    by_stem: dict[str, list[Table]] = {}
    for table in tables:
        seed = _SEED.fullmatch(table.name)
        by_stem.setdefault(seed[1] if seed else table.name, []).append(table)
    return list(by_stem.values())


def pooled(tables: Sequence[Table]) -> list[Line]:
    """The rows that every policy has, each over all of their episodes."""
    found = []
    for line in tables[0].lines:
        lines = [one for table in tables for one in table.lines if one.name == line.name]
        if len(lines) == len(tables):
            wins: dict[tuple[int, ...], bool] = {
                (policy, *key): won
                for policy, one in enumerate(lines)
                for key, won in one.won.items()
            }
            chunks = sum(one.chunks for one in lines) if all(one.chunks for one in lines) else 0
            found.append(Line(line.kind, line.name, _over_all(lines), wins, chunks=chunks))
    return found


def lines_of(name: str, found: Found) -> Iterator[Line]:
    """The rows of a report, in its order.

    Args:
        name: Of its file.
        found: The report.
    """
    anchor, _, number = found.get('bundle', '').rpartition('_')
    for row, told in found['rows'].items():
        mode, _, depth = row.partition(' ')
        kind = shown = _NAMES.get(mode, mode)
        if mode == 'fixed':
            shown = f'{kind} {depth}'
        if mode == 'paced':
            shown = f'paced `{depth}`'
        if mode == 'deer':
            shown = f'{kind}, {depth}'
        if anchor in _ANCHORS:
            shown = _ANCHORS[anchor].format(number)
            kind = shown.replace(f' {number}', '').rstrip(',')
        if found.get('bundle') == TOLD:
            kind = shown = f'{shown}, fine-tuned'
        episodes = found['episodes'][row]
        wins: dict[tuple[int, ...], bool] = {
            (task, start): bool(success) for task, start, success, *_ in episodes
        }
        told_of = all(len(one) > _CHUNKS for one in episodes)
        chunks = sum(one[_CHUNKS] for one in episodes) if told_of else 0
        yield Line(kind, shown, told, wins, name, chunks)


def dense_of(lines: Sequence[Line]) -> Line | None:
    """The dense row, wherever it stands."""
    return next((line for line in lines if line.name == DENSE), None)


def reference_of(lines: Sequence[Line]) -> Line | None:
    """The shallowest fixed exit or n-layer policy that is within a point of dense.

    One that played less than half of what dense did is none: a handful of starts says little.
    """
    dense = dense_of(lines)
    if dense is None:
        return None
    good = [line for line in lines if line.kind.startswith(('fixed exit', 'n-layer'))
            and 2 * len(dense.won.keys() & line.won.keys()) >= len(dense.won)
            and lost(dense, line)[0] <= POINT]  # fmt: skip
    return min(good, key=lambda line: line.told['layers_run_mean'], default=None)


def lost(one: Line, other: Line) -> tuple[float, float, float]:
    """What the other loses against the one, on the episodes that both played; its interval."""
    both = [(won, other.won[key]) for key, won in one.won.items() if key in other.won]
    return paired_difference([mine for mine, _ in both], [theirs for _, theirs in both])


def lost_by_each(one: Line, other: Line) -> list[float]:
    """The same for each policy of pooled rows."""
    return [lost(_of(one, policy), _of(other, policy))[0]
            for policy in sorted({key[0] for key in one.won})]  # fmt: skip


def plain(found: Found) -> bool:
    """Whether a report is of a suite as it is, with its own words and pictures."""
    return found['suite'] in SUITES and found['control'] == 'none'


def policy_of(name: str, found: Found, policies: Mapping[str, Found]) -> str:
    """Whose table that is; reports of before 2026-11-28 name no policy and go by their name."""
    digest = found.get('policy')
    same = [own for own, one in policies.items() if digest and one.get('policy') == digest]
    return same[0] if same else table_of(name, policies)


def table_of(name: str, policies: Mapping[str, Found]) -> str:
    """The table that a file is called after; '' for none."""
    return max((own for own in policies if name.startswith(f'{own}_')), key=len, default='')


def _of(line: Line, policy: int) -> Line:
    wins = {key: won for key, won in line.won.items() if key[0] == policy}
    return Line(line.kind, line.name, line.told, wins)


def _over_all(lines: Sequence[Line]) -> Found:
    """Summary of several; means over chunks by chunks, where all reports tell them."""
    counts = [line.told['episodes'] for line in lines]
    chunks = [line.chunks for line in lines]
    weights = chunks if all(chunks) else counts
    told = [line.told for line in lines]
    return {
        'episodes': sum(counts), 'successes': sum(one['successes'] for one in told),
        'layers_total': told[0]['layers_total'],
        'actions_mean': _mean(told, 'actions_mean', counts),
        **{key: _mean(told, key, weights) for key in _BY_CHUNK},
    }  # fmt: skip


def _mean(told: Sequence[Found], key: str, weights: Sequence[int]) -> float:
    whole = sum(one[key] * weight for one, weight in zip(told, weights, strict=True))
    return float(whole) / sum(weights)


def _own(reports: Mapping[str, Found], suite: str) -> Iterator[tuple[str, Found]]:
    """Reports of a suite as it is, one for each policy that the recipe made for it."""
    seen: set[str] = set()
    for name, found in sorted(reports.items()):
        if plain(found) and found['suite'] == suite and found.get('bundle', '') == suite:
            policy = found.get('policy', name)
            if policy not in seen:
                yield name, found
            seen.add(policy)


def _beside(
    reports: Mapping[str, Found], own: Mapping[str, Found], name: str
) -> Iterator[tuple[str, Found]]:
    """Further rows of that policy, and what was made from it: files are called after its own."""
    same, mine = ('suite', 'control', 'thin', 'replan'), own[name]
    for other, one in reports.items():
        if table_of(other, own) != name or any(one[key] != mine[key] for key in same):
            continue
        is_mine = 'policy' in mine and one.get('policy') == mine['policy']
        bundle = one.get('bundle', '')
        if is_mine or bundle == TOLD or bundle.rpartition('_')[0] in _ANCHORS:
            yield other, one
