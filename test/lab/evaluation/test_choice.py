"""Which skip mode a bundle is given: by success in the simulator, by error on a recording."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.config import EngineConfig, load_yaml
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.choice import (
    Candidate,
    by_error,
    by_instruction,
    choose,
    on_recorded,
    rows_within,
)
from dysl_vla_ros.lab.evaluation.exits import all_exits
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.policy import open_policy

DENSE = Candidate(Row('full'), 0.98, 20.0)
AUTO = Candidate(Row('auto'), 0.975, 8.6)
EIGHT = Candidate(Row('fixed', exit_layer=8), 0.97, 9.0)
SIX = Candidate(Row('fixed', exit_layer=6), 0.94, 7.0)


def chosen(*candidates, depth=0.0, slack=0.01):
    return choose(candidates, 20, depth, slack)


def test_the_shallowest_within_a_point_of_the_best_is_chosen():
    assert chosen(DENSE, EIGHT) is EIGHT
    assert chosen(DENSE, EIGHT, AUTO) is AUTO
    assert chosen(DENSE, SIX) is DENSE
    assert chosen(DENSE, EIGHT, SIX, slack=0.05) is SIX


def test_within_a_budget_the_best_that_keeps_it_is_the_measure():
    assert chosen(DENSE, EIGHT, SIX, depth=0.45) is EIGHT
    assert chosen(DENSE, EIGHT, SIX, depth=0.40) is SIX
    assert chosen(DENSE, EIGHT, SIX, depth=0.10) is SIX  # none keeps it: the shallowest


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
        full=outcomes([1, 1, 1], [1, 1, 0]), fixed_6=outcomes([1, 1, 1], [0, 1, 0]),
        fixed_11=outcomes([1, 1, 1], [1, 1, 0]), auto=outcomes([1, 1, 1], [1, 1, 1]),
    ))  # fmt: skip
    assert found.exits == {'lift it': 6, 'open it': 11}
    assert found.others == 11, 'the deepest of them'
    assert found.won['open it'] == {6: 1, 11: 2, 0: 2}
    assert found.starts == {'lift it': 3, 'open it': 3}


def test_dense_is_chosen_only_where_no_exit_wins_as_often_and_then_of_other_words_too():
    found = by_instruction(a_report(full=outcomes([1, 1], [1, 1]),
                                    fixed_6=outcomes([1, 1], [1, 0])))  # fmt: skip
    assert found.exits == {'lift it': 6, 'open it': 0} and found.others == 0


def test_exits_are_compared_on_the_starts_that_all_have_played():
    found = by_instruction(a_report(full=outcomes([0, 1, 1], [1]), fixed_6=outcomes([0], [1])))
    assert found.exits['lift it'] == 6 and found.starts['lift it'] == 1


@pytest.mark.parametrize('broken', [
    {'episodes': {'full': outcomes([1], [1])}}, {'instructions': {}},
    {'control': 'other_words'}, {'instructions': {'7': 'fly'}},
])  # fmt: skip
def test_a_report_that_compares_no_exits_is_refused(broken):
    report = a_report(full=outcomes([1], [1]), fixed_6=outcomes([1], [1])) | broken
    with pytest.raises(ConfigError, match='by-instruction'):
        by_instruction(report)


def test_of_two_that_are_equal_the_first_is_chosen():
    same = Candidate(Row('auto'), 0.97, 9.0)
    assert chosen(EIGHT, same) is EIGHT


@pytest.mark.parametrize(
    ('layers', 'depth', 'exits'),
    [(20, 0.0, [5, 6, 7, 8, 9, 10]), (20, 0.45, [5, 6, 7, 8]), (20, 0.2, [3]), (20, 0.01, [1]),
     (2, 0.0, [])],
)  # fmt: skip
def test_what_is_compared_are_dense_the_dynamic_modes_and_the_exits_within_the_budget(
    layers, depth, exits
):
    rows = rows_within(layers, depth)
    assert [row.name for row in rows[:3]] == ['full', 'auto', 'max_skip']
    assert [row.exit_layer for row in rows[3:]] == exits


def test_what_is_compared_for_a_choice_is_played_as_a_node_plays_it_with_that_skip_mode():
    simulated = load_yaml(config_folder() / 'robots' / 'sim.yaml')
    for row in rows_within(20, 0.0):
        skip = replace(simulated.skip, mode=row.mode, exit_layer=row.exit_layer)
        assert mode_config(simulated, row) == replace(simulated, skip=skip), row.name
    assert mode_config(simulated, Row('max_skip')).rerun.enabled is False, 'the row of a table'


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return open_policy(EngineConfig(path=str(tiny_bundle.write_tiny_bundle(folder, layers=8))))


def test_on_a_recording_every_mode_has_its_error_to_dense_and_its_depth(policy):
    camera = policy.manifest.cameras[0]
    generator = np.random.default_rng(4)
    shape = (camera.height, camera.width, 3)
    observations = [
        Observation(0.2 * index, {camera.name: generator.integers(0, 256, shape, np.uint8)},
                    np.zeros(6), 1.0, 'pick up the red cube')
        for index in range(3)
    ]  # fmt: skip
    rows = rows_within(8, 0.0)
    found = on_recorded(policy, observations, rows)
    assert found[rows[0]]['error_mean'] == 0.0
    assert found[rows[0]]['layers_run_mean'] == 8
    for row in rows:
        if row.mode == 'fixed':
            wanted = [all_exits(policy, one).errors()[row.exit_layer - 1] for one in observations]
            assert found[row]['error_mean'] == pytest.approx(np.mean(wanted))
            assert found[row]['layers_run_mean'] == row.exit_layer + 1
            assert found[row]['rerun_rate'] == 0
    best = choose(by_error(found), 8, 0.5, 0.0)
    errors = {row: one['error_mean'] for row, one in found.items()
              if one['layers_run_mean'] <= 4}  # fmt: skip
    assert best.row == min(errors, key=errors.get)
