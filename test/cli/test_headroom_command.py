"""``dysl headroom`` on a tiny bundle: in the simulated world, and on recorded observations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.evaluation import evaluate as module
from dysl_vla_ros.lab.evaluation.choice import default_exits

LAYERS = 6


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=LAYERS)


def simulated(folder, path):
    return ['headroom', '--engine', str(folder), '--episodes', '1', '--families', 'pick',
            '--time-limit', '1', '--tolerance', '0.01', '10', '--json', str(path)]  # fmt: skip


def test_in_the_simulated_world_it_reports_states_rows_and_a_verdict(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv('COLUMNS', '80')
    path = tmp_path / 'out.json'
    assert main(simulated(folder, path)) == 0
    text, document = capsys.readouterr().out, json.loads(path.read_text())
    assert '…' not in text and max(map(len, text.splitlines())) <= 80
    assert 'oracle: mean layers' in text and 'train: ' in text and 'heldout_objects: ' in text
    for split in ('train', 'heldout_objects'):
        rows = document['closed_loop'][split]['rows']
        assert list(rows) == ['oracle 0', 'fixed 1', 'fixed 2', 'fixed 3', 'oracle 0.01',
                              'oracle 10']  # fmt: skip
        assert rows['oracle 10']['layers_run_mean'] == 2
        assert rows['fixed 3']['layers_run_mean'] == 4
    assert set(document['offline']['groups']) == {'phase', 'task', 'distance', 'split'}
    states = document['offline']['groups']['split']
    assert sum(one['states'] for one in states.values()) == document['offline']['states'] > 2


@pytest.mark.slow
def test_what_was_played_is_kept_beside_the_report_and_not_played_again(
    folder, tmp_path, monkeypatch, capsys
):
    path = tmp_path / 'out.json'
    assert main(simulated(folder, path)) == 0
    first = json.loads(path.read_text())
    monkeypatch.setattr(module, 'run_all', lambda *args: pytest.fail('played again'))
    assert main(simulated(folder, path)) == 0
    second = json.loads(path.read_text())
    assert {**first, 'seconds': 0} == {**second, 'seconds': 0}


def test_an_interruption_says_what_is_kept_and_where(folder, tmp_path, monkeypatch, capsys):
    def broken_off(options, jobs):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(module, 'run_all', broken_off)
    assert main(simulated(folder, tmp_path / 'out.json')) == 130
    text = ''.join(capsys.readouterr().out.split('\n'))
    assert '0 of 12 episodes are kept' in text and 'out.episodes.jsonl' in text


def recorded(path, count=4, episodes=0):
    told = {'episode': np.arange(count) * episodes // count} if episodes else {}
    last = 'pick up the red cube' if episodes else 'push the blue cube left'
    generator = np.random.default_rng(2)
    np.savez(
        path, image=generator.integers(0, 256, (count, 96, 96, 3), np.uint8),
        joints=generator.uniform(-1, 1, (count, 6)), gripper=np.ones(count),
        instruction=np.array(['pick up the red cube'] * (count - 1) + [last]), **told,
    )  # fmt: skip


def test_on_recorded_observations_it_reports_the_states_by_instruction(folder, tmp_path, capsys):
    recorded(tmp_path / 'seen.npz')
    out = tmp_path / 'out.json'
    words = ['headroom', '--engine', str(folder), '--observations', str(tmp_path / 'seen.npz')]
    assert main([*words, '--json', str(out)]) == 0
    document = json.loads(out.read_text())
    assert 'closed_loop' not in document and document['offline']['states'] == 4
    tasks = document['offline']['groups']['task']
    assert tasks['pick up the red cube']['states'] == 3
    assert 'what an error does to success is not known' in capsys.readouterr().out


def test_beside_recorded_observations_what_is_of_episodes_is_refused(folder, tmp_path, capsys):
    recorded(tmp_path / 'seen.npz')
    words = ['headroom', '--engine', str(folder), '--observations', str(tmp_path / 'seen.npz')]
    for option, value in (('--exit-layer', '2'), ('--episodes', '5'), ('--families', 'pick')):
        assert main([*words, option, value]) == 2
        assert (
            f"{option} = '{value}': expected to be left away beside --obs"
            in capsys.readouterr().err
        )


@pytest.mark.parametrize(
    ('made', 'said'),
    [('meta', 'this is a LeRobot set'), ('x', 'this is a folder without a recording')],
)
def test_a_folder_that_is_no_recording_is_named_with_the_option_that_was_given(
    made, said, folder, tmp_path, capsys
):
    (tmp_path / 'seen' / made).mkdir(parents=True)
    words = ['--observations', str(tmp_path / 'seen')]
    assert main(['headroom', '--engine', str(folder), *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith('dysl headroom: --observations = ') and said in told


def gate(folder, *words):
    return ['headroom', '--engine', str(folder), '--gate', '60', *map(str, words)]


def test_a_gate_tries_exits_from_shallow_to_deep_whatever_order_they_are_named_in(
    folder, tmp_path, capsys
):
    recorded(tmp_path / 'seen.npz', 60, episodes=6)
    found = []
    for layers in (('2', '3', '4'), ('4', '3', '2')):
        words = ['--observations', tmp_path / 'seen.npz', '--json', tmp_path / 'out.json']
        assert main(gate(folder, *words, '--exit-layer', *layers)) == 0
        found.append(json.loads((tmp_path / 'out.json').read_text())['gate'])
    assert found[0] == found[1] and max(one['layers'] for one in found[1]) <= 4 + 3
    assert '30 states that the gate was not fitted to' in capsys.readouterr().out


def test_a_gate_on_states_of_one_episode_or_with_an_exit_that_is_not_there_is_refused(
    folder, tmp_path, capsys
):
    recorded(tmp_path / 'seen.npz', 60, episodes=1)
    assert main(gate(folder, '--observations', tmp_path / 'seen.npz')) == 2
    assert 'states of two episodes or more' in capsys.readouterr().err
    recorded(tmp_path / 'few.npz', 24, episodes=2)
    assert main(gate(folder, '--observations', tmp_path / 'few.npz')) == 2
    told = capsys.readouterr().err
    assert '--gate = 60: expected so many that 20 or more are fitted to' in told
    assert '24 states are there, 12 of them before' in told
    assert main(gate(folder, '--exit-layer', 2, 9)) == 2
    assert '--exit-layer = 9: expected layers within [1, 4]' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--tolerance', '0'], "--tolerance = '0': expected a number above 0"),
        (['--tolerance', *'1234567'], '--tolerance = .*: expected 1 to 6 numbers'),
        (['--latency', 'measured'], "latency = 'measured'"),
        (['--exit-layer', '9'], r'skip.exit_layer = 9: expected within \[1, 4\]'),
    ],
)
def test_a_wrong_option_is_explained_in_one_line(folder, capsys, words, message):
    import re

    assert main(['headroom', '--engine', str(folder), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_bundle_for_another_arm_needs_recorded_observations(tmp_path, capsys):
    other = tiny_bundle.write_tiny_bundle(
        tmp_path / 'other', layers=LAYERS, joint_names=tuple('abcdef')
    )
    assert main(['headroom', '--engine', str(other)]) == 2
    assert '--observations FILE with what your own robot saw' in capsys.readouterr().err


def test_by_default_the_exits_from_a_quarter_to_half_the_depth_are_tried():
    assert list(default_exits(20)) == [5, 6, 7, 8, 9, 10]
    assert list(default_exits(3)) == [1]
