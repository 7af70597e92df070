"""Headroom on the results page: what was played, what was only recorded, and gates."""

from __future__ import annotations

from dysl_vla_ros.lab.evaluation.results_headroom import headroom_parts, oracles

RECORDED = {
    'format': 'dysl_vla_headroom', 'date': '2026-11-27',
    'offline': {
        'states': 300,
        'exits': [{'layers': 6, 'error': {'p50': 0.036, 'p95': 0.227},
                   'within': {'0.03': 0.42, '0.06': 0.71}}],
        'oracle': [{'tolerance': 0.03, 'layers_mean': 8.29},
                   {'tolerance': 0.06, 'layers_mean': 6.87}],
    },
}  # fmt: skip
PLAYED = {
    **RECORDED, 'first_seed': 780_000, 'latency': '0.02',
    'closed_loop': {'train': {'episodes': 32, 'rows': {
        'fixed 5': {'success_rate': 31 / 32, 'layers_run_mean': 6.0},
        'oracle 0.12': {'success_rate': 1.0, 'layers_run_mean': 6.3}}}},
}  # fmt: skip
GATE = {
    'gate': [{'name': 'fixed 5', 'layers': 6.0, 'layers_free': 6.0, 'error_mean': 0.0575,
              'error_p95': 0.1843, 'harmful': 0.013}],
    'states': 300, 'first_seed': None, 'verdict': 'no gate is ahead',
}  # fmt: skip


def test_without_a_report_there_is_nothing_to_show():
    assert headroom_parts({}) == [] and oracles({}) == set()


def test_a_played_oracle_stands_with_its_wins_and_depth():
    title, text = headroom_parts({'headroom_tabletop': PLAYED})
    assert title.startswith('### Oracle: the shallowest')
    assert '| train | fixed 5 | 32 | 96.9 % (84 to 99) | 6.0 |' in text
    assert oracles({'headroom_tabletop': PLAYED}) == {'oracle 0.12'}


def test_recorded_states_show_each_exits_error_and_the_oracles_depth():
    title, text = headroom_parts({'headroom_libero_object': RECORDED})
    assert title.endswith('recorded observations') and '`headroom_libero_object.json`' in text
    assert '| 6 | 0.036 | 0.227 | 42 % | 71 % |' in text
    assert text.endswith('| oracle | | | 8.3 layers | 6.9 layers |')


def test_a_gate_says_whose_states_it_was_fitted_to():
    _, *gates = headroom_parts({'gate_a': GATE, 'gate_b': {**GATE, 'first_seed': 34_000_000}})
    assert 'states of the demonstrations;' in gates[0]
    assert 'states of the scripted expert, seeds from 34,000,000;' in gates[1]
    assert '| fixed 5 | 6.0 | 6.0 | 0.0575 | 0.1843 | 1.3 % |' in gates[0]
