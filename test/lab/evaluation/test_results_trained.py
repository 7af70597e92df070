"""What was trained: a row for each policy, exit and shallow model of the runs that were kept."""

from __future__ import annotations

from dysl_vla_ros.lab.evaluation.results_page import render
from dysl_vla_ros.lab.evaluation.results_trained import trained_parts

RUN = {
    'recipe': {
        'ground': {'steps': 1500},
        'distill': {'adapter_steps': 0, 'controller_steps': 600},
    },
    'ground': {'seconds': 360.0},
    'train': {'steps': 4500, 'seconds': 3600.0},
    'train_1': {'steps': 1500, 'seconds': 720.0},
    'distill': {'trained_parameters': 246_631},
    'policy': {'parameters': 5_056_731, 'skipping_parameters': 246_631},
}  # fmt: skip
ANCHORS = {
    'fixed_5': {'steps': 600, 'seconds': 180.0},
    'fixed_5_is': {'layers': 6, 'trained_parameters': 2_493_531},
}
SHALLOW = {
    'ground': {'steps': 1500, 'seconds': 36.0},
    'train': {'steps': 4500, 'seconds': 180.0},
    'layers_6_is': {'layers': 6, 'trained_parameters': 2_493_531},
}


def rows(**reports):
    (_, _, table) = trained_parts({f'trained_{name}': found for name, found in reports.items()})
    return table.splitlines()[2:]


def test_a_run_says_what_the_dense_policy_took_and_what_skipping_took_on_top():
    assert rows(libero_object=RUN) == [
        '| `libero_object` | dense | 5.06 M | 1,500 + 4,500 + 1,500 | 1.30 |',
        '| `libero_object` | skipping | 0.25 M | 600 |  |',
    ]


def test_steps_that_a_stage_noted_count_before_those_that_were_asked_for():
    cut = {**RUN, 'ground': {'seconds': 0.0, 'steps': 1200}}
    assert '| 1,200 + 4,500 + 1,500 |' in rows(libero_object=cut)[0]


def test_a_fine_tuned_exit_and_a_shallow_policy_are_rows_of_their_own():
    assert rows(one=ANCHORS, two=SHALLOW) == [
        '| `one` | fixed 5 | 2.49 M | 600 | 0.05 |',
        '| `two` | layers 6 | 2.49 M | 1,500 + 4,500 | 0.06 |',
    ]


def test_the_page_says_nothing_of_training_where_no_run_was_kept():
    assert trained_parts({'results_tabletop': {}}) == []
    assert '### What was trained' in render({'trained_libero_object': RUN})
