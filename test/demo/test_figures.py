"""The demo's figures are computed from what was received, never made up."""

from __future__ import annotations

import pytest

from dysl_vla_ros.demo.figures import COMMANDS, POLICY, Picture, figures, number, why_no_pass

ISSUE_KEYS = [
    'command_rate_hz_mean',
    'command_rate_hz_min',
    'command_jitter_ms_p99',
    'command_gap_ms_max',
    'hold_ratio',
    'actions_played_hz',
    'observation_age_ms_p95',
    'passes',
    'inference_ms_p50',
    'inference_ms_p95',
    'skip_ratio',
    'layers_run_mean',
    'layers_total',
    'reruns',
    'starvation_count',
    'episodes',
    'successes',
]


def commands(state='running', rate='30.0', gap='40.0', jitter='2.0', **others):
    return {
        'state': state, 'command_rate_hz': rate, 'command_gap_ms_max': gap,
        'command_jitter_ms_p99': jitter, **others,
    }  # fmt: skip


def test_every_promised_key_is_there_and_unknown_values_are_none():
    found = figures(Picture())
    assert set(ISSUE_KEYS) <= set(found)
    assert found['command_rate_hz_mean'] is None and found['skip_ratio'] is None
    assert found['passes'] == 0


def test_the_rate_counts_only_while_commands_are_due():
    picture = Picture()
    for second, (state, rate) in enumerate(
        [('waiting', 'n/a'), ('running', '30.0'), ('ready', '3.0'), ('holding', '28.0')]
    ):
        picture.note_status(COMMANDS, commands(state, rate), float(second))
    found = figures(picture)
    assert found['command_rate_hz_min'] == 28.0
    assert found['command_rate_hz_mean'] == pytest.approx(29.0)


def test_the_longest_gap_of_the_whole_run_counts():
    picture = Picture()
    for second, gap in enumerate(['40', '90', '41']):
        picture.note_status(COMMANDS, commands(gap=gap), float(second))
    assert figures(picture)['command_gap_ms_max'] == 90.0


def test_jitter_is_the_worst_of_separate_spans():
    picture = Picture()
    for second in range(0, 61):
        jitter = '9.0' if second == 30 else '1.0'
        picture.note_status(COMMANDS, commands(jitter=jitter), float(second))
    assert figures(picture)['command_jitter_ms_p99'] == 9.0


def test_the_received_stream_is_measured_here_without_the_pauses():
    picture = Picture(received=[0.0, 0.03, 0.06, 5.0, 5.03])
    found = figures(picture)
    assert found['received_rate_hz_mean'] == pytest.approx(1 / 0.03)
    assert found['received_gap_ms_max'] == pytest.approx(30.0)


def test_policy_and_episode_values_are_passed_on():
    picture = Picture(passes=7)
    for seed, outcome in (('1', 'success'), ('2', 'failure'), ('3', 'success'), ('4', 'success')):
        # The arm counts an episode when it is over, and ends by the word that says how.
        picture.note_episode({'seed': seed, 'outcome': outcome, 'episodes': str(int(seed) - 1)})
    policy = {'skip_ratio_lifetime': '0.45', 'layers_total': '20', 'rerun_count': '2'}
    picture.note_status(POLICY, policy, 0.0)
    found = figures(picture)
    assert (found['skip_ratio'], found['layers_total'], found['reruns']) == (0.45, 20, 2)
    assert (found['episodes'], found['successes'], found['passes']) == (4, 3, 7)


def test_one_seed_may_be_played_twice():
    picture = Picture()
    for outcome in ('running', 'success', 'success', 'running', 'failure', 'failure'):
        picture.note_episode({'seed': '7', 'outcome': outcome})
    assert [one['success'] for one in picture.outcomes] == [True, False]


def test_of_an_episode_that_ended_the_instruction_is_known():
    picture = Picture()
    picture.note_episode({'seed': '7', 'outcome': 'running', 'instruction': 'lift it'})
    assert picture.judged == ''
    picture.note_episode({'seed': '7', 'outcome': 'success', 'instruction': ''})
    picture.note_episode({'seed': '8', 'outcome': 'running', 'instruction': 'push it'})
    assert picture.judged == 'lift it'


def test_every_ended_episode_is_kept_once_with_its_seed():
    picture = Picture()
    for seed, outcome in [
        ('7', 'running'), ('7', 'success'), ('7', 'success'), ('8', 'running'), ('8', 'failure')
    ]:  # fmt: skip
        picture.note_episode({'seed': seed, 'outcome': outcome, 'family': 'pick'})
    found = figures(picture)['outcomes']
    assert [(entry['seed'], entry['success']) for entry in found] == [(7, True), (8, False)]


def test_a_value_that_is_no_finite_number_counts_as_none():
    for text in ('nan', 'inf', '-inf', '1e999', 'n/a', '', 'x' * 1000):
        assert number(text) is None
    picture = Picture()
    picture.note_episode({'outcome': 'success', 'seed': 'nan'})
    assert picture.outcomes == []


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({}, 'not configured'),
        ({'state': 'waiting', 'hold_reason': 'image: nothing yet'}, 'waiting: image: nothing yet'),
        ({'state': 'ready', 'hold_reason': 'n/a'}, 'ready; nobody started it (~/start)'),
    ],
)
def test_why_the_model_did_not_run_is_what_the_node_said_last(values, text):
    picture = Picture()
    if values:
        picture.note_status(COMMANDS, values, 0.0)
    assert text in why_no_pass(picture)
