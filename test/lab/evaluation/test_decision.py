"""Few episodes, or episodes that nobody won, choose no mode; what a choice tells apart is said."""

from __future__ import annotations

import pytest

from dysl_vla_ros.lab.evaluation.choice import DENSE, Candidate
from dysl_vla_ros.lab.evaluation.decision import FEWEST, WIDEST, decide
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.statistics import paired_difference

FIVE, EIGHT, AUTO = (Row('fixed', exit_layer=5), Row('fixed', exit_layer=8), Row('auto'))
LAYERS = {DENSE: 20.0, FIVE: 6.0, EIGHT: 9.0, AUTO: 9.5}


def decided(depth=0.0, **lost):
    """Of so many episodes; ``lost`` are those that each row did not win."""
    count = lost.pop('count')
    names = {'full': DENSE, 'five': FIVE, 'eight': EIGHT, 'auto': AUTO}
    won = {names[name]: [index >= lost.get(name, 0) for index in range(count)] for name in names}
    candidates = [Candidate(row, sum(one) / count, LAYERS[row]) for row, one in won.items()]
    return decide(candidates, won, DENSE, 20, depth)


def test_where_dense_won_nothing_no_mode_is_chosen():
    found = decided(count=200, full=200)
    assert found.row is None and found.hopeless
    assert found.told.startswith('dense won none of 200 episodes')
    assert decided(count=1, full=1).hopeless


@pytest.mark.parametrize('count', [1, 4, FEWEST - 1])
def test_few_episodes_choose_no_mode_and_how_many_would_is_said(count):
    found = decided(count=count)
    assert found.row is None and not found.hopeless
    assert f'{count} episodes of each row tell no differences below' in found.told
    assert f'{FEWEST} or more would decide' in found.told


def test_the_fewest_episodes_are_those_whose_interval_can_be_ten_points():
    same = [True] * FEWEST
    assert paired_difference(same, same)[2] <= WIDEST < paired_difference(same[1:], same[1:])[2]
    assert decided(count=FEWEST).row == FIVE


def test_a_budget_in_which_nothing_won_chooses_no_mode():
    found = decided(count=96, five=96, depth=0.3)
    assert found.row is None and found.hopeless
    assert found.told == 'fixed 5, the best within the budget, won none of 96 episodes'


def test_what_a_choice_is_told_apart_from_stands_beside_it():
    found = decided(count=24)
    assert found.row == FIVE
    assert found.told == ('fixed 5 on 24 episodes, 0.0 points behind dense (95 %: -7.5 to 7.5): '
                          'not told apart from full, fixed 8, auto')  # fmt: skip
    found = decided(count=96, five=50, depth=0.3)
    assert found.told.endswith('wins less than full, fixed 8, auto')
    found = decided(count=96, full=30, auto=30)
    assert found.row == FIVE
    assert found.told.endswith('wins more than full, auto; not told apart from fixed 8')
    assert decided(count=96, five=9, eight=9, auto=9).told == (
        'full on 96 episodes: nothing deeper was played'
    )
