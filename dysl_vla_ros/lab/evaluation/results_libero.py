"""LIBERO's part of the results page: success by suite, and what the controls say.

Reports of one suite are paired start by start, whatever bundle they played: a bundle of ``dysl
anchors`` is a row beside the policy that it was made from, and so are further rows of one policy,
on fewer starts. Policies of several training seeds have a table each, and one together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dysl_vla_ros.lab.evaluation.choice import POINT
from dysl_vla_ros.lab.evaluation.results_cells import Found, difference, won
from dysl_vla_ros.lab.evaluation.statistics import paired_difference

SUITES = {'libero_object': 'Object', 'libero_spatial': 'Spatial', 'libero_goal': 'Goal'}
"""Whose rows are asked for, and what tables of others call them."""
_POLICIES = {suite: f'a policy (`dysl recipe --world libero --suite {suite}`)' for suite in SUITES}
_NAMES = {'full': 'dense', 'fixed': 'fixed exit', 'auto': 'DySL `auto`', 'deer': 'DeeR',
          'static_only': 'static', 'by_instruction': 'exit by instruction'}  # fmt: skip
_ANCHORS = {'fixed': 'fixed exit {}, fine-tuned', 'layers': 'n-layer, {}'}
_TOLD = 'by_instruction'
"""Bundle of ``dysl anchors --by-instruction``."""
_MEANS = ('layers_run_mean', 'controllers_mean', 'rerun_rate', 'actions_mean', 'backbone_ms',
          'pass_ms')  # fmt: skip
_PLAY = '`dysl evaluate --world libero`'
_ROWS = (
    ('dense', f'{_PLAY} `--modes full`'),
    ('fixed exit', f'{_PLAY} `--modes full fixed --exit-layer D`'),
    ('fixed exit, fine-tuned', f'`dysl anchors RUN --exit-layer D`, {_PLAY} with its bundle'),
    ('n-layer', f'`dysl anchors RUN --layers N`, {_PLAY} with its bundle'),
    ('random', f'{_PLAY} `--modes full random --random-depth SHARE`'),
    ('DeeR', f'{_PLAY} `--modes full deer --deer-ratio 0.5 --observations FILE`'),
    ('DySL `auto`', f'{_PLAY} `--modes full auto`'),
)


@dataclass(frozen=True)
class Line:
    """One row of a report.

    Attributes:
        kind: Of ``_ROWS``, or the mode.
        name: As the table calls it.
        told: Its summary.
        won: (task, start), of several policies (policy, task, start) -> whether it was.
    """

    kind: str
    name: str
    told: Found
    won: Mapping[tuple[int, ...], bool]


def libero_parts(evidence: Mapping[str, Found]) -> list[str]:
    """Tables, and what was not run."""
    reports = _reports(evidence)
    parts, missing = [], []
    policies: dict[str, Found] = {}
    for suite, title in SUITES.items():
        tables = _tables(reports, suite)
        policies |= {name: found for (name, found), _ in tables}
        for (name, found), lines in tables:
            parts += [_title(name, found), success_table(lines)]
        if len(tables) > 1:
            parts += [f'LIBERO-{title}, the {len(tables)} trained policies together',
                      success_table(_pooled([lines for _, lines in tables]))]  # fmt: skip
        seen = {line.kind for _, lines in tables for line in lines}
        if seen:
            missing += [f'- {title}, {kind}: needs {needs}' for kind, needs in _ROWS
                        if kind not in seen]  # fmt: skip
        else:
            missing.append(f'- {title}, every row: needs {_POLICIES[suite]}')
    controls = [pair for pair in reports.items() if not _plain(pair[1])]
    if controls:
        parts += [
            'With other words, no eyes, or LIBERO-PRO\'s changes of looks and places: `goal` is '
            "the task's own, which other words and grey pictures must not reach; `named` is the "
            'object that the other words ask for.', control_table(controls, policies),
        ]  # fmt: skip
    if missing:
        parts.append('Not run ([what it takes](worlds.md)):\n\n' + '\n'.join(missing))
    return parts


def libero_series(evidence: Mapping[str, Found]) -> Iterator[tuple[str, list[Line]]]:
    """For each suite that was played its rows, dense first; of several policies those of all."""
    reports = _reports(evidence)
    for suite, title in SUITES.items():
        tables = [lines for _, lines in _tables(reports, suite)]
        if tables:
            yield title, tables[0] if len(tables) == 1 else _pooled(tables)


def _reports(evidence: Mapping[str, Found]) -> dict[str, Found]:
    return {name: one for name, one in evidence.items()
            if one.get('world') == 'libero' and not one.get('first_start')}  # fmt: skip


def _tables(
    reports: Mapping[str, Found], suite: str
) -> list[tuple[tuple[str, Found], list[Line]]]:
    """A table for each policy of a suite: what it is called after, and its rows."""
    own, tables = dict(_own(reports, suite)), []
    for name, found in own.items():
        lines = list(_lines(found))
        for other in _beside(reports, own, name):
            known = {line.name for line in lines}
            lines += [line for line in _lines(other) if line.name not in known]
        tables.append(((name, found), lines))
    return tables


def success_table(lines: Sequence[Line]) -> str:
    """The first row is dense, with which the others are paired; as is the shallowest good exit."""
    dense, reference = lines[0], _reference(lines)
    text = ['| | episodes | won | layers | controllers | re-runs | lost | exit | actions | '
            'backbone | pass |', '| --- ' * 11 + '|']  # fmt: skip
    for line in lines:
        told = line.told
        against = '' if reference in (None, line) or line is dense else _lost(reference, line)
        text.append('| ' + ' | '.join((
            line.name, f'{told["episodes"]}', won(told['successes'], told['episodes']),
            f'{told["layers_run_mean"]:.1f} of {told["layers_total"]}',
            f'{told["controllers_mean"]:.1f}', f'{100 * told["rerun_rate"]:.1f} %',
            '' if line is dense else _lost(dense, line), against,
            f'{told["actions_mean"]:.0f}', f'{told["backbone_ms"]:.1f} ms',
            f'{told["pass_ms"]:.1f} ms',
        )) + ' |')  # fmt: skip
    return '\n'.join(text)


def control_table(controls: Sequence[tuple[str, Found]], policies: Mapping[str, Found]) -> str:
    """A row for each mode of each control, beside the name of the table of its policy."""
    text = ['| | policy | | starts | goal | named picked | another picked | layers |',
            '| --- ' * 8 + '|']  # fmt: skip
    for name, found in controls:
        policy = _policy_of(name, found, policies)
        words = found['control'] == 'other_words'
        shown = found['suite'] + {'other_words': ', other words', 'blank': ', grey pictures',
                                  'none': ''}[found['control']]  # fmt: skip
        for line in _lines(found):
            told = line.told
            picked = [f'{100 * told[key] / told["episodes"]:.0f} %' if words else ''
                      for key in ('picked', 'elsewhere')]  # fmt: skip
            text.append('| ' + ' | '.join((
                shown, f'`{policy}`' if policy else '', line.name, f'{told["episodes"]}',
                won(told['successes'], told['episodes']), *picked,
                f'{told["layers_run_mean"]:.1f}')) + ' |')  # fmt: skip
    return '\n'.join(text)


def _policy_of(name: str, found: Found, policies: Mapping[str, Found]) -> str:
    """Whose table that is; reports of before 2026-11-28 name no policy and go by their name."""
    digest = found.get('policy')
    same = [own for own, one in policies.items() if digest and one.get('policy') == digest]
    return same[0] if same else _after(name, policies)


def _after(name: str, policies: Mapping[str, Found]) -> str:
    """The table that a file is called after; '' for none."""
    return max((own for own in policies if name.startswith(f'{own}_')), key=len, default='')


def _plain(found: Found) -> bool:
    return found['suite'] in SUITES and found['control'] == 'none'


def _own(reports: Mapping[str, Found], suite: str) -> Iterator[tuple[str, Found]]:
    """Reports of a suite as it is, one for each policy that the recipe made for it."""
    seen: set[str] = set()
    for name, found in sorted(reports.items()):
        if _plain(found) and found['suite'] == suite and found.get('bundle', '') == suite:
            policy = found.get('policy', name)
            if policy not in seen:
                yield name, found
            seen.add(policy)


def _beside(reports: Mapping[str, Found], own: Mapping[str, Found], name: str) -> Iterator[Found]:
    """Further rows of that policy, and what was made from it: files are called after its own."""
    same, mine = ('suite', 'control', 'thin', 'replan'), own[name]
    for other, one in reports.items():
        if _after(other, own) != name or any(one[key] != mine[key] for key in same):
            continue
        is_mine = 'policy' in mine and one.get('policy') == mine['policy']
        bundle = one.get('bundle', '')
        if is_mine or bundle == _TOLD or bundle.rpartition('_')[0] in _ANCHORS:
            yield one


def _pooled(tables: Sequence[Sequence[Line]]) -> list[Line]:
    """The rows that every policy has, each over all of their episodes."""
    found = []
    for line in tables[0]:
        lines = [one for table in tables for one in table if one.name == line.name]
        if len(lines) == len(tables):
            wins: dict[tuple[int, ...], bool] = {
                (policy, *key): won
                for policy, one in enumerate(lines)
                for key, won in one.won.items()
            }
            found.append(Line(line.kind, line.name, _over_all([one.told for one in lines]), wins))
    return found


def _over_all(told: Sequence[Found]) -> Found:
    counts = [one['episodes'] for one in told]
    means = {key: sum(one[key] * count for one, count in zip(told, counts, strict=True))
             / sum(counts) for key in _MEANS}  # fmt: skip
    return {'episodes': sum(counts), 'successes': sum(one['successes'] for one in told),
            'layers_total': told[0]['layers_total'], **means}  # fmt: skip


def _lines(found: Found) -> Iterator[Line]:
    anchor, _, number = found.get('bundle', '').rpartition('_')
    for row, told in found['rows'].items():
        mode, _, depth = row.partition(' ')
        kind = name = _NAMES.get(mode, mode)
        if mode == 'fixed':
            name = f'{kind} {depth}'
        if mode == 'paced':
            name = f'paced `{depth}`'
        if mode == 'deer':
            name = f'{kind}, {depth}'
        if anchor in _ANCHORS:
            name = _ANCHORS[anchor].format(number)
            kind = name.replace(f' {number}', '').rstrip(',')
        if found.get('bundle') == _TOLD:
            kind = name = f'{name}, fine-tuned'
        wins: dict[tuple[int, ...], bool] = {
            (task, start): bool(success) for task, start, success, *_ in found['episodes'][row]
        }
        yield Line(kind, name, told, wins)


def _reference(lines: Sequence[Line]) -> Line | None:
    """The shallowest fixed exit or n-layer policy that is within a point of dense."""
    good = [line for line in lines[1:] if line.kind.startswith(('fixed exit', 'n-layer'))
            and _difference(lines[0], line)[0] <= POINT]  # fmt: skip
    return min(good, key=lambda line: line.told['layers_run_mean'], default=None)


def _difference(one: Line, other: Line) -> tuple[float, float, float]:
    both = [(won, other.won[key]) for key, won in one.won.items() if key in other.won]
    return paired_difference([mine for mine, _ in both], [theirs for _, theirs in both])


def _title(name: str, found: Found) -> str:
    return (f'LIBERO-{SUITES[found["suite"]]}, `{name}.json`, {found["date"]}: the official '
            f'starts with full pictures, {found["replan"]} actions of each chunk; demonstrations: '
            'own, scripted')  # fmt: skip


def _lost(one: Line, other: Line) -> str:
    return difference(*_difference(one, other))
