"""LIBERO's part of the results page: success by suite, and what the controls say.

Each policy has a table; training seeds of one recipe have one together beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dysl_vla_ros.lab.evaluation.libero_lines import (
    SUITES,
    Line,
    Table,
    dense_of,
    lines_of,
    lost,
    lost_by_each,
    official_reports,
    plain,
    policy_of,
    pooled,
    recipes,
    reference_of,
    tables_of,
)
from dysl_vla_ros.lab.evaluation.results_cells import Found, difference, won
from dysl_vla_ros.lab.evaluation.results_trained import PREFIX, updates

_POLICIES = {suite: f'a policy (`dysl recipe --world libero --suite {suite}`)' for suite in SUITES}
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


def libero_parts(evidence: Mapping[str, Found]) -> list[str]:
    """Tables, and what was not run.

    Raises:
        ConfigError: A report does not agree with itself.
    """
    reports = official_reports(evidence)
    parts, missing = [], []
    shown: set[str] = set()
    policies: dict[str, Found] = {}
    for suite, title in SUITES.items():
        tables = tables_of(reports, suite)
        policies |= {table.name: table.found for table in tables}
        shown |= {line.run for table in tables for line in table.lines}
        for table in tables:
            parts += [_title(table), success_table(table.lines)]
        for seeds in recipes(tables):
            if len(seeds) > 1:
                lines = pooled(seeds)
                parts += [_pooled_title(title, seeds, lines) + _unlike(seeds, evidence),
                          pooled_table(lines)]  # fmt: skip
        seen = {line.kind for table in tables for line in table.lines}
        if seen:
            missing += [f'- {title}, {kind}: needs {needs}' for kind, needs in _ROWS
                        if kind not in seen]  # fmt: skip
        else:
            missing.append(f'- {title}, every row: needs {_POLICIES[suite]}')
    left = ', '.join(f'`{name}.json`' for name, found in reports.items()
                     if plain(found) and name not in shown)  # fmt: skip
    if left:
        parts.append('Left out, for their rows stand above already, their policy has no table, '
                     f'or its table is of another `replan`: {left}.')  # fmt: skip
    controls = [pair for pair in reports.items() if not plain(pair[1])]
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
    """For each suite that was played the rows of one recipe, of all its training seeds.

    It is the one that was played on most starts, whatever it won; its name is in the title where
    there are several.
    """
    reports = official_reports(evidence)
    for suite, title in SUITES.items():
        found = recipes(tables_of(reports, suite))
        if found:
            lines = [pooled(seeds) if len(seeds) > 1 else list(seeds[0].lines) for seeds in found]
            most = max(range(len(found)), key=lambda number: _starts(lines[number]))
            what = found[most][0].name.removeprefix(suite).lstrip('_')
            yield title if not what else f'{title} ({what})', lines[most]


def _starts(lines: Sequence[Line]) -> int:
    return max((line.told['episodes'] for line in lines), default=0)


def success_table(lines: Sequence[Line]) -> str:
    """Rows of one policy, paired with its dense row and with the shallowest good exit.

    Times of a pass are in no table: rows were played in different hours, beside other work, and
    what a report keeps of them are means over all starts, which cannot be paired.
    """
    dense, reference = dense_of(lines), reference_of(lines)
    text = ['| | episodes | won | layers | controllers | re-runs | lost | exit | actions |',
            '| --- ' * 9 + '|']  # fmt: skip
    for line in lines:
        text.append('| ' + ' | '.join((
            *_played(line), _lost(dense, line), _lost(reference, line, dense),
            f'{line.told["actions_mean"]:.0f}',
        )) + ' |')  # fmt: skip
    return '\n'.join(text)


def pooled_table(lines: Sequence[Line]) -> str:
    """Rows of several training seeds; each one's difference stands beside that of all."""
    dense, reference = dense_of(lines), reference_of(lines)
    text = ['| | episodes | won | layers | controllers | re-runs | lost | of each | exit | '
            'of each | actions |', '| --- ' * 11 + '|']  # fmt: skip
    for line in lines:
        text.append('| ' + ' | '.join((
            *_played(line), _lost(dense, line), _each(dense, line),
            _lost(reference, line, dense), _each(reference, line, dense),
            f'{line.told["actions_mean"]:.0f}',
        )) + ' |')  # fmt: skip
    return '\n'.join(text)


def control_table(controls: Sequence[tuple[str, Found]], policies: Mapping[str, Found]) -> str:
    """A row for each mode of each control, beside the name of the table of its policy."""
    text = ['| | policy | | starts | goal | named picked | another picked | layers |',
            '| --- ' * 8 + '|']  # fmt: skip
    for name, found in controls:
        policy = policy_of(name, found, policies)
        words = found['control'] == 'other_words'
        shown = found['suite'] + {'other_words': ', other words', 'blank': ', grey pictures',
                                  'none': ''}[found['control']]  # fmt: skip
        for line in lines_of(name, found):
            told = line.told
            picked = [f'{100 * told[key] / told["episodes"]:.0f} %' if words else ''
                      for key in ('picked', 'elsewhere')]  # fmt: skip
            text.append('| ' + ' | '.join((
                shown, f'`{policy}`' if policy else '', line.name, f'{told["episodes"]}',
                won(told['successes'], told['episodes']), *picked,
                f'{told["layers_run_mean"]:.1f}')) + ' |')  # fmt: skip
    return '\n'.join(text)


def _played(line: Line) -> tuple[str, ...]:
    told = line.told
    return (
        line.name, f'{told["episodes"]}', won(told['successes'], told['episodes']),
        f'{told["layers_run_mean"]:.1f} of {told["layers_total"]}',
        f'{told["controllers_mean"]:.1f}', f'{100 * told["rerun_rate"]:.1f} %',
    )  # fmt: skip


def _title(table: Table) -> str:
    """What was played; ``check_libero`` has seen that it was."""
    found, dense = table.found, dense_of(table.lines)
    said = (f'LIBERO-{SUITES[found["suite"]]}, `{table.name}.json`, {found["date"]}: the official '
            f'starts with full pictures, {found["replan"]} actions of each chunk; demonstrations: '
            'own, scripted')  # fmt: skip
    if dense is None:
        said += '; no dense row, so that `lost` and `exit` are empty'
    return said


def _pooled_title(title: str, seeds: Sequence[Table], lines: Sequence[Line]) -> str:
    names = ', '.join(f'`{table.name}`' for table in seeds)
    said = (f'LIBERO-{title}, {len(seeds)} training seeds of one recipe together ({names}). '
            'Intervals are over episodes of these policies, not over trainings: another seed may '
            'lie outside of them. `of each` is the difference of each policy, in that order, '
            '`opposite` where one gains and another loses.')  # fmt: skip
    unknown = ', '.join(line.name for line in lines if not line.chunks)
    if unknown:
        said += (f' Layers, controllers and re-runs are weighted by episodes for {unknown}, whose '
                 'reports tell no chunks.')  # fmt: skip
    return said


def _unlike(seeds: Sequence[Table], evidence: Mapping[str, Found]) -> str:
    """Says where dense trainings that are told took other numbers of updates."""
    names = [f'{PREFIX}{table.name}' for table in seeds]
    found = [updates(evidence[name], 'train') for name in names
             if 'train' in evidence.get(name, {})]  # fmt: skip
    if len(set(found)) < 2:
        return ''
    return f' Their dense trainings took {" and ".join(f"{one:,}" for one in found)} updates.'


def _each(one: Line | None, other: Line, dense: Line | None = None) -> str:
    """Of pooled rows; '' as ``_lost``."""
    if one is None or other in (one, dense):
        return ''
    found = lost_by_each(one, other)
    shown = ', '.join(f'{100 * loss:.1f}' for loss in found)
    return f'{shown} (opposite)' if min(found) < 0 < max(found) else shown


def _lost(one: Line | None, other: Line, dense: Line | None = None) -> str:
    """'' of the one itself, of dense, and where there is nothing to compare with."""
    return '' if one is None or other in (one, dense) else difference(*lost(one, other))
