"""The paper's figures beside ours: each verdict is shown only where its evidence is there.

The paper's figures and the words of a verdict are typed in, our figures are not; a test compares
the words with the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping

from dysl_vla_ros.lab.evaluation.results_cells import Found, difference
from dysl_vla_ros.lab.evaluation.results_paired import loss_between

NOT_RUN = 'not run'
_TABLE, _ABLATION, _NOISE = 'results_tabletop', 'ablation_tabletop', 'noise_tabletop'


def paper_table(evidence: Mapping[str, Found]) -> str:
    """The whole table, from reports by file name."""
    rows = (
        ('success, LIBERO average, OpenVLA-OFT-7B', '97.1 %', '96.5 %', _success(evidence)),
        ('layers, of 32, from its latencies', '32', '11 to 16', _layers(evidence)),
        ('latency, Jetson Orin', '676 ms', '345 ms', _latency(evidence)),
        ('without pre-skip guidance, CALVIN mean length', '2.92', '2.89, without it 2.42',
         _guidance(evidence)),
        ('without verification after a skip', '', 'worse', _verification(evidence)),
        ('noise on the weights', 'hurts more in important steps', '', _noise(evidence)),
        ('dynamic against fixed depth', 'not reported', '', _fixed(evidence)),
    )  # fmt: skip
    lines = ['| | dense | DySL | ours agrees? |', '| --- | --- | --- | --- |']
    return '\n'.join([*lines, *('| ' + ' | '.join(row) + ' |' for row in rows)])


def _success(evidence: Mapping[str, Found]) -> str:
    lost = _lost(evidence, _TABLE, 'full', 'auto')
    if lost is None:
        return NOT_RUN
    beside = '; on LIBERO-Object for a fixed exit only' if _object_was_played(evidence) else ''
    return f'small loss: yes, on the bundled tasks, {lost}{beside}'


def _layers(evidence: Mapping[str, Found]) -> str:
    told = _rows(evidence, _TABLE).get('auto')
    return NOT_RUN if told is None else (
        'the share is like ours '
        f'({100 * told["layers_run_mean"] / told["layers_total"]:.0f} %)')  # fmt: skip


def _latency(evidence: Mapping[str, Found]) -> str:
    told = evidence.get(_TABLE, {}).get('paired', {}).get('auto', {}).get('speed_up')
    return NOT_RUN if told is None else f'twice as fast: yes, on a CPU ({told:.1f} times)'


def _guidance(evidence: Mapping[str, Found]) -> str:
    lost = _lost(evidence, _ABLATION, 'auto', 'no_pre_skip')
    if lost is None:
        return NOT_RUN
    rows = _rows(evidence, _ABLATION)
    with_it, without = (rows[row] for row in ('auto', 'no_pre_skip'))
    fewer = with_it['layers_run_mean'] - without['layers_run_mean']
    return (f'no: {_share(without)} without it, {_share(with_it)} with it, {lost}, '
            f'at {fewer:.1f} layers fewer, see (b)')  # fmt: skip


def _verification(evidence: Mapping[str, Found]) -> str:
    lost = _lost(evidence, _ABLATION, 'auto', 'no_rerun')
    return NOT_RUN if lost is None else 'no: as many won, to the episode, see (b)'


def _noise(evidence: Mapping[str, Found]) -> str:
    return NOT_RUN if _NOISE not in evidence else (
        'over whole phases no: reach and carry, most of the passes, lose more at every size; for '
        'as many passes yes, from half of the rms on; below that grasp and release lose nothing, '
        'see (c)')  # fmt: skip


def _fixed(evidence: Mapping[str, Found]) -> str:
    if not {'auto', 'fixed 8'} <= _rows(evidence, _TABLE).keys():
        return NOT_RUN
    worlds = 'the bundled tasks' + (' and LIBERO-Object' if _object_was_played(evidence) else '')
    return (f'on {worlds} a fixed exit is as good or better: no gain from choosing layers '
            'anew')  # fmt: skip


def _object_was_played(evidence: Mapping[str, Found]) -> bool:
    """Whether a report has what the words say of LIBERO-Object."""
    return any(found.get('suite') == 'libero_object' and 'auto' in found['rows']
               and any(row.startswith('fixed') for row in found['rows'])
               for found in evidence.values())  # fmt: skip


def _rows(evidence: Mapping[str, Found], name: str) -> Mapping[str, Found]:
    rows: Mapping[str, Found] = evidence.get(name, {}).get('modes', {})
    return rows


def _lost(evidence: Mapping[str, Found], name: str, one: str, other: str) -> str | None:
    found = evidence.get(name)
    pair = None if found is None else loss_between(found, one, other)
    if pair is None:
        return None
    loss, interval = difference(pair['loss'], pair['low'], pair['high']).split(' ', 1)
    return f'{loss} points {interval}'


def _share(told: Found) -> str:
    return f'{100 * told["successes"] / told["episodes"]:.1f} %'
