"""Which skip mode a bundle is given: by success in the simulator, by error on a recording."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.bringup import config_folder
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.choice import (
    Candidate,
    by_error,
    by_rate,
    choose,
    on_recorded,
    out_of_reach,
    rows_within,
)
from dysl_vla_ros.lab.evaluation.exits import all_exits
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.node_parameters import load_yaml
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


def test_a_budget_that_no_row_keeps_is_told_and_does_not_choose_what_never_wins():
    lost = Candidate(Row('fixed', exit_layer=5), 0.0, 8.0)
    rows = (DENSE, Candidate(Row('max_skip'), 0.99, 8.01), lost)
    assert chosen(*rows, depth=0.2).score == 0.99
    told = out_of_reach(rows, 20, 0.2)
    assert told.startswith('none keeps 4.00 of 20 layers (8.00 at least)')
    assert out_of_reach(rows, 20, 0.4) == out_of_reach(rows, 20, 0.0) == ''


@pytest.mark.parametrize('first', [True, False])
def test_a_row_without_a_score_is_refused_by_its_name_wherever_it_stands(first):
    unknown = Candidate(Row('max_skip'), float('nan'), 3.0)
    with pytest.raises(ConfigError, match='max_skip = .*a finite score and depth'):
        chosen(*((unknown, DENSE) if first else (DENSE, unknown)))
    with pytest.raises(ConfigError, match='at least one row'):
        chosen()


def test_a_row_that_never_had_a_chunk_accepted_is_not_the_shallowest_but_refused():
    told = {'success_rate': 0.0, 'layers_run_mean': 9.0, 'chunks': 3}
    rows = {EIGHT.row: told, AUTO.row: {**told, 'layers_run_mean': 0.0, 'chunks': 0}}
    with pytest.raises(ConfigError, match='auto = .*what was not measured'):
        chosen(*by_rate(rows))


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
