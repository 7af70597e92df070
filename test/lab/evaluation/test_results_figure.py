"""The picture of the results page: marks where the evidence puts them, nothing left unsaid."""

from __future__ import annotations

from xml.etree import ElementTree

from dysl_vla_ros.lab.evaluation.results_figure import (
    KINDS,
    LOWEST,
    Mark,
    Panel,
    draw,
    figure,
    front,
)

SVG = '{http://www.w3.org/2000/svg}'


def drawn(*marks, title='A world'):
    return ElementTree.fromstring(draw([Panel(title, marks)]))


def words(root):
    return [text.text for text in root.iter(f'{SVG}text')]


def test_a_mark_lies_further_right_with_more_layers_and_further_up_with_more_won():
    low, high = Mark('fixed exit', 0.25, 92, 100, '3'), Mark('fixed exit', 0.75, 96, 100, '11')
    first, second = [
        (float(circle.get('cx')), float(circle.get('cy')))
        for circle in drawn(low, high).iter(f'{SVG}circle')
        if circle.get('r') == '4'
    ][:2]
    assert first[0] < second[0] and first[1] > second[1]
    assert {'3', '11', 'fixed exit'} <= {*words(drawn(low, high))}


def test_what_wins_too_little_to_be_shown_is_named_with_what_it_wins():
    root = drawn(Mark('dense', 1.0, 98, 100), Mark('random', 0.4, 17, 100))
    assert 'below: random 17 %' in words(root)
    assert 'random' not in words(root), 'the legend has what is drawn'
    assert 'below' not in ' '.join(words(drawn(Mark('dense', 1.0, 98, 100))))


def test_an_interval_ends_at_the_foot_of_the_panel():
    root = drawn(Mark('dense', 1.0, 18, 20))
    (whisker,) = [line for line in root.iter(f'{SVG}line') if line.get('class') == 'i']
    (foot,) = [line for line in root.iter(f'{SVG}line') if line.get('class') == 'a']
    assert float(whisker.get('y1')) == float(foot.get('y1'))


def test_the_front_leaves_out_what_another_beats_at_no_more_layers():
    dense, exit_, auto = (
        Mark('dense', 1.0, 97, 100),
        Mark('fixed exit', 0.4, 97, 100),
        Mark('DySL `auto`', 0.5, 95, 100),
    )
    assert front([dense, exit_, auto]) == [exit_]
    better = Mark('dense', 1.0, 98, 100)
    assert front([better, auto, exit_]) == [exit_, better]


def test_titles_are_written_as_text():
    assert 'a < b & c' in words(drawn(Mark('dense', 1.0, 9, 10), title='a < b & c'))


def test_a_policy_trained_for_its_depth_is_drawn_against_the_layers_of_the_dense_one():
    told = {'episodes': 4, 'successes': 4, 'controllers_mean': 0.0, 'rerun_rate': 0.0,
            'actions_mean': 90.0, 'pass_ms': 5.0}  # fmt: skip
    played = [[0, start, 1] for start in range(4)]
    about = {'world': 'libero', 'suite': 'libero_object', 'control': 'none', 'thin': 1.0,
             'replan': 8, 'date': '2026-01-01'}  # fmt: skip
    own = {**about, 'bundle': 'libero_object', 'policy': 'a', 'episodes': {'full': played},
           'rows': {'full': {**told, 'layers_run_mean': 16.0, 'layers_total': 16}}}  # fmt: skip
    tuned = {**about, 'bundle': 'fixed_7', 'policy': 'b', 'episodes': {'full': played},
             'rows': {'full': {**told, 'layers_run_mean': 8.0, 'layers_total': 8}}}  # fmt: skip
    root = ElementTree.fromstring(figure({'libero_object': own, 'libero_object_fixed_7': tuned}))
    assert 'LIBERO-Object, 4 episodes' in words(root) and 'fixed exit, fine-tuned' in words(root)
    dense = next(root.iter(f'{SVG}polygon')).get('points').split()
    (exit_, _) = list(root.iter(f'{SVG}circle'))
    right = sum(float(point.split(',')[0]) for point in dense) / len(dense)
    ticks = {text.text: float(text.get('x')) for text in root.iter(f'{SVG}text')}
    assert right == ticks['100 %'] and float(exit_.get('cx')) == ticks['50 %']


def test_without_evidence_there_is_still_a_picture():
    assert not list(ElementTree.fromstring(figure({})).iter(f'{SVG}polyline'))


def test_every_kind_has_a_shape_that_can_be_drawn():
    assert LOWEST < 0.9
    for kind in KINDS:
        assert kind in words(drawn(Mark(kind, 0.5, 95, 100))) or 'DySL' in kind


def test_a_panel_says_of_how_many_episodes_what_it_draws_is():
    played = {'full': (980, 1000), 'fixed 8': (392, 400), 'random': (20, 100),
              'max_skip': (98, 100)}  # fmt: skip
    found = {'modes': {
        row: {'successes': wins, 'episodes': count, 'layers_run_mean': 8.0, 'layers_total': 20}
        for row, (wins, count) in played.items()
    }}  # fmt: skip
    root = ElementTree.fromstring(figure({'results_tabletop': found}))
    assert 'Bundled tasks, 100 to 1,000 episodes' in words(root)
    assert 'controllers alone' in words(root), 'a dynamic policy, too'
