"""Closed-loop evaluation: the robot's loop, a tiny random policy, real physics."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle
from rich.console import Console

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.evaluate import _links_table, _paired_table, _table
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.episodes import (
    EpisodeResult,
    EpisodeSpec,
    arm_planner,
    run_episode,
)
from dysl_vla_ros.lab.evaluation.evaluate import evaluate, report
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config, mode_policy
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.plots import plot_evaluation
from dysl_vla_ros.lab.evaluation.summary import compared, outcomes, random_share, summary
from dysl_vla_ros.lab.evaluation.workers import another_instruction
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.tasks import draw_episode
from dysl_vla_ros.sim.world import World


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def options(bundle, **changes):
    values = {
        'bundle': str(bundle), 'episodes': 1, 'families': ('pick',), 'time_limit': 1.5,
        'latency': 0.05,
    }  # fmt: skip
    return EvaluateOptions(**{**values, **changes})


def test_every_mode_plays_the_same_episodes_and_reports_its_depth(bundle):
    document = evaluate(options(bundle, modes=('full', 'static_only', 'auto')))
    full, static = document['modes']['full'], document['modes']['static_only']
    assert full['episodes'] == static['episodes'] == 1
    assert full['layers_run_mean'] == full['layers_total']
    assert static['layers_run_mean'] < full['layers_total']
    assert set(document['paired']) == {'static_only', 'auto'}
    json.dumps(document)


def test_the_same_options_give_the_same_result(bundle):
    one, two = (evaluate(options(bundle, modes=('full',)))['modes']['full'] for _ in range(2))
    for key in ('success_rate', 'actions_median', 'layers_run_mean', 'hold_ratio'):
        assert one[key] == two[key]


def test_a_slow_policy_plays_fewer_actions(bundle):
    fast = evaluate(options(bundle, modes=('full',), latency=0.02, time_limit=3.0))
    slow = evaluate(options(bundle, modes=('full',), latency=0.6, time_limit=3.0))
    assert slow['modes']['full']['actions_median'] < fast['modes']['full']['actions_median']


class Planned:
    """Remembers the plans it is asked for."""

    class manifest:
        layout = LayerLayout(20, (0, 6, 13, 19))

    def __init__(self):
        self.plans = []

    def predict(self, observation, plan):
        self.plans.append(plan)


def test_random_skips_to_the_mean_depth_it_is_given():
    policy = Planned()
    wrapped = mode_policy(policy, Row('random', share=0.3), seed=1)
    for _ in range(400):
        wrapped.predict(None, None)
    segments = policy.manifest.layout.segments
    run = [
        sum(a - first for a, (first, _) in zip(plan.allow, segments, strict=True))
        for plan in policy.plans
    ]
    assert np.mean(run) / 16 == pytest.approx(0.3, abs=0.03)


@pytest.mark.slow
def test_random_runs_as_many_layers_as_auto_did_in_the_same_evaluation(bundle):
    found = evaluate(options(bundle, modes=('auto', 'random'), episodes=2, time_limit=4.0))
    auto, random = found['modes']['auto'], found['modes']['random']
    static = len(open_bundle(bundle).manifest.static_layers)
    assert found['random_depth'] == pytest.approx(random_share(auto, static))
    assert static <= random['layers_run_mean'] <= auto['layers_total']


def test_families_take_turns_by_seed_as_in_the_demo():
    specs = EvaluateOptions(episodes=2, first_seed=8).specs()
    assert [(spec.seed, spec.family) for spec in specs] == [
        (8, 'pick'), (9, 'bin'), (10, 'place'), (11, 'push'),
        (12, 'pick'), (13, 'bin'), (14, 'place'), (15, 'push'),
    ]  # fmt: skip


def test_the_report_counts_depth_per_accepted_chunk_and_by_phase(bundle):
    found = evaluate(options(bundle, modes=('full', 'closed'), time_limit=3.0))
    full, closed = found['modes']['full'], found['modes']['closed']
    counted = {int(k): v for rows in full['layers_histogram'].values() for k, v in rows.items()}
    assert set(counted) == {full['layers_total']}
    assert sum(counted.values()) == full['chunks']
    assert full['controllers_mean'] == 0
    assert closed['controllers_mean'] > 0
    assert closed['layers_run_mean'] == closed['layers_total']
    ratios = found['paired']['closed']
    assert ratios['backbone_time_ratio'] > 0
    assert ratios['speed_up_ceiling'] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_report_is_drawn(bundle, tmp_path):
    pytest.importorskip('matplotlib', reason='plots need matplotlib')
    plot_evaluation(tmp_path / 'a' / 'report.png', evaluate(options(bundle, time_limit=3.0)))
    assert (tmp_path / 'a' / 'report.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.slow
def test_a_fixed_exit_is_a_row_for_each_layer_and_others_are_compared_with_it(bundle):
    given = options(bundle, modes=('full', 'auto', 'fixed'), exit_layers=(3, 5), time_limit=3.0)
    found = evaluate(given)
    assert list(found['modes']) == ['full', 'auto', 'fixed 3', 'fixed 5']
    assert found['modes']['fixed 3']['layers_run_mean'] == 4
    assert found['modes']['fixed 5']['layers_run_mean'] == 6
    assert found['modes']['fixed 3']['controllers_mean'] == 0
    # None of this policy's episodes is won: the shallowest is as good as dense.
    assert found['paired_fixed']['reference'] == 'fixed 3'
    assert set(found['paired_fixed']['rows']) == {'full', 'auto', 'fixed 5'}


def outcome(seed, success, layers):
    return EpisodeResult(
        spec=EpisodeSpec(seed, 'pick'), instruction='', success=success, seconds=5.0, actions=50,
        chunks=1, reruns=0, layers_run=layers, controllers=0, layers_total=10, static_layers=4,
        phase_layers={}, pass_seconds=(0.1,), backbone_seconds=(0.1,), holds=0, commands=9,
        limited=0,
    )  # fmt: skip


def test_the_exit_that_others_have_to_beat_is_within_a_point_of_dense_wherever_dense_stands():
    wins = {Row('auto'): (1, 0), Row('full'): (1, 1), Row('fixed', exit_layer=3): (1, 0),
            Row('fixed', exit_layer=5): (1, 1)}  # fmt: skip
    layers = (7, 10, 4, 6)
    played = {row: [outcome(seed, bool(won), depth) for seed, won in enumerate(marks)]
              for (row, marks), depth in zip(wins.items(), layers, strict=True)}  # fmt: skip
    assert report(played)['paired_fixed']['reference'] == 'fixed 5'
    del played[Row('full')]
    assert report(played)['paired_fixed'] is None


def test_a_fixed_exit_that_the_bundle_has_not_is_refused_before_anything_is_played(bundle):
    given = options(bundle, modes=('full', 'fixed'), exit_layers=(3, 40))
    with pytest.raises(ConfigError, match=r'skip.exit_layer = 40: expected within \[1, 10\]'):
        evaluate(given, lambda row, result: pytest.fail('played'))


def test_an_oracle_is_charged_the_depth_of_what_it_plays(bundle):
    rows = {'modes': ('oracle',), 'tolerances': (0.0, 10.0), 'time_limit': 2.0}
    found = evaluate(options(bundle, **rows))['modes']
    assert found['oracle 0']['layers_run_mean'] == found['oracle 0']['layers_total']
    assert found['oracle 10']['layers_run_mean'] == 2


def test_without_pre_skip_every_controller_is_live_and_drops_run_again():
    base = EvaluateOptions().config
    found = mode_config(base, Row('no_pre_skip'))
    assert (found.skip.mode, found.rerun.enabled) == ('max_skip', True)
    assert mode_config(base, Row('ceil')).skip.rule == 'ceil'
    printed = mode_config(base, Row('printed'))
    assert (printed.skip.mode, printed.skip.rule, printed.rerun.enabled) == (
        'auto', 'printed', True)  # fmt: skip
    assert mode_config(base, Row('max_skip')).rerun.enabled is False


def test_baselines_have_no_reruns():
    base = EvaluateOptions().config
    assert mode_config(base, Row('static_only')).rerun.enabled is False
    assert mode_config(base, Row('auto')).rerun.enabled is True


def test_the_shuffled_instruction_names_another_object_of_the_same_scene():
    for spec in EvaluateOptions(episodes=5).specs():
        episode = draw_episode(spec.seed, spec.family, spec.split)
        text = another_instruction(spec)
        assert any(
            thing.name in text
            for index, thing in enumerate(episode.things)
            if index != episode.goal.target
        )
        assert text != episode.instruction


def test_an_instruction_that_the_policy_refuses_loses_the_episode_and_says_why(bundle):
    policy = open_policy(EngineConfig(path=str(bundle), backend='onnxruntime'))
    config = EvaluateOptions().config
    planner = arm_planner(policy.manifest.action, config)
    spec = EpisodeSpec(7, 'pick', instruction='lift ' * 200)
    result = run_episode(World(), policy, planner, config, spec, latency=0.05)
    assert not result.success and result.chunks == 0
    assert 'tokens' in result.refused
    assert outcomes([result])[0]['refused'] == result.refused
    assert summary([result])['success_rate'] == 0.0


def test_an_arm_that_never_moved_has_no_jerk_and_no_standstill_and_what_nobody_timed_no_time(
    bundle,
):
    policy = open_policy(EngineConfig(path=str(bundle), backend='onnxruntime'))
    config = EvaluateOptions().config
    planner = arm_planner(policy.manifest.action, config)
    spec = EpisodeSpec(7, 'pick', instruction='lift ' * 200)
    still = run_episode(World(), policy, planner, config, spec, latency=0.05)
    told = summary([replace(still, seconds=11.1, way=3.7e-13, jerk_rms=4e-10)])
    assert told['moved'] == told['jerk_rms'] == 0.0 and told['hold_ratio'] is None
    assert told['pass_ms'] == told['backbone_ms'] == dict.fromkeys(('mean', 'p50', 'p95', 'p99'))
    moved = replace(still, way=2.0, jerk_rms=30.0, commands=100, holds=3)
    both = summary([still, moved])
    assert (both['moved'], both['jerk_rms'], both['way']) == (0.5, 30.0, 2.0)
    pair = compared([moved], [still])
    for name in ('backbone_time_ratio', 'speed_up', 'speed_up_ceiling'):
        assert pair[name] is None, name
    text = io.StringIO()
    document = {'modes': {'full': both, 'auto': told}, 'paired': {'auto': pair},
                'paired_fixed': None}  # fmt: skip
    for table in (_links_table(document), _paired_table(document)):
        Console(file=text, width=80).print(table)
    still_s, jerk = text.getvalue().split('auto')[1].split('\n')[0].split()[-2:]
    assert 'None' not in text.getvalue() and (still_s, jerk) == ('-', '-')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'modes': ('fast',)}, "modes = 'fast'"),
        ({'families': ('juggle',)}, "families = 'juggle'"),
        ({'episodes': 0}, 'episodes = 0'),
        ({'random_depth': 1.5}, 'random_depth = 1.5'),
        ({'modes': ('full', 'random')}, 'random_depth = None'),
        ({'modes': ('oracle',)}, r'tolerance = \[\]: expected one or more numbers'),
        ({'modes': ('oracle',), 'tolerances': (-1.0,)}, 'tolerance = -1.0'),
        ({'modes': ('oracle',), 'tolerances': (0.1,)}, "latency = 'measured'"),
        ({'modes': ('deer',)}, r'deer_ratio = \[\]: expected one or more numbers'),
        ({'modes': ('deer',), 'deer_ratios': (0.0,)}, 'deer_ratio = 0.0'),
        ({'exit_layers': (3,)}, r'exit_layer = \[3\]: expected none without the mode fixed'),
    ],
)
def test_wrong_options_are_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateOptions(**changes)


def test_the_command_writes_its_report(bundle, tmp_path, capsys):
    code = main([
        'evaluate', '--engine', str(bundle), '--modes', 'full', '--episodes', '1',
        '--families', 'push', '--time-limit', '1', '--latency', 'zero',
        '--json', str(tmp_path / 'out.json'),
    ])  # fmt: skip
    assert code == 0
    document = json.loads((tmp_path / 'out.json').read_text())
    assert document['modes']['full']['families']['push']['episodes'] == 1


def test_a_fixed_exit_is_not_compared_with_itself_in_a_second_column():
    pair = {'loss': 0.0, 'low': -0.1, 'high': 0.1, 'backbone_time_ratio': 1.0, 'speed_up': 1.0,
            'speed_up_ceiling': 1.0}  # fmt: skip
    document = {'modes': {'fixed 8': {}, 'auto': {}}, 'paired': {'auto': pair},
                'paired_fixed': {'reference': 'fixed 8', 'rows': {'auto': pair}}}  # fmt: skip
    table = _paired_table(document)
    assert [column.header for column in table.columns].count('lost') == 1
    assert table.title == 'points lost to fixed 8; times against fixed 8'


@pytest.mark.slow
def test_the_tables_fit_a_terminal_of_eighty_columns(bundle, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    words = ['evaluate', '--engine', str(bundle), '--episodes', '1', '--time-limit', '1',
             '--latency', 'zero', '--modes', 'full', 'no_pre_skip', 'static_only', 'fixed',
             'oracle', '--exit-layer', '10', '--tolerance', '0.0625']  # fmt: skip
    assert main(words) == 0
    text = capsys.readouterr().out
    assert 'points lost to full, then to fixed 10' in text and 'oracle 0.0625' in text
    assert '…' not in text and max(map(len, text.splitlines())) <= 80


def test_a_wrong_latency_is_refused(bundle, capsys):
    assert main(['evaluate', '--engine', str(bundle), '--latency', 'soon']) == 2
    assert "latency = 'soon'" in capsys.readouterr().err


@pytest.mark.parametrize('mode', ['static_only', 'no_pre_skip', 'verified 0.1,unanswered=0.05'])
def test_the_tables_of_a_slow_machine_fit_eighty_columns_and_cut_no_number(mode):
    family = {'success_rate': 1.0}
    row = {
        'success_rate': 1.0, 'success_interval': [0.34, 1.0], 'layers_run_mean': 12.34,
        'families': dict.fromkeys(FAMILIES, family), 'critical_over_free': 1.73,
        'controllers_mean': 13.6, 'rerun_rate': 0.25, 'pass_ms': {'mean': 1234.5},
    }  # fmt: skip
    lost = {'loss': 1.0, 'low': -0.193, 'high': 1.0, 'backbone_time_ratio': 0.62,
            'speed_up': 11.33, 'speed_up_ceiling': 12.07}  # fmt: skip
    document = {
        'bundle': 'bundled model', 'episodes_per_family': 1, 'modes': {'auto': row, mode: row},
        'paired': {mode: lost}, 'paired_fixed': None,
    }  # fmt: skip
    text = io.StringIO()
    console = Console(file=text, width=80)
    for table in (_table(document), _paired_table(document)):
        console.print(table)
    assert '\u2026' not in text.getvalue() and '1234.5' in text.getvalue(), text.getvalue()
