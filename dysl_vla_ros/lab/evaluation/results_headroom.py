"""The results page's tables of headroom: what could be won, and a gate that tried to."""

from __future__ import annotations

from collections.abc import Mapping

from dysl_vla_ros.lab.evaluation.results_cells import Found, won


def headroom_parts(evidence: Mapping[str, Found]) -> list[str]:
    """Every report of ``dysl headroom``: played, on recorded observations, and gates."""
    reports = [(name, found) for name, found in evidence.items()
               if found.get('format') == 'dysl_vla_headroom']  # fmt: skip
    parts = []
    for name, found in reports:
        if 'closed_loop' in found:
            parts += ['### Oracle: the shallowest exit within a tolerance of dense',
                      _played(name, found)]  # fmt: skip
    recorded = [_recorded(name, found) for name, found in reports if 'closed_loop' not in found]
    if recorded:
        parts += ['### Oracle on recorded observations', *recorded]
    gates = [_gate(name, found) for name, found in evidence.items() if 'gate' in found]
    return parts + (['### A gate trained on the errors of exits', *gates] if gates else [])


def oracles(evidence: Mapping[str, Found]) -> set[str]:
    """Names of the oracles that were played on the bundled tasks."""
    found = evidence.get('headroom_tabletop', {'closed_loop': {}})
    return {f'oracle {row.split()[1]}' for part in found['closed_loop'].values()
            for row in part['rows'] if row.startswith('oracle')}  # fmt: skip


def _played(name: str, found: Found) -> str:
    lines = [f'`{name}.json`: seeds from {found["first_seed"]:,}, {found["latency"]} s of '
             f'latency, {found["date"]}', '',
             '| split | row | episodes | won | layers |', '| --- ' * 5 + '|']  # fmt: skip
    for split, part in found['closed_loop'].items():
        for row, told in part['rows'].items():
            wins = round(told['success_rate'] * part['episodes'])
            lines.append(
                f'| {split} | {row} | {part["episodes"]} | '
                f'{won(wins, part["episodes"])} | {told["layers_run_mean"]:.1f} |'
            )
    return '\n'.join(lines)


def _recorded(name: str, found: Found) -> str:
    offline = found['offline']
    tolerances = [one['tolerance'] for one in offline['oracle']]
    lines = [
        f'`{name}.json`: {offline["states"]} states of the demonstrations, {found["date"]}. Each '
        'exit by its error to the dense actions (rms, normalised), and the share of states in '
        'which it is within a tolerance; below it the depth of the oracle.', '',
        '| layers | p50 | p95 | ' + ' | '.join(f'within {one:g}' for one in tolerances) + ' |',
        '| --- ' * (3 + len(tolerances)) + '|',
    ]  # fmt: skip
    for one in offline['exits']:
        within = ' | '.join(f'{100 * one["within"][f"{at:g}"]:.0f} %' for at in tolerances)
        lines.append(f'| {one["layers"]} | {one["error"]["p50"]:.3f} | {one["error"]["p95"]:.3f} '
                     f'| {within} |')  # fmt: skip
    depths = ' | '.join(f'{one["layers_mean"]:.1f} layers' for one in offline['oracle'])
    return '\n'.join([*lines, f'| oracle | | | {depths} |'])


def _gate(name: str, found: Found) -> str:
    seeds = found['first_seed']
    whose = 'demonstrations' if seeds is None else f'scripted expert, seeds from {seeds:,}'
    lines = [
        f'`{name}.json`: {found["states"]} states of the {whose}; half of them to calibrate on. '
        f'Offline: {found["verdict"]}.', '',
        '| | layers, looks charged | looks free | error to dense | p95 | above 0.25 |',
        '| --- ' * 6 + '|',
    ]  # fmt: skip
    for one in found['gate']:
        lines.append(f'| {one["name"]} | {one["layers"]:.1f} | {one["layers_free"]:.1f} | '
                     f'{one["error_mean"]:.4f} | {one["error_p95"]:.4f} | '
                     f'{100 * one["harmful"]:.1f} % |')  # fmt: skip
    return '\n'.join(lines)
