"""A policy for the robot of any set: what is guessed of it, what is learnt, what is exported."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_files import write_set

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.cli.robot_set import verdict
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.action_space import follow, guess_space
from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.evaluation.bench_observations import load_observed
from dysl_vla_ros.lab.learn.baselines import LAST, MEAN, NEAREST, baselines
from dysl_vla_ros.lab.learn.robot_policy import Scores, fresh, judge, predict, write_held_out
from dysl_vla_ros.lab.model.checkpoint import load_checkpoint

SO = [f'{name}.pos' for name in ('shoulder_pan', 'shoulder_lift', 'elbow_flex', 'wrist_flex',
                                 'wrist_roll', 'gripper')]  # fmt: skip
TWO_ARMS = {
    'motors': [
        f'{side}_{name}'
        for side in ('left', 'right')
        for name in (
            'waist',
            'shoulder',
            'elbow',
            'forearm_roll',
            'wrist_angle',
            'wrist_rotate',
            'gripper',
        )
    ]
}


def so100(folder, **changes):
    return write_set(folder, **{'state': 6, 'action': 6, 'names': SO, 'fps': 30, 'video': False,
                                'lengths': (16, 17, 14), 'tasks': ('pick up the cube',),
                                **changes})  # fmt: skip


def loaded(folder, **choice):
    data, reading, rows = read_set(str(folder), SetChoice(**choice))
    return reading, load_robot_samples(data, reading, rows)


def test_names_rate_and_gripper_are_those_of_the_set(tmp_path):
    reading, samples = loaded(so100(tmp_path / 'set'))
    assert reading.state.names == tuple(name.removesuffix('.pos') for name in SO)
    assert (reading.state.gripper, reading.action.gripper) == ((5,), (5,))
    assert (reading.horizon, reading.fps) == (15, 30.0)
    assert [camera.name for camera in reading.cameras] == ['front', 'wrist']
    assert samples.held_out.images['front'].shape[1:] == (64, 64, 3)
    assert 0.0 <= samples.training.chunk[..., 5].min() <= samples.training.chunk[..., 5].max() <= 1
    # No frame of a held-out episode is learnt from.
    assert samples.training.frames + samples.held_out.frames == 47
    assert samples.held_out.frames in (16, 17, 14)


def test_two_arms_end_with_an_opening_each(tmp_path):
    folder = so100(tmp_path / 'set', state=14, action=14, names=TWO_ARMS, fps=50)
    reading, _ = loaded(folder)
    assert reading.action.gripper == (6, 13)
    contract = fresh(loaded(folder)[1].training, reading, TOY, 0).robot
    assert len(contract.joint_names) == 12
    assert contract.gripper


TOY = {'layers': 4, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
       'auxiliary_layer': 1}  # fmt: skip


@pytest.mark.parametrize(('lag', 'space'), [(1, 'joint_position'), (0, 'joint_delta')])
def test_absolute_actions_and_increments_are_told_apart_by_what_follows(lag, space):
    random = np.random.default_rng(0)
    states = [np.cumsum(random.normal(size=(60, 3)), axis=0).astype(np.float32) * 0.05
              for _ in range(3)]  # fmt: skip
    actions = [np.concatenate([s[1:], s[-1:]]) if lag else np.diff(s, axis=0, append=s[-1:])
               for s in states]  # fmt: skip
    assert guess_space(follow(states, actions), 'joint', []) == space
    if not lag:
        assert guess_space(follow(states, actions), 'eef', []) == 'eef_delta'


def test_joints_that_actions_move_are_known_by_their_names_and_others_are_left_out(tmp_path):
    folder = so100(tmp_path / 'set')
    info = json.loads((folder / 'meta/info.json').read_text())
    info['features']['observation.state']['names'] = [*SO[:5], 'lift.pos', 'gripper.pos']
    info['features']['observation.state']['shape'] = [7]
    (folder / 'meta/info.json').write_text(json.dumps(info))
    path = folder / 'data/chunk-000/file-000.parquet'
    table = pq.read_table(path)
    wider = pa.array(
        [[*row[:5], 0.1, row[5]] for row in table['observation.state'].to_pylist()],
        pa.list_(pa.float32()),
    )
    place = table.column_names.index('observation.state')
    pq.write_table(table.set_column(place, 'observation.state', wider), path)
    with pytest.raises(ConfigError, match='lift = .read, and moved by no action'):
        loaded(folder)
    kept = tuple(name.removesuffix('.pos') for name in SO)
    reading, samples = loaded(folder, only=kept)
    assert reading.space.startswith('joint') and reading.state.names == kept
    assert samples.training.proprioception.shape[1] == 6
    assert fresh(samples.training, reading, TOY, 0).robot.gripper


def test_a_hand_of_two_fingers_and_a_command_that_closes_upwards_are_turned_round(tmp_path):
    names = ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper', 'gripper']
    folder = so100(tmp_path / 'set', state=8, action=7, names=names)
    info = json.loads((folder / 'meta/info.json').read_text())
    info['features']['action']['names'] = names[:7]
    (folder / 'meta/info.json').write_text(json.dumps(info))
    path = folder / 'data/chunk-000/file-000.parquet'
    table = pq.read_table(path)
    width = [0.04 * (n % 12 < 6) for n in range(len(table))]
    state = [[*row[:6], w, -w] for row, w in
             zip(table['observation.state'].to_pylist(), width, strict=True)]  # fmt: skip
    # The command goes in front by six frames: -1 opens.
    steps = np.diff([row[:6] for row in state], axis=0, append=[state[-1][:6]]).tolist()
    action = [[*row, 1.0 - 2.0 * (width[min(n + 6, len(width) - 1)] > 0)]
              for n, row in enumerate(steps)]  # fmt: skip
    for name, values in (('observation.state', state), ('action', action)):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, pa.list_(pa.float32())))
    pq.write_table(table, path)
    reading, samples = loaded(folder)
    assert (reading.space, reading.source) == ('eef_delta', 'eef_rpy')
    hand = samples.training.proprioception[:, 6:]
    np.testing.assert_allclose(hand[:, 0], hand[:, 1], atol=1e-5)
    assert any('a larger command closes' in line for line in reading.told)
    assert any('no metres per action' in line for line in reading.told)
    contract = fresh(samples.training, reading, TOY, 0).robot
    assert contract.fingers == ((0.0, 1.0), (0.0, 1.0))
    scaled, _ = loaded(folder, space='eef_delta', action_scale=(0.05,) * 3 + (0.5,) * 3)
    assert scaled.action.gain[:6] == (0.05,) * 3 + (0.5,) * 3


def test_degrees_are_told_from_radians_and_said(tmp_path, monkeypatch):
    folder = so100(tmp_path / 'set')
    plain, _ = loaded(folder)
    assert plain.state.gain[0] == 1.0
    turned, samples = loaded(folder, units='degrees')
    assert turned.state.gain[0] == pytest.approx(np.pi / 180)
    assert np.abs(samples.training.proprioception[:, :5]).max() < 0.01
    from dysl_vla_ros.lab.data import joint_units

    monkeypatch.setattr(joint_units, '_TURN', 0.2)  # the set's numbers reach 0.3
    guessed, _ = loaded(folder)
    assert guessed.state.gain[0] == pytest.approx(np.pi / 180)
    assert any('degrees' in line for line in guessed.told)


def test_an_untrained_policy_of_absolute_joints_stands_still(tmp_path):
    reading, samples = loaded(so100(tmp_path / 'set'))
    checkpoint = fresh(samples.training, reading, TOY, 0)
    network = checkpoint.network.eval()
    import torch

    data = samples.held_out
    found = predict(checkpoint, network, data, np.arange(data.frames), torch.device('cpu'))
    from dysl_vla_ros.lab.data.demonstrations import normalise

    stood = normalise(data.proprioception, checkpoint.statistics.proprioception)
    np.testing.assert_allclose(found, np.broadcast_to(stood[:, None], found.shape), atol=1e-4)


def test_the_baselines_are_what_they_say(tmp_path):
    reading, samples = loaded(so100(tmp_path / 'set'))
    statistics = fresh(samples.training, reading, TOY, 0).statistics
    found = baselines(samples, statistics)
    assert set(found) == {MEAN, LAST, NEAREST}
    own = type(samples)(samples.training, samples.training, samples.training.chunk[:, 0],
                        (0,), (0,))  # fmt: skip
    same = baselines(own, statistics)
    assert same[NEAREST] == 0.0  # of a state that was learnt from
    assert same[MEAN] > 0.0


def test_all_that_a_set_lacks_is_one_list(tmp_path):
    folder = so100(tmp_path / 'set', lengths=(9,))
    with pytest.raises(ConfigError) as caught:
        read_set(str(folder), SetChoice(state=('effort',), cameras=('top',), action='target'))
    text = str(caught.value)
    for words in ("no column 'effort'", '--state COLUMN', "no column 'target'", "picture 'top'",
                  "['front', 'wrist']", 'at least 2'):  # fmt: skip
        assert words in text, text


def test_a_depth_or_a_width_that_cannot_be_is_named_before_the_set_is_read(tmp_path, capsys):
    folder = so100(tmp_path / 'set')
    next((folder / 'data').rglob('*.parquet')).write_bytes(b'never read')
    words = ['train', str(folder), '--out', str(tmp_path / 'out'), '--preset', 'toy']
    for option, value, right in (
        ('--width', '40', 'a multiple of 16'),
        ('--layers', '2', 'at least 3'),
    ):
        assert main([*words, option, value]) == 2
        assert f'{option} = {value}: expected {right}' in capsys.readouterr().err


@pytest.mark.timeout(1800)
def test_from_a_set_to_a_bundle_that_says_what_the_set_said(tmp_path, capsys):
    folder, out = so100(tmp_path / 'set'), tmp_path / 'dense'
    assert main(['train', str(folder), '--out', str(out), '--preset', 'toy']) == 0
    told = capsys.readouterr().out
    for words in ('so101_follower', 'mean chunk', 'last action repeated', 'nearest state',
                  'shuffled pictures', 'joint_position'):  # fmt: skip
        assert words in told
    dense = load_checkpoint(out / 'dense.safetensors')
    assert dense.robot.joint_names[0] == 'shoulder_pan'
    report = json.loads((out / 'report.json').read_text())['held_out']
    assert report['policy'] == pytest.approx(
        judge(dense, loaded(folder)[1], __import__('torch').device('cpu')).policy, abs=2e-3
    )
    assert f'{out / "observations.npz"}: held-out states' in told
    done = tmp_path / 'dysl'
    assert (
        main(
            [
                'distill',
                str(out / 'dense.safetensors'),
                '--dataset',
                str(folder),
                '--out',
                str(done),
                '--preset',
                'toy',
            ]
        )
        == 0
    )
    policy = str(done / 'policy.safetensors')
    assert main(['calibrate', policy]) == 2
    assert 'the set that it was trained on' in capsys.readouterr().err
    assert main(['calibrate', policy, '--dataset', str(folder)]) == 0
    assert main(['export', policy, str(tmp_path / 'bundle'), '--dataset', str(folder)]) == 0
    manifest = open_bundle(tmp_path / 'bundle').manifest
    action = manifest.action
    assert (action.space, action.dim, action.horizon, action.gripper) == (
        'joint_position',
        6,
        15,
        True,
    )
    assert action.period_s == pytest.approx(1 / 30)
    assert [camera.reference for camera in manifest.cameras] != ['', '']
    assert main(['verify', str(tmp_path / 'bundle'), '--against', policy]) == 0
    seen = load_observed(out / 'observations.npz', manifest)
    assert seen.why_not_guided == '', 'passes in turn, of an episode that was not learnt from'
    assert main(['headroom', '--engine', str(tmp_path / 'bundle'), '--observations',
                 str(out / 'observations.npz')]) == 0  # fmt: skip
    assert main(['calibrate', str(tmp_path / 'bundle')]) == 2
    assert 'a recording of the arm that bundle moves (--bag)' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('names', 'hand'), [(SO, 1), (['a.pos', 'b.pos', 'c.pos', 'd.pos', 'gripper', 'gripper'], 2)]
)
def test_held_out_states_are_kept_pass_by_pass_as_the_bundle_reads_them(tmp_path, names, hand):
    reading, samples = loaded(so100(tmp_path / 'set', names=names, lengths=(40, 41, 42)))
    policy = fresh(samples.training, reading, TOY, 0)
    write_held_out(tmp_path / 'observations.npz', policy, samples, reading)
    with np.load(tmp_path / 'observations.npz') as found:
        [episode] = set(found['episode'].tolist())
        assert episode in samples.episodes
        assert np.allclose(np.diff(found['stamp']), 7 / 30), 'half of a chunk of 15 is played'
        rows = np.arange(0, samples.held_out.frames, 7)
        state = samples.held_out.proprioception[rows]
        assert np.array_equal(found['joints'], state[:, : 6 - hand])
        assert np.allclose(found['gripper'], state[:, 6 - hand :].mean(axis=1))
        assert np.array_equal(found['wrist'], samples.held_out.images['wrist'][rows])
        assert set(found['instruction'].tolist()) == {'pick up the cube'}


def test_a_camera_called_as_another_array_is_named(tmp_path):
    reading, samples = loaded(so100(tmp_path / 'set'))
    images = {'gripper': samples.held_out.images['wrist']}
    other = replace(samples, held_out=replace(samples.held_out, images=images))
    with pytest.raises(ConfigError, match=r"observations\.npz = \['gripper'\]: expected another"):
        write_held_out(tmp_path / 'seen.npz', fresh(samples.training, reading, TOY, 0), other,
                       reading)  # fmt: skip


def test_a_baseline_that_is_never_off_is_not_said_to_be_matched():
    words = verdict(Scores(0.084, 0.2, {LAST: 0.0, MEAN: 0.6}))
    assert words == (
        f'ABOVE the best baseline ({LAST}), which is never off in these frames: they tell '
        'little, --held-out takes more episodes'
    )
    assert verdict(Scores(0.3, 0.4, {MEAN: 0.6})) == f'50 % below the best baseline ({MEAN})'
