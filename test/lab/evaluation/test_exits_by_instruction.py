"""Which exit each instruction is given, and which reports may not decide that."""

from __future__ import annotations

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.exits_by_instruction import by_instruction

WON, LOST = [1] * 5, [0] * 5


def a_report(**rows):
    episodes = {name.replace('_', ' '): found for name, found in rows.items()}
    return {'instructions': {'0': 'lift it', '4': 'open it'}, 'control': 'none',
            'episodes': episodes}  # fmt: skip


def outcomes(first, second):
    return [[0, start, won, 9, 9, 9] for start, won in enumerate(first)] + [
        [4, start, won, 9, 9, 9] for start, won in enumerate(second)
    ]


def test_each_instruction_gets_the_shallowest_of_the_exits_that_won_most():
    found = by_instruction(a_report(
        full=outcomes(WON, [1, 1, 0, 0, 0]), fixed_6=outcomes(WON, [0, 1, 0, 0, 0]),
        fixed_11=outcomes(WON, [1, 1, 0, 0, 0]), auto=outcomes(WON, WON),
    ))  # fmt: skip
    assert found.exits == {'lift it': 6, 'open it': 11}
    assert found.others == 11, 'the deepest of them'
    assert found.won['open it'] == {6: 1, 11: 2, 0: 2}
    assert found.starts == {'lift it': 5, 'open it': 5}


def test_dense_is_chosen_only_where_no_exit_wins_as_often_and_then_of_other_words_too():
    found = by_instruction(a_report(full=outcomes(WON, WON),
                                    fixed_6=outcomes(WON, [1, 1, 1, 1, 0])))  # fmt: skip
    assert found.exits == {'lift it': 6, 'open it': 0} and found.others == 0


def test_exits_are_compared_on_the_starts_that_all_have_played():
    found = by_instruction(a_report(full=outcomes([*WON, 1, 1], WON), fixed_6=outcomes(WON, WON)))
    assert found.exits['lift it'] == 6 and found.starts['lift it'] == 5


@pytest.mark.parametrize('broken', [
    {'episodes': {'full': outcomes(WON, WON)}}, {'instructions': {}},
    {'control': 'other_words'}, {'instructions': {'7': 'fly'}},
])  # fmt: skip
def test_a_report_that_compares_no_exits_is_refused(broken):
    report = a_report(full=outcomes(WON, WON), fixed_6=outcomes(WON, WON)) | broken
    with pytest.raises(ConfigError, match='by-instruction'):
        by_instruction(report)


def test_what_no_exit_ever_won_gets_all_layers_and_so_do_other_words():
    found = by_instruction(a_report(full=outcomes(LOST, WON), fixed_4=outcomes(LOST, WON),
                                    fixed_7=outcomes(LOST, WON)))  # fmt: skip
    assert found.exits == {'lift it': 0, 'open it': 4} and found.others == 0
    assert found.never == ('lift it',)


def test_without_the_dense_row_or_an_episode_that_was_won_nothing_is_decided():
    with pytest.raises(ConfigError, match='--modes full fixed'):
        by_instruction(a_report(fixed_4=outcomes(LOST, WON), fixed_7=outcomes(LOST, WON)))
    with pytest.raises(ConfigError, match='no episode won'):
        by_instruction(a_report(full=outcomes(LOST, LOST), fixed_7=outcomes(LOST, LOST)))


def test_few_starts_in_common_decide_nothing():
    with pytest.raises(ConfigError, match='lift it.*at least 5 starts .* there are 1'):
        by_instruction(a_report(full=outcomes([1] * 50, WON), fixed_4=outcomes([1], WON)))


def test_tasks_of_the_same_words_are_one_instruction():
    report = a_report(full=outcomes(WON, WON), fixed_4=outcomes(LOST, WON))
    found = by_instruction(report | {'instructions': {'0': 'Put it away', '4': 'put  it away '}})
    assert found.exits == {'Put it away': 0} and found.starts == {'Put it away': 10}
    assert found.won == {'Put it away': {4: 5, 0: 10}}


@pytest.mark.parametrize('success', [0, '1'])
def test_an_episode_that_stands_twice_and_differs_or_tells_no_outcome_is_refused(success):
    report = a_report(full=outcomes(WON, WON), fixed_4=outcomes(WON, WON))
    report['episodes']['fixed 4'].append([0, 3, success, 9, 9, 9])
    with pytest.raises(ConfigError, match='episodes of fixed 4 = .*each start of a task once'):
        by_instruction(report)
    report['episodes']['fixed 4'][-1] = [0, 3, 1, 9, 9, 9]
    assert by_instruction(report).starts['lift it'] == 5, 'the same twice is one'


def on_libero(first, **facts):
    rows = {name: [[task, first + start, 1, 9, 9, 9] for task in (0, 4) for start in range(5)]
            for name in ('full', 'fixed_4')}  # fmt: skip
    return a_report(**rows) | {'world': 'libero', 'suite': 'libero_spatial'} | facts


def test_starts_and_suites_that_results_are_told_of_decide_nothing():
    assert by_instruction(on_libero(50)).others == 4
    with pytest.raises(ConfigError, match=r'20 episodes on official starts.*--first-start 50'):
        by_instruction(on_libero(0))
    with pytest.raises(ConfigError, match='libero_spatial_swap.*libero_spatial, unperturbed'):
        by_instruction(on_libero(50, suite='libero_spatial_swap'))


def test_thinned_pictures_are_told_as_such():
    assert by_instruction(on_libero(50, thin=0.1)).thin == 0.1


def test_a_report_of_a_control_is_refused_by_its_name():
    with pytest.raises(ConfigError, match='--control other_words'):
        by_instruction({**a_report(full=outcomes(WON, WON), fixed_6=outcomes(WON, WON)),
                        'control': 'other_words'})  # fmt: skip
