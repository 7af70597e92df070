"""Layers over time as text: what ran, in which pass, in which phase."""

from __future__ import annotations

from dysl_vla_ros.demo.heat_map import PassSeen, heat_map


def rows(passes, columns=40):
    return heat_map(passes, columns).plain.split('\n')


def test_two_layers_share_a_cell_and_a_jumped_pair_is_a_dot():
    passes = [PassSeen('1111', 'full'), PassSeen('1001', 'skipped'), PassSeen('0100', 'skipped')]
    assert rows(passes) == ['    0 █▀▄', '    2 █▄·']


def test_an_odd_number_of_layers_ends_in_half_a_cell():
    assert rows([PassSeen('111', 'full')]) == ['    0 █', '    2 ▀']


def test_the_newest_passes_are_kept_at_the_right():
    passes = [PassSeen('00', 'skipped')] * 50 + [PassSeen('11', 'full')]
    (row,) = rows(passes, columns=16)
    assert row == '    0 ' + '·' * 9 + '█'


def test_a_phase_is_named_where_it_begins_and_cut_where_the_next_begins():
    phases = ['reach'] * 3 + ['grasp'] * 8
    passes = [PassSeen('11', 'full', phase) for phase in phases]
    assert rows(passes)[-1] == 'phase re grasp'


def test_passes_of_another_depth_are_left_out():
    assert rows([PassSeen('1111', 'full'), PassSeen('11', 'full')]) == ['    0 █']


def test_nothing_seen_is_nothing_drawn():
    assert heat_map([], 40).plain == ''


def test_a_re_run_shows_the_layers_of_the_pass_that_it_goes_on_from():
    again = heat_map([PassSeen('000111', 'rerun')], 20, True)
    assert '·' not in again.plain
    assert '·' in heat_map([PassSeen('000111', 'skipped')], 20, True).plain
