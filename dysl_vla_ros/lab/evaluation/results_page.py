"""``doc/results.md`` from committed JSON: every table of the comparison, and what was not run.

No figure of ours is typed in by hand: a row is there because a file has it, or it says what would
make it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dysl_vla_ros.lab.evaluation.modes import CRITICAL
from dysl_vla_ros.lab.evaluation.results_cells import Found, difference, measured, won
from dysl_vla_ros.lab.evaluation.results_headroom import headroom_parts, oracles
from dysl_vla_ros.lab.evaluation.results_libero import libero_parts
from dysl_vla_ros.lab.evaluation.results_paired import (
    DENSE,
    against_dense,
    against_exit,
    not_compared,
    paired_with_dense,
)
from dysl_vla_ros.lab.evaluation.results_paper import paper_table
from dysl_vla_ros.lab.evaluation.results_trained import trained_parts

_LATE = ('quarter', 'half', 'one', 'three')
_EXECUTED = {
    'full': 'ours, dense',
    'auto': 'ours, `auto`',
    'blend': 'blend',
    'blocking': 'blocking',
}
EXECUTORS = (
    "The same policy, dense, played by this package, as LeRobot's asynchronous client does "
    '(`blend`: a pass is asked for at half a chunk, old and new targets are averaged 0.3 to 0.7), '
    'and chunk by chunk (`blocking`). Medians over episodes, of the measured joints at 30 Hz; '
    'jerk in rad/s³; a chunk is 0.4 s; `max_time_stretch` is 2.5.'
)
PICTURED = (
    'Of a suite for which there are several recipes the picture shows the one that was played on '
    'most starts, of all its training seeds.'
)
COSTS = (
    'Each table has a second one: the median time of a chunk in the backbone and in the whole '
    'pass, re-runs included, on one thread, beside other work, and what it is of that of dense '
    'on the same episodes, which were played in turns (a row of fewer episodes has that alone, '
    'one of another run none: other work was another then); and how the arm moves, as medians '
    'over episodes: its way, and jerk in rad/s³ of the measured joints at 30 Hz. `controllers '
    'alone` is `max_skip`: they decide, without guidance before and verification after.'
)
NOISE = (
    'Normal noise on every weight matrix of every layer, its standard deviation as a share of the '
    "matrix's root mean square, drawn once for each size, in passes that were observed in those "
    'phases; every pass dense.'
)
COMMAND = 'dysl results --write doc/results.md'
_STILL_RAD = 1e-3


@dataclass(frozen=True)
class Wanted:
    """One row of a table.

    Attributes:
        name: As the table calls it.
        rows: Names in a report of ``dysl evaluate``; the first that is there is taken.
        needs: What would make it, where it is not there.
    """

    name: str
    rows: tuple[str, ...]
    needs: str = ''

    def line(self, found: Found) -> str | None:
        """Which of its rows a report has."""
        return next((row for row in self.rows if row in found.get('modes', {})), None)


_EXITS = tuple(Wanted(f'fixed exit {d}', (f'fixed {d}',), f'`--modes fixed --exit-layer {d}`')
               for d in (8, 7, 6, 5))  # fmt: skip
_DENSE = (
    "the bundled policy's dense checkpoint (`dysl recipe --folder RUN --start "
    'resource/models/tabletop --rounds 0 --until dagger`)'
)
_TUNED = tuple(
    Wanted(f'fixed exit {d}, fine-tuned', (f'tuned fixed {d}',),
           f'{_DENSE}, `dysl anchors RUN --exit-layer {d}`, '
           f'`dysl results --run results_tabletop --anchor fixed_{d} --engine BUNDLE`')
    for d in (8, 7, 6, 5)
)  # fmt: skip
_SHALLOW = tuple(
    Wanted(f'n-layer, {n}', (f'layers {n}',),
           f'{_DENSE}, `dysl anchors RUN --layers {n} --own-corrections`, '
           f'`dysl results --run results_tabletop --anchor layers_{n} --engine BUNDLE`')
    for n in (9, 6)
)  # fmt: skip
PARETO = (
    Wanted('dense', ('full',), '`--modes full`'), *_EXITS, *_TUNED, *_SHALLOW,
    Wanted('random', ('random',), '`--modes random --random-depth 0.288`'),
    Wanted('static', ('static_only',), '`--modes static_only`'),
    Wanted('DeeR', ('deer 0.5',), '`--modes deer --deer-ratio 0.5`'),
    Wanted('DySL `auto`', ('auto',), '`--modes auto`'),
    Wanted('controllers alone', ('max_skip',), '`--modes max_skip`'),
    Wanted('closed', ('closed',), '`--modes closed`'),
    Wanted('oracle 0.12', ('oracle 0.12',), '`--modes oracle --tolerance 0.12`'),
)  # fmt: skip
ABLATIONS = (
    Wanted('DySL `auto` (`level`)', ('auto', 'level'), '`--modes auto`'),
    Wanted('`ceil`', ('ceil',), '`--modes ceil`'),
    Wanted('`ceil` with the printed sign', ('printed',), '`--modes printed`'),
    Wanted('`max_skip`: no guidance, no verification', ('max_skip',), '`--modes max_skip`'),
    Wanted('without pre-skip', ('no_pre_skip',), '`--modes no_pre_skip`'),
    Wanted('without post-skip', ('no_rerun',), '`--modes no_rerun`'),
    Wanted('k = 1', ('k 1',), '`dysl results --run ablation_k1_tabletop`'),
    Wanted('k = 9', ('k 9',), '`dysl results --run ablation_k9_tabletop`'),
    *(Wanted(name, (row,), f'{_DENSE}, `dysl anchors RUN {flag}`, '
             '`dysl results --run ablation_tabletop '
             f'--anchor {row.replace(" ", "_")} --engine BUNDLE`')
      for name, row, flag in (
          ('single stage', 'stages 1', '--stages 1'), ('two stages', 'stages 2', '--stages 2'),
          *((f'random static set {lot}', f'random static {lot}', f'--random-static {lot}')
            for lot in (1, 2, 3)))),
)  # fmt: skip
RETRAINED = (
    'Single stage, two stages and random static sets are distilled from the dense policy that the '
    'bundled one was distilled from, in a single stage, by as many updates each.'
)
PUBLISHED = (
    'Beside, as published (one policy per suite, 50 human demonstrations a task; SmolVLA is one '
    'model for 40 tasks). Ours are trained on demonstrations of our own, scripted and freely '
    'many: a row apart.\n\n'
    '| | Spatial | Object |\n| --- | --- | --- |\n'
    '| Diffusion Policy | 78.3 % | 92.5 % |\n| Octo | 78.9 % | 85.7 % |\n'
    '| OpenVLA | 84.7 % | 88.4 % |\n| SmolVLA, 0.24B | 87 % | 93 % |\n'
    '| OpenVLA-OFT | 97.6 % | 98.4 % |'
)


def joined(evidence: Mapping[str, Found]) -> dict[str, Found]:
    """Runs of another bundle or parameter stand as rows in the table whose episodes they played.

    Such a report says which (``joins``) and as what (``as``: its row -> the table's).

    Args:
        evidence: As of ``read_evidence``, which refuses what cannot stand in its table.
    """
    found = {name: dict(one) for name, one in evidence.items() if 'joins' not in one}
    for one in (one for one in evidence.values() if 'joins' in one):
        table_ = found[one['joins']]
        for name, shown in one['as'].items():
            table_['modes'] = {**table_['modes'], shown: one['modes'][name]}
            table_['won'] = {**table_.get('won', {}), shown: one['won'][name]}
    return {**found}


def render(evidence: Mapping[str, Found], picture: str = 'results.svg') -> str:
    """The whole page.

    Args:
        evidence: Reports by file name, as of ``read_evidence``.
        picture: Name of the file beside it that has the picture of ``results_figure``.
    """
    evidence = joined(evidence)
    parts = [
        '# Results',
        f'Made by `{COMMAND}` from the JSON in [evidence](evidence/README.md); a test compares. '
        'Rows that were not run are named below each table, with what they need. `lost` is '
        'against dense on the same episodes, `exit` against the shallowest fixed exit within a '
        'point of dense; intervals are 95 %.',
        *_pareto(evidence, picture), *_ablations(evidence), *_others(evidence), *_node(evidence),
        "## The paper's numbers beside ours", paper_table(evidence),
    ]  # fmt: skip
    return '\n\n'.join(parts) + '\n'


def _pareto(evidence: Mapping[str, Found], picture: str) -> list[str]:
    parts = ['## (a) Success against compute',
             f'![Episodes won against layers run, in each world]({picture})', PICTURED,
             '### Bundled tasks', COSTS]  # fmt: skip
    reports = [(name, found) for name, found in evidence.items()
               if _paired(found) and found.get('probe', 'none') == 'none'
               and not name.startswith(('ablation', 'latency_', 'noise_'))]  # fmt: skip
    reports = sorted(reports, key=lambda pair: (pair[1]['split'] != 'train',
                                                -_episodes(pair[1]), pair[0]))  # fmt: skip
    for name, found in reports:
        parts += [_title(name, found), table(found, PARETO), cost_table(found, PARETO)]
    seen = {wanted.name for _, found in reports if found['split'] == 'train'
            for wanted in PARETO if wanted.line(found) is not None}  # fmt: skip
    parts += _missing(PARETO, seen | oracles(evidence))
    parts += headroom_parts(evidence)
    parts.append('### LIBERO')
    return [*parts, *libero_parts(evidence), PUBLISHED, *trained_parts(evidence)]


def _ablations(evidence: Mapping[str, Found]) -> list[str]:
    parts = ['## (b) Ablations', RETRAINED]
    reports = [(name, found) for name, found in evidence.items() if _paired(found)
               and sum(w.line(found) is not None for w in ABLATIONS) > 1]  # fmt: skip
    for name, found in reports:
        parts += [_title(name, found), table(found, ABLATIONS), cost_table(found, ABLATIONS)]
    seen = {wanted.name for _, found in reports for wanted in ABLATIONS
            if wanted.line(found) is not None}  # fmt: skip
    return parts + _missing(ABLATIONS, seen)


def _others(evidence: Mapping[str, Found]) -> list[str]:
    parts = ['## (c) Weight noise in critical and in free phases', *_noise(evidence),
             '## (d) Latency']  # fmt: skip
    benches = [(name, found) for name, found in evidence.items()
               if found.get('format') == 'dysl_vla_bench' and 'stages' in found]  # fmt: skip
    parts += _benched(benches) or [
        'Not run: stages, chain against one graph, controllers closed, resumed re-run need '
        '`dysl bench --json doc/evidence/bench_tabletop_DEVICE.json` on a quiet machine.'
    ]  # fmt: skip
    parts += ['## (e) Execution at latencies of 0.25, 0.5, 1 and 3 chunks']
    late = [(name, found) for name, found in evidence.items() if name.startswith('latency_')]
    late.sort(key=lambda pair: float(pair[1]['latency']))
    if late:
        parts.append(EXECUTORS)
    for name, found in late:
        usual = name.split('_')[1] in ('zero', *_LATE)
        title = _title(name, found) + ('' if usual else f': {found["shows"]}')
        parts += [title, _motion(found)]
    if not late:
        parts.append('Not run: needs `dysl results --run ' + ' '.join(
            f'latency_{name}_tabletop' for name in ('zero', *_LATE)) + '`.')  # fmt: skip
    return parts


def _benched(benches: Sequence[tuple[str, Found]]) -> list[str]:
    """What a pass costs, and what skipping itself costs, machine by machine."""
    parts = []
    for name, found in benches:
        stages, closed = found['stages'], found['controllers']
        joined = found.get('one_graph') or {}
        rows = [(stage, stages[stage]) for stage in ('encode', 'backbone', 'decode')]
        rows += [('whole pass', found['full_pass'])]
        if 'backbone' in joined:
            rows += [('backbone, joined into one graph', joined['backbone'])]
        if closed is not None:
            rows += [('backbone, every controller asked, none opens', closed['all_closed'])]
        lines = ['| | p50 | p95 | p99 | of the chain |', '| --- ' * 5 + '|']
        for told, row in rows:
            share = (f'{row["p50"] / stages["backbone"]["p50"]:.3f}'
                     if told.startswith('backbone') else '')  # fmt: skip
            times = ' | '.join(f'{row[key]:.2f} ms' for key in ('p50', 'p95', 'p99'))
            lines.append(f'| {told} | {times} | {share} |')
        bits = 'the same bits' if found['same_bits'] else 'OTHER BITS'
        again = ['| re-run resumed at layer | layers left | time, of a full backbone | p50 | '
                 'from scratch |', '| --- ' * 5 + '|']  # fmt: skip
        again += [
            f'| {row["resume_layer"]} | {100 * row["layers_share"]:.0f} % | '
            f'{100 * row["share_of_full"]:.0f} % | {row["resumed"]["p50"]:.2f} ms | '
            f'{row["from_scratch"]["p50"]:.2f} ms |' for row in found['reruns']
        ]  # fmt: skip
        parts += [
            f'`{name}.json`: {found["bundle"]["name"]}, {found["device"]}, '
            f'{found["stages"]["backbone"]["runs"]} runs of each part in turns, '
            f'{found["date"][:10]}. A resumed re-run gives {bits} as a full pass.',
            '\n'.join(lines), '\n'.join(again),
        ]  # fmt: skip
    return parts


def _noise(evidence: Mapping[str, Found]) -> list[str]:
    found = evidence.get('noise_tabletop')
    if found is None:
        return ['Not run: needs `dysl results --run noise_tabletop`.']
    sizes = sorted({float(name.split()[1]) for name in found['modes'] if name.startswith('noise')})
    dense = found['modes']['full']
    passes = {phase: sum(counts.values()) for phase, counts in dense['layers_histogram'].items()}
    share = sum(passes.get(phase, 0) for phase in CRITICAL) / max(sum(passes.values()), 1)
    lines = ['| noise | in grasp and release: won | lost | each '
             '| in reach and carry: won | lost | each |', '| --- ' * 7 + '|']  # fmt: skip
    for size in sizes:
        cells = []
        for mode, touched in (('noise_critical', share), ('noise_free', 1 - share)):
            row = f'{mode} {size:g}'
            told, pair = found['modes'][row], against_dense(found, row)
            cells += [won(told['successes'], told['episodes']), _lost(pair),
                      f'{pair["loss"] / touched:.1f}' if pair and touched else '']  # fmt: skip
        lines.append(f'| {size:g} | ' + ' | '.join(cells) + ' |')
    said = (f'{NOISE} Dense without noise wins {won(dense["successes"], dense["episodes"])}; '
            f'{100 * share:.0f} % of its passes are in grasp and release. `each` is how '
            'many points were lost for each hundredth of all passes that had the noise.'
            )  # fmt: skip
    return [_title('noise_tabletop', found), said, '\n'.join(lines)]  # fmt: skip


def _node(evidence: Mapping[str, Found]) -> list[str]:
    parts = ['## (f) The node']
    soaks = [(name, found) for name, found in evidence.items() if name.startswith('soak_')]
    for name, found in soaks:
        shown = ', '.join(
            f'{key} {value:.4g}'
            for key, value in found.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        )
        missed = '; '.join(found.get('problems', ()))
        parts.append(f'`{name}.json`: {shown}.' + (f' Missed: {missed}.' if missed else ''))
    if not soaks:
        parts.append('Not run for this page: `dysl soak --json doc/evidence/soak_DEVICE.json` '
                     '(an hour).')  # fmt: skip
    return parts


def table(found: Found, wanted: Sequence[Wanted]) -> str:
    """The rows that a report has, deepest first where depth is what they differ in."""
    lines = [
        '| | episodes | won | layers | controllers | re-runs | lost | exit | task time |',
        '| --- ' * 9 + '|',
    ]
    for row in wanted:
        name = row.line(found)
        if name is None:
            continue
        told = found['modes'][name]
        lines.append('| ' + ' | '.join((
            row.name, f'{told["episodes"]}', won(told['successes'], told['episodes']),
            f'{told["layers_run_mean"]:.1f} of {told["layers_total"]}',
            f'{told["controllers_mean"]:.1f}', f'{100 * told["rerun_rate"]:.1f} %',
            _lost(against_dense(found, name)), _lost(against_exit(found, name)),
            f'{told["seconds_median"]:.1f} s',
        )) + ' |')  # fmt: skip
    return '\n'.join(lines)


def cost_table(found: Found, wanted: Sequence[Wanted]) -> str:
    """What the median chunk costs and how the arm moves, row by row."""
    lines = ['| | backbone | of dense | whole pass | of dense | way | jerk rms | jerk peak |',
             '| --- ' * 8 + '|']  # fmt: skip
    paired = paired_with_dense(found)
    for row in wanted:
        name = row.line(found)
        if name is None:
            continue
        told, cells = found['modes'][name], [row.name]
        for part in ('backbone', 'pass'):
            share = paired.get(name, {}).get(f'{part}_time_ratio')
            time = _half(told[f'{part}_ms']) if _timed(found, name) else None
            cells += [measured(time, '.1f', ' ms'),
                      measured(None if share is None else 100 * share, '.0f', ' %')]  # fmt: skip
        _, rms, peak, way, _ = _moved(told)
        lines.append('| ' + ' | '.join((*cells, way, rms, peak)) + ' |')
    return '\n'.join(lines)


def _moved(told: Found) -> tuple[str, ...]:
    """Longest standstill, jerk, its peak, way and time; empty of an arm that never moved.

    Reports of before 2026-11-27 have none of the motion, and older ones of the links no ``moved``:
    those of an arm that held have a way of nothing.
    """
    columns = (('longest_still_s', '.2f', ' s'), ('jerk_rms', '.0f', ''), ('jerk_peak', '.0f', ''),
               ('way', '.1f', ' rad'), ('seconds_median', '.1f', ' s'))  # fmt: skip
    way = told.get('way')
    if told.get('moved', 1.0) == 0.0 or (way is not None and way < _STILL_RAD):
        return ('',) * len(columns)
    return tuple(measured(told.get(key), form, unit) for key, form, unit in columns)


def _timed(found: Found, row: str) -> bool:
    """Whether other work beside a row was that beside dense: played in turns, on all episodes."""
    told, dense, paired = found['modes'][row], found['modes'].get(DENSE), found['paired']
    if dense is None or row == DENSE:
        return True
    return told['episodes'] == dense['episodes'] and (not paired or row in paired)


def _half(times: Found | None) -> float | None:
    return None if times is None else times['p50']


def _motion(found: Found) -> str:
    lines = [
        '| | won | lost to dense | longest standstill | jerk rms | jerk peak | way | task time |',
        '| --- ' * 8 + '|',
    ]
    for name, told in found['modes'].items():
        lines.append('| ' + ' | '.join((
            _EXECUTED.get(name, name), won(told['successes'], told['episodes']),
            _lost(against_dense(found, name)), *_moved(told),
        )) + ' |')  # fmt: skip
    return '\n'.join(lines)


def _title(name: str, found: Found) -> str:
    title = (f'`{name}.json`: seeds from {found["first_seed"]:,}, split `{found["split"]}`, '
             f'{found["latency"]} s of latency, {found["date"]}')  # fmt: skip
    played, wanted = found.get('episodes_played', 0), found.get('episodes_wanted', 0)
    if played < wanted:
        title += f'. {played:,} of {wanted:,} episodes so far: ' + (
            f'`dysl results --run {name}` plays on' if found.get('columns') and found['episodes']
            else 'they are not told one by one, so that a run begins anew')  # fmt: skip
    for row in found.get('decided', ()):
        lost = against_dense(found, row)
        title += f'. `{row}` was decided after {found["modes"][row]["episodes"]}'
        if lost is not None:
            title += f': it loses more than {100 * lost["low"]:.0f} points, by the lower bound'
    return title + not_compared(found)


def _missing(wanted: Sequence[Wanted], seen: set[str]) -> list[str]:
    left = [f'- {row.name}: needs {row.needs}' for row in wanted if row.name not in seen]
    return ['Not run:\n\n' + '\n'.join(left)] if left else []


def _paired(found: Found) -> bool:
    """Whether it is a report of modes on the same episodes of the bundled tasks."""
    return {'modes', 'paired'} <= found.keys()


def _episodes(found: Found) -> int:
    return max(int(told['episodes']) for told in found['modes'].values())


def _lost(found: Found | None) -> str:
    if found is None:
        return ''
    return difference(found['loss'], found['low'], found['high'])
