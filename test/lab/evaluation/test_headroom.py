"""What dynamic depth could save at best: on states by hand, and in closed loop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec, SeenState
from dysl_vla_ros.lab.evaluation.headroom import (
    DENSE,
    TriedState,
    closed_loop,
    distance,
    offline,
    tried_states,
    verdict,
)
from dysl_vla_ros.lab.evaluation.modes import Row

TOTAL = 5
STATES = [
    TriedState((0.3, 0.2, 0.1), {'phase': 'reach'}),
    TriedState((0.1, 0.3, 0.0), {'phase': 'grasp'}),
    TriedState((0.9, 0.8, 0.7), {'phase': 'grasp'}),
]


def test_the_shallowest_exit_within_the_tolerance_counts_with_the_last_layer():
    found = offline(STATES, TOTAL, (0.15, 0.25))
    narrow, wide = found['oracle']
    # Exits 1, 2 and 3 run 2, 3 and 4 layers; where none is near enough, all 5 run.
    assert narrow['histogram'] == {'2': 1, '4': 1, '5': 1}
    assert wide['histogram'] == {'2': 1, '3': 1, '5': 1}
    assert narrow['layers_mean'] == pytest.approx(11 / 3)
    assert narrow['only_dense'] == pytest.approx(1 / 3)
    assert [one['layers'] for one in found['exits']] == [2, 3, 4]
    assert found['exits'][2]['within'] == pytest.approx({'0.15': 2 / 3, '0.25': 2 / 3})
    assert found['exits'][0]['error']['p50'] == pytest.approx(0.3)
    assert found['groups']['phase']['reach'] == {
        'states': 1,
        'layers_mean': {'0.15': 4.0, '0.25': 3.0},
    }
    assert found['groups']['phase']['grasp']['layers_mean']['0.15'] == 3.5


def test_groups_of_distance_are_in_the_order_of_their_size():
    names = ['over 20 cm', '10-20 cm', '2.5-5 cm', '0-2.5 cm', '5-10 cm']
    states = [TriedState((0.1, 0.1, 0.1), {'distance': name}) for name in names]
    found = offline(states, TOTAL, (0.2,))['groups']['distance']
    assert list(found) == ['0-2.5 cm', '2.5-5 cm', '5-10 cm', '10-20 cm', 'over 20 cm']


def episodes(wins, layers, count=200):
    return [
        EpisodeResult(
            spec=EpisodeSpec(seed, 'pick'), instruction='go', success=seed < wins, seconds=1.0,
            actions=8, chunks=1, reruns=0, layers_run=layers, controllers=0, layers_total=20,
            static_layers=4, phase_layers={p: (0, 0) for p in ('reach', 'grasp', 'carry',
                                                                'release')},
            pass_seconds=(), backbone_seconds=(), holds=0, commands=1, limited=0,
        )
        for seed in range(count)
    ]  # fmt: skip


def test_headroom_is_between_the_shallowest_that_are_within_a_point_of_dense():
    played = {
        DENSE: episodes(196, 20),
        Row('fixed', exit_layer=8): episodes(195, 9),
        Row('fixed', exit_layer=7): episodes(194, 8),  # exactly a point
        Row('fixed', exit_layer=6): episodes(193, 7),
        Row('oracle', tolerance=0.1): episodes(197, 6),
        Row('oracle', tolerance=0.3): episodes(150, 4),
    }
    found = closed_loop(played)
    assert (found['best_fixed_layers'], found['oracle_layers']) == (8.0, 6.0)
    assert found['headroom_layers'] == 2.0
    assert found['rows']['fixed 6']['loss'] == pytest.approx(0.015)
    assert verdict(found).startswith('headroom 2.0 of 20 layers, 25 % of the best fixed exit')


@pytest.mark.parametrize(
    ('rows', 'words'),
    [
        ({'fixed': (190, 7), 'oracle': (200, 6)}, 'no fixed exit that was tried is within'),
        ({'fixed': (200, 7), 'oracle': (190, 6)}, 'no oracle is within a point of dense'),
        ({'fixed': (200, 7), 'oracle': (200, 7)}, 'no headroom: the best fixed exit runs 7.0'),
    ],
)  # fmt: skip
def test_the_verdict_says_what_was_not_found(rows, words):
    played = {DENSE: episodes(200, 20)}
    for mode, (wins, layers) in rows.items():
        played[Row(mode, exit_layer=5, tolerance=0.1)] = episodes(wins, layers)
    assert words in verdict(closed_loop(played))


def test_where_dense_never_wins_or_few_episodes_were_played_no_headroom_is_claimed():
    never = {DENSE: episodes(0, 20), Row('fixed', exit_layer=5): episodes(0, 6),
             Row('oracle', tolerance=0.1): episodes(0, 3)}  # fmt: skip
    found = closed_loop(never)
    assert found['headroom_layers'] is None and found['best_fixed_layers'] is None
    assert verdict(found).startswith('dense won none of 200 episodes')
    few = {DENSE: episodes(4, 20, 4), Row('fixed', exit_layer=8): episodes(4, 9, 4),
           Row('oracle', tolerance=0.1): episodes(4, 6, 4)}  # fmt: skip
    assert verdict(closed_loop(few)).endswith('4 episodes tell no differences, 18 or more would')


def test_states_know_phase_task_distance_and_split():
    one = replace(episodes(1, 20, 1)[0], seen=(SeenState('carry', 0.07, (0.1, 0.2, 0.3)),))
    state = tried_states([one])[0]
    assert state.errors == (0.1, 0.2, 0.3)
    assert state.groups == {'phase': 'carry', 'task': 'pick', 'distance': '5-10 cm',
                            'split': 'train'}  # fmt: skip


def test_a_distance_lies_in_one_interval():
    assert [distance(metres) for metres in (0.0, 0.025, 0.0999, 0.2, 3.0)] == [
        '0-2.5 cm',
        '2.5-5 cm',
        '5-10 cm',
        'over 20 cm',
        'over 20 cm',
    ]
