"""LIBERO's part of the results page says what the reports say, and what is missing."""

from __future__ import annotations

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.results_figure import figure
from dysl_vla_ros.lab.evaluation.results_libero import libero_parts
from dysl_vla_ros.lab.evaluation.results_page import render


def told(wins, layers):
    return {
        'episodes': len(wins), 'successes': sum(wins), 'layers_run_mean': layers,
        'layers_total': 16, 'controllers_mean': 2.0, 'rerun_rate': 0.015, 'picked': 2,
        'elsewhere': 1, 'actions_mean': 141.0, 'backbone_ms': 7.04, 'pass_ms': 9.96,
    }  # fmt: skip


def report(
    bundle='libero_object', suite='libero_object', control='none', policy='aaaaaaaaaaaa', **rows
):
    """Rows as ``name='1101'``: one start each; the number is the depth that it ran."""
    wins = {name.replace('_', ' '): [mark == '1' for mark in marks]
            for name, (marks, _) in rows.items()}  # fmt: skip
    layers = {name.replace('_', ' '): depth for name, (_, depth) in rows.items()}
    return {
        'world': 'libero', 'bundle': bundle, 'suite': suite, 'control': control, 'thin': 1.0,
        'policy': policy,
        'replan': 8, 'date': '2026-01-01', 'paired': {},
        'rows': {name: told(found, layers[name]) for name, found in wins.items()},
        'episodes': {name: [[0, start, int(won), 141, 5 * layers[name], 5]
                            for start, won in enumerate(found)] for name, found in wins.items()},
    }  # fmt: skip


OBJECT = report(full=('1111', 16.0), fixed_8=('1111', 9.0), fixed_5=('1000', 6.0),
                auto=('1011', 7.0))  # fmt: skip


def cells(text, row):
    """The cells of the line that begins so; after its name."""
    line = next(line for line in text.splitlines() if line.startswith(f'| {row} |'))
    return [cell.strip() for cell in line.strip('|').split('|')][1:]


def test_rows_are_paired_with_dense_and_with_the_shallowest_exit_that_loses_nothing():
    page = '\n'.join(libero_parts({'libero_object': OBJECT}))
    assert cells(page, 'dense')[5:7] == ['', '']
    auto = cells(page, 'DySL `auto`')
    assert auto[2] == '7.0 of 16' and auto[5].startswith('25.0 (') and auto[6] == auto[5]
    assert cells(page, 'fixed exit 8')[6] == '', 'it is the one that others are compared with'
    assert cells(page, 'fixed exit 5')[6].startswith('75.0 (')
    assert cells(page, 'dense')[7:] == ['141'], 'no times: hours and other work differ'


def test_a_fine_tuned_exit_and_a_shallow_policy_are_rows_beside_the_policy_they_come_from():
    anchors = {
        'libero_object_fixed_5': report('fixed_5', full=('1111', 6.0)),
        'libero_object_layers_9': report('layers_9', full=('11', 9.0)),
        'libero_object_swap_fixed_5': report('fixed_5', 'libero_object_swap', full=('0000', 6.0)),
    }
    page = '\n'.join(libero_parts({'libero_object': OBJECT, **anchors}))
    assert cells(page, 'fixed exit 5, fine-tuned')[5].startswith('0.0 (')
    assert cells(page, 'n-layer, 9')[0] == '2', 'compared on the starts that both played'
    assert cells(page, 'fixed exit 8')[6].startswith('0.0 ('), 'the fine-tuned one is shallower'
    missing = page[page.index('Not run') :]
    assert 'Object, n-layer' not in missing and 'Object, random: needs' in missing
    assert 'Spatial, every row: needs a policy' in missing
    assert 'LIBERO-Object' in page and page.count('LIBERO-Object') == 1


SEEDS = {
    'libero_object': OBJECT,
    'libero_object_seed_1': report(policy='bbbbbbbbbbbb', full=('1111', 16.0),
                                   fixed_8=('1011', 9.0), fixed_4=('0000', 5.0)),
    'libero_object_fixed_5': report('fixed_5', full=('1111', 6.0)),
    'libero_object_seed_1_fixed_5': report('fixed_5', full=('1110', 6.0)),
}  # fmt: skip


def test_what_was_played_on_a_few_starts_is_not_what_others_are_compared_with():
    few = {'libero_object_layers_5': report('layers_5', full=('1', 5.0))}
    page = '\n'.join(libero_parts({'libero_object': OBJECT, **few}))
    assert cells(page, 'n-layer, 5')[0] == '1'
    assert cells(page, 'fixed exit 8')[6] == '' != cells(page, 'n-layer, 5')[6]


def test_policies_of_two_training_seeds_have_a_table_each_and_one_together():
    page = '\n'.join(libero_parts(SEEDS))
    first, second, both = page.split('LIBERO-Object')[1:]
    assert cells(first, 'fixed exit 5, fine-tuned')[1].startswith('100.0 %')
    assert cells(second, 'fixed exit 5, fine-tuned')[1].startswith('75.0 %')
    assert both.startswith(', 2 training seeds of one recipe together (`libero_object`, '
                           '`libero_object_seed_1`)')  # fmt: skip
    assert cells(both, 'fixed exit 8')[:2] == ['8', '87.5 % (53 to 98)']
    assert cells(both, 'fixed exit 8')[5].startswith('12.5 (')
    assert cells(both, 'fixed exit 5, fine-tuned')[0] == '8'
    assert '| fixed exit 4 |' in second and '| fixed exit 4 |' not in both


def test_the_table_of_several_seeds_shows_each_seed_s_difference_and_says_what_intervals_are_of():
    page = '\n'.join(libero_parts(SEEDS))
    both = page.split('LIBERO-Object')[3]
    assert cells(both, 'fixed exit 8')[6] == '0.0, 25.0'
    assert 'over episodes of these policies, not over trainings' in both
    assert ' ms |' not in both, 'times of two runs are not comparable'


def test_two_seeds_whose_differences_have_opposite_signs_are_seen_in_the_row():
    one = report(full=('1110', 16.0), fixed_8=('1111', 9.0))
    two = report(policy='bbbbbbbbbbbb', full=('1111', 16.0), fixed_8=('0011', 9.0))
    page = '\n'.join(libero_parts({'libero_object': one, 'libero_object_seed_1': two}))
    assert cells(page.split('LIBERO-Object')[3], 'fixed exit 8')[6] == '-25.0, 50.0 (opposite)'


def test_a_policy_that_was_trained_on_from_another_is_never_pooled_with_it():
    page = '\n'.join(libero_parts({
        'libero_object': OBJECT, 'libero_object_colours': {**OBJECT, 'policy': 'bbbbbbbbbbbb'},
        'libero_object_corrected': {**OBJECT, 'policy': 'cccccccccccc'},
    }))  # fmt: skip
    assert page.count('LIBERO-Object') == 3 and 'together' not in page


def chunked(found, row, layers, chunks):
    """So many layers a chunk, and chunks in each episode."""
    found['rows'][row]['layers_run_mean'] = layers
    for one in found['episodes'][row]:
        one[4:] = [layers * chunks, chunks]
    return found


def test_what_is_a_mean_over_chunks_is_pooled_by_chunks():
    one = chunked(report(full=('11', 16.0), auto=('11', 8.0)), 'auto', 8.0, 10)
    two = report(policy='bbbbbbbbbbbb', full=('11', 16.0), auto=('11', 14.0))
    two = chunked(two, 'auto', 14.0, 30)
    both = {'libero_object': one, 'libero_object_seed_1': two}
    page = '\n'.join(libero_parts(both))
    assert cells(page.split('LIBERO-Object')[3], 'DySL `auto`')[2] == '12.5 of 16'
    assert 'weighted by episodes' not in page
    for episodes in (found['episodes']['auto'] for found in both.values()):
        for one in episodes:
            del one[3:]
    page = '\n'.join(libero_parts(both))
    assert cells(page.split('LIBERO-Object')[3], 'DySL `auto`')[2] == '11.0 of 16'
    assert 'weighted by episodes for DySL `auto`' in page, 'and it says so'


def test_the_picture_shows_the_recipe_that_was_played_on_most_starts():
    drawn = figure({'libero_object': report(full=('11', 16.0)), 'libero_object_more': report(
        policy='bbbbbbbbbbbb', full=('1111', 16.0))})  # fmt: skip
    assert 'LIBERO-Object (more), 4 episodes' in drawn
    assert 'LIBERO-Object, ' in figure({'libero_object': OBJECT})


def test_dense_is_looked_for_by_its_name_wherever_it_stands():
    turned = {**OBJECT, 'rows': {name: OBJECT['rows'][name] for name in reversed(OBJECT['rows'])}}
    page = '\n'.join(libero_parts({'libero_object': turned}))
    plain = '\n'.join(libero_parts({'libero_object': OBJECT}))
    for row in ('dense', 'DySL `auto`', 'fixed exit 8', 'fixed exit 5'):
        assert cells(page, row) == cells(plain, row)
    assert figure({'libero_object': turned}).count('<polyline') == 1


def test_without_a_dense_row_the_columns_are_empty_and_the_page_says_so():
    page = '\n'.join(libero_parts({'libero_object': report(
        auto=('1011', 7.0), fixed_8=('1111', 9.0))}))  # fmt: skip
    assert cells(page, 'DySL `auto`')[5:7] == ['', ''] == cells(page, 'fixed exit 8')[5:7]
    assert 'no dense row' in page
    assert 'no dense row' not in '\n'.join(libero_parts({'libero_object': OBJECT}))


def test_dense_of_another_report_of_the_policy_is_what_others_are_compared_with():
    auto = report(auto=('1011', 7.0))
    page = '\n'.join(libero_parts({'libero_object': auto, 'libero_object_more': OBJECT}))
    assert cells(page, 'DySL `auto`')[5].startswith('25.0 (')


def test_seeds_that_were_not_trained_alike_are_pooled_with_their_updates():
    trained = {
        f'trained_{name}': {'train': {'steps': steps}, 'recipe': {}, 'policy': {}}
        for name, steps in (('libero_object', 4500), ('libero_object_seed_1', 3862))
    }
    assert 'took 4,500 and 3,862 updates' in '\n'.join(libero_parts({**SEEDS, **trained}))
    trained['trained_libero_object_seed_1']['train']['steps'] = 4500
    assert 'dense trainings' not in '\n'.join(libero_parts({**SEEDS, **trained}))
    assert 'dense trainings' not in '\n'.join(libero_parts(SEEDS))


def test_a_report_of_which_no_row_is_shown_is_named():
    page = '\n'.join(libero_parts({
        'libero_object': OBJECT, 'libero_object_again': OBJECT,
        'libero_object_fixed_5': {**report('fixed_5', full=('1111', 6.0)), 'replan': 4},
        'libero_spatial_fixed_7': report('fixed_7', 'libero_spatial', full=('1111', 6.0)),
    }))  # fmt: skip
    [line] = [line for line in page.splitlines() if line.startswith('Left out')]
    for name in ('libero_object_again', 'libero_object_fixed_5', 'libero_spatial_fixed_7'):
        assert f'`{name}.json`' in line
    assert 'Left out' not in '\n'.join(libero_parts({'libero_object': OBJECT}))


def test_a_report_that_contradicts_itself_makes_no_page():
    one = report(full=('1101', 16.0))
    one['episodes']['full'].pop()
    with pytest.raises(ConfigError, match=r'libero_object\.json: rows\.full\.episodes = 4'):
        libero_parts({'libero_object': one})


def test_pictures_of_fewer_triangles_are_not_called_the_official_ones():
    with pytest.raises(ConfigError, match=r'libero_object\.json: thin = 0\.1'):
        libero_parts({'libero_object': {**OBJECT, 'thin': 0.1}})


def test_rows_of_one_policy_that_were_played_on_fewer_starts_stand_in_its_table():
    first, more = {**OBJECT, 'policy': 'ab12'}, report(full=('11', 16.0), random=('10', 8.0))
    page = '\n'.join(libero_parts({
        'libero_object': first, 'libero_object_random': {**more, 'policy': 'ab12'},
    }))  # fmt: skip
    assert page.count('LIBERO-Object') == 1 and 'seeds together' not in page
    assert cells(page, 'dense')[0] == '4' and cells(page, 'random')[0] == '2'
    assert cells(page, 'random')[5].startswith('50.0 (')
    assert 'Object, random' not in page[page.index('Not run') :]


def test_a_policy_that_was_tuned_by_instruction_has_a_row_beside_the_one_it_is_of():
    told = report('by_instruction', policy='bbbbbbbbbbbb', told=('1101', 5.0))
    for part in ('rows', 'episodes'):
        told[part] = {'by_instruction': told[part]['told']}
    page = '\n'.join(libero_parts({'libero_object': OBJECT, 'libero_object_told': told}))
    assert cells(page, 'exit by instruction, fine-tuned')[1].startswith('75.0 %')
    assert page.count('LIBERO-Object') == 1


def test_rows_that_choose_their_depth_by_a_signal_are_called_by_what_they_choose():
    one = report(full=('11', 16.0))
    for name in ('paced never:2@0.5/2@0.5', 'paced gripper:2@0.5/4@0.5'):
        one['rows'][name] = one['rows']['full']
        one['episodes'][name] = one['episodes']['full']
    page = '\n'.join(libero_parts({'libero_object': one}))
    assert cells(page, 'paced `never:2@0.5/2@0.5`')[0] == '2'
    assert cells(page, 'paced `gripper:2@0.5/4@0.5`')[0] == '2'


def test_controls_stand_apart_and_say_what_was_picked():
    words = report(control='other_words', full=('0000', 16.0), auto=('1000', 8.0))
    swap = report(suite='libero_object_swap', full=('1010', 16.0))
    page = '\n'.join(libero_parts({'libero_object': OBJECT, 'libero_object_swap': swap,
                                   'libero_object_words': words}))  # fmt: skip
    lines = [line for line in page.splitlines() if line.startswith('| libero_object')]
    assert [line.split('|')[1:4] for line in lines] == [
        [' libero_object_swap ', ' `libero_object` ', ' dense '],
        [' libero_object, other words ', ' `libero_object` ', ' dense '],
        [' libero_object, other words ', ' `libero_object` ', ' DySL `auto` '],
    ]
    assert '| 50 % | 25 % | 8.0 |' in lines[2] and '|  |  | 16.0 |' in lines[0]


def test_without_a_report_the_page_says_what_each_row_needs():
    page = render({})
    part = page[page.index('### LIBERO') : page.index('## (b)')]
    assert part.count(', every row: needs ') == 3 and '--suite libero_object`' in part
    assert 'Octo' in part


def test_each_ratio_of_deer_is_a_row_of_its_own():
    found = report(full=('11', 16.0), deer_0=('01', 5.0), deer_8=('11', 8.0))
    page = '\n'.join(libero_parts({'libero_object': found}))
    assert cells(page, 'DeeR, 0')[0] == cells(page, 'DeeR, 8')[0] == '2'
    assert '- Object, DeeR: needs' not in page and '- Object, random: needs' in page


def test_a_control_names_the_policy_that_played_it_whatever_its_file_is_called():
    one = {**OBJECT, 'policy': 'a' * 12}
    two = {**report(full=('11', 16.0)), 'policy': 'b' * 12}
    swap = {**report(suite='libero_object_swap', full=('10', 16.0)), 'policy': 'b' * 12}
    page = '\n'.join(libero_parts({'libero_object': one, 'libero_object_seed_1': two,
                                   'libero_object_swap': swap}))  # fmt: skip
    assert '| libero_object_swap | `libero_object_seed_1` | dense | 2 |' in page
