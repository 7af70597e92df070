"""The bench of skip modes: depth, controllers and re-runs as the control loop would have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.config import EngineConfig, NodeConfig, SkipConfig
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.lab.evaluation import bench_observations
from dysl_vla_ros.lab.evaluation.latency_auto import bench_modes
from dysl_vla_ros.lab.evaluation.observed import GUIDED, in_turn
from dysl_vla_ros.policy import Policy, open_policy


class Words:
    ids = [1]

    def encode(self, text):
        return self


def policy_of(actions, gates=1.0):
    """A policy whose chunks are given, on the layers of the fake bundle."""
    manifest = fake_manifest()
    engine = FakeEngine(
        manifest.layout, manifest.action.horizon, manifest.action.dim, actions=actions,
        gates=dict.fromkeys(manifest.layout.dynamic_layers, gates),
    )  # fmt: skip
    return Policy(engine, manifest, Words())


def smooth(inputs):
    manifest = fake_manifest()
    return np.full((manifest.action.horizon, manifest.action.dim), 0.2)


def with_a_drop(inputs):
    """Still, then a jump in the middle: continuity falls inside the chunk."""
    actions = smooth(inputs)
    actions[len(actions) // 2 :] *= -4.0
    return actions


def observed(policy, count):
    return bench_observations.made_up(policy.manifest, count)


def test_each_mode_runs_the_layers_that_it_says():
    policy = policy_of(smooth)
    layout = policy.manifest.layout
    found = bench_modes(policy, observed(policy, 6))
    segments = sum(first < end for first, end in layout.segments)
    assert found['full']['layers_run_histogram'] == {str(layout.layers_total): 6}
    assert found['full']['controllers_asked_mean'] == 0
    assert found['max_skip']['layers_run_mean'] == len(layout.static_layers)
    assert found['max_skip']['controllers_asked_mean'] == segments
    assert found['auto']['layers_run_mean'] <= layout.layers_total
    assert all(found[mode]['reruns'] == 0 for mode in found)


def test_a_drop_inside_a_skipped_chunk_is_run_again_and_its_layers_count():
    policy = policy_of(with_a_drop)
    layout = policy.manifest.layout
    found = bench_modes(policy, observed(policy, 1))['max_skip']
    first = next(first for first, end in layout.segments if first < end)
    assert found['reruns'] == 1 and found['rerun_rate'] == 1.0
    assert found['layers_run_mean'] == len(layout.static_layers) + layout.layers_total - first


def test_a_fixed_exit_is_benched_where_one_is_known_and_never_run_again():
    policy = policy_of(with_a_drop)
    assert 'fixed' not in bench_modes(policy, observed(policy, 1))
    named = NodeConfig(skip=SkipConfig(exit_layer=6))
    found = bench_modes(policy, observed(policy, 2), config=named)['fixed']
    assert found['layers_run_mean'] == 7 and found['controllers_asked_mean'] == 0
    assert found['reruns'] == 0


def test_exits_by_instruction_are_benched_where_the_bundle_names_them():
    policy = policy_of(with_a_drop)
    words = observed(policy, 1)[0].instruction
    named = replace(policy.manifest.calibration, exit_by_instruction={words: 3})
    policy.manifest = replace(policy.manifest, calibration=named)
    found = bench_modes(policy, observed(policy, 2))['by_instruction']
    assert found['layers_run_mean'] == 4 and found['reruns'] == 0


def test_closed_controllers_skip_nothing_and_need_no_rerun():
    policy = policy_of(with_a_drop, gates=0.0)
    found = bench_modes(policy, observed(policy, 2))['max_skip']
    assert found['depth'] == 1.0 and found['reruns'] == 0


def test_latency_includes_the_rerun_and_speed_up_is_against_full():
    policy = policy_of(with_a_drop)
    calls = policy.engine.calls
    found = bench_modes(
        policy, observed(policy, 1), clock=lambda: float(sum(c[0] == 'layer' for c in calls))
    )
    for report in found.values():
        assert report['latency']['p50'] == pytest.approx(1e3 * report['layers_run_mean'])
    assert found['max_skip']['speed_up'] == pytest.approx(
        found['full']['layers_run_mean'] / found['max_skip']['layers_run_mean']
    )


def test_a_new_round_begins_at_rest():
    policy = policy_of(smooth)
    total = policy.manifest.layers_total
    level = replace(NodeConfig(), skip=replace(NodeConfig().skip, rule='level'))
    on = bench_modes(policy, observed(policy, 4), config=level)['auto']
    anew = bench_modes(policy, observed(policy, 1), rounds=4, config=level)['auto']
    assert on['chunks'] == anew['chunks'] == 4
    assert on['layers_run_mean'] < total  # it gets going
    assert anew['layers_run_histogram'] == {str(total): 4}  # the first pass at rest is full


@pytest.mark.parametrize('otherwise', [
    {'instruction': 'push it'}, {'stamp': -1.0}, {'stamp': 9.0},
])  # fmt: skip
def test_a_pass_after_other_words_an_earlier_time_or_a_gap_begins_at_rest(otherwise):
    policy = policy_of(smooth)
    total = policy.manifest.layers_total
    level = replace(NodeConfig(), skip=replace(NodeConfig().skip, rule='level'))
    one, two, three = observed(policy, 3)
    going = bench_modes(policy, [one, two, three], config=level)['auto']
    assert going['layers_run_histogram'][str(total)] == 1, 'the first pass alone'
    broken = bench_modes(policy, [one, two, replace(three, **otherwise)], config=level)['auto']
    assert broken['layers_run_histogram'][str(total)] == 2


def test_a_state_of_each_of_twelve_episodes_is_no_run_that_guided_depth_could_be_measured_on():
    policy = policy_of(smooth)
    spread = [replace(one, instruction=f'pick up cube {number}')
              for number, one in enumerate(observed(policy, 12))]  # fmt: skip
    found = in_turn(spread, policy.manifest)
    assert not any(found.follows) and len(set(found.episodes)) == 12
    assert '0 of 12 observations are of the pass after the one before' in found.why_not_guided
    assert 'stamp (n,) in seconds and episode (n,)' in found.why_not_guided
    assert in_turn(observed(policy, 12), policy.manifest).why_not_guided == ''
    assert set(bench_modes(policy, spread, without=GUIDED)) == {'full'}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=5)
    return open_policy(EngineConfig(path=str(folder), warmup_runs=0))


def recording(policy, count):
    return {
        'image': np.zeros((count, 120, 120, 3), np.uint8),
        'joints': np.zeros((count, 6)),
        'gripper': np.ones(count),
        'instruction': np.array('push the red cube left'),
    }


def test_recorded_observations_are_read(tiny, tmp_path):
    np.savez(tmp_path / 'seen.npz', **recording(tiny, 3))
    found = bench_observations.load_recorded(tmp_path / 'seen.npz', tiny.manifest)
    assert len(found) == 3 and found[2].instruction == 'push the red cube left'
    assert tiny.prepare(found[0])['image'].shape == (1, 3, 96, 96)


def test_a_file_tells_by_stamp_and_episode_which_passes_are_in_turn(tiny, tmp_path):
    lasts = tiny.manifest.action.horizon * tiny.manifest.action.period_s
    when = {'stamp': np.array([0.0, 0.5, 0.6, 1.0, 9.0]) * lasts}
    arrays = recording(tiny, 5) | when | {'episode': np.array([3, 3, 8, 8, 8])}
    np.savez(tmp_path / 'seen.npz', **arrays)
    found = bench_observations.load_observed(tmp_path / 'seen.npz', tiny.manifest)
    assert found.follows == (False, True, False, True, False) and not found.assumed
    assert found.episodes == (0, 0, 1, 1, 1)


def test_a_file_of_before_is_read_and_its_rows_of_the_same_words_are_taken_in_turn(tiny, tmp_path):
    words = np.array(['push it', 'push it', 'lift it', 'lift it'])
    np.savez(tmp_path / 'seen.npz', **(recording(tiny, 4) | {'instruction': words}))
    found = bench_observations.load_observed(tmp_path / 'seen.npz', tiny.manifest)
    assert found.follows == (False, True, False, True) and found.assumed


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'gripper': None}, r"expected \['gripper'\] too"),
        ({'image': np.zeros((0, 9, 9, 3), np.uint8)}, 'seen.npz: image has no rows'),
        ({'joints': np.zeros((2, 6))}, 'joints has 2 rows: expected 3, as the pictures image'),
        ({'joints': np.zeros((3, 5))}, r'joints is of shape \(3, 5\): expected \(3, 6\)'),
        ({'gripper': np.ones((3, 2))}, r'gripper is of shape \(3, 2\): expected \(3,\)'),
        ({'gripper': np.array(['a'] * 3)}, 'gripper is of .*: expected numbers'),
        ({'stamp': np.zeros(2)}, 'stamp has 2 rows: expected 3'),
        ({'stamp': np.array([0, np.nan, 1])}, r'stamp\[1\] = nan: expected a finite number'),
        ({'instruction': np.array(['a', 'b'])}, 'npz: instruction has 2 rows: expected 3, as the'),
        ({'joints': np.where(np.eye(3, 6, 2), np.nan, 0)}, r'npz: joints\[0, 2\] = nan: expected'),
        ({'joints': np.eye(3, 6) * 180}, r'joints\[0, 0\] = 180: expected within 100 rad or m'),
        ({'gripper': np.array([0, 1, 7])}, r'npz: gripper\[2\] = 7: expected a measured opening'),
        ({'gripper': np.array([-1.3, 1, 0])}, r'gripper\[0\] = -1.3: expected a measured'),
        ({'instruction': np.array([{}], dtype=object)}, 'plain arrays'),
    ],
)
def test_a_wrong_recording_is_explained(tiny, tmp_path, change, words):
    arrays = {k: v for k, v in {**recording(tiny, 3), **change}.items() if v is not None}
    np.savez(tmp_path / 'seen.npz', **arrays)
    with pytest.raises(InputError, match=words):
        bench_observations.load_recorded(tmp_path / 'seen.npz', tiny.manifest)


def test_nobody_is_advised_to_unpickle_what_is_no_recording(tiny, tmp_path):
    path = tmp_path / 'notes.npz'
    path.write_text('notes')
    with pytest.raises(
        InputError, match='not a .npz file: expected one of plain arrays'
    ) as caught:
        bench_observations.load_recorded(path, tiny.manifest)
    assert 'pickle' not in str(caught.value)


def test_a_missing_recording_is_named(tiny, tmp_path):
    with pytest.raises(InputError, match='nowhere.npz'):
        bench_observations.load_recorded(tmp_path / 'nowhere.npz', tiny.manifest)


def test_the_simulator_gives_what_the_bundle_of_its_arm_sees(tiny):
    found = bench_observations.simulated(tiny.manifest, 3)
    assert found is not None and len(found) == 3
    assert found[0].images['image'].shape == (96, 96, 3)
    assert found[1].stamp > found[0].stamp


def test_the_simulator_is_not_used_for_another_robot(tmp_path):
    folder = write_tiny_bundle(tmp_path, layers=3, joint_names=('a', 'b', 'c', 'd', 'e', 'f'))
    policy = open_policy(EngineConfig(path=str(folder), warmup_runs=0))
    assert bench_observations.simulated(policy.manifest, 1) is None
    assert policy.predict(
        bench_observations.made_up(policy.manifest, 1)[0], policy.manifest.layout.full_plan()
    ).normalised.shape == (8, 7)
