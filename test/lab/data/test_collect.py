"""Collection in real physics: seeded, resumable, with corrections of a policy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.collect import STAGING, CollectSettings, _player, collect
from dysl_vla_ros.lab.data.contract import contract
from dysl_vla_ros.lab.data.correction import correction_episode
from dysl_vla_ros.lab.data.dataset_format import OURS
from dysl_vla_ros.lab.data.dataset_reader import load_dataset
from dysl_vla_ros.lab.learn.closed_loop import Answer, Timing, following
from dysl_vla_ros.lab.worlds.cell import Cell, EpisodeSpec
from dysl_vla_ros.sim.expert import expert_action

FEW = CollectSettings(episodes=3, per_file=2, keep=0.05, label_goals=2)

KILLED = """
import os, signal, sys
from pathlib import Path
from dysl_vla_ros.lab.data.collect import CollectSettings, collect

def kill(done, total):
    if done == 1:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == '__main__':
    settings = CollectSettings(episodes=3, per_file=2, keep=0.05, label_goals=2)
    collect(Path(sys.argv[1]), settings, kill)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('collected') / 'data'
    assert collect(folder, FEW) == 3
    return folder


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_labels_are_clean_where_what_was_played_is_disturbed(folder):
    table = pq.read_table(folder / 'data/chunk-000/file-000.parquet')
    action, played = (np.array(table[n].to_pylist()) for n in ('action', 'played_action'))
    assert np.abs(action[:, :6] - played[:, :6]).max() > 1e-3
    data = load_dataset(folder, contract())
    assert data.own.sum() > 0.9 * data.frames
    # The first action of the chunk for the episode's own goal is the expert's action.
    rows = np.flatnonzero(data.own & (data.frame < len(table)))
    np.testing.assert_allclose(data.chunk[rows, 0], action[data.frame[rows]], atol=1e-6)


def test_frames_left_out_show_in_the_time_stamps(folder):
    table = pq.read_table(folder / 'data/chunk-000/file-000.parquet')
    number = np.array(table['frame_index'].to_pylist())
    np.testing.assert_allclose(table['timestamp'].to_numpy(), number / 20, atol=1e-5)
    first = number[np.array(table['episode_index'].to_pylist()) == 0]
    assert (np.diff(first) > 0).all() and np.diff(first).max() > 1


def test_families_take_turns_and_every_seed_is_recorded(folder):
    rows = [r for p in sorted((folder / 'meta/episodes').glob('*/*'))
            for r in pq.read_table(p).to_pylist()]  # fmt: skip
    assert [row['seed'] for row in rows] == [10_000_000, 10_000_001, 10_000_002]
    assert len({row['family'] for row in rows}) == 3
    assert all(row['source'] == 'expert' for row in rows)


def test_a_collection_that_was_killed_goes_on_and_gives_the_same_dataset(folder, tmp_path):
    again = tmp_path / 'data'
    child = subprocess.Popen([sys.executable, '-c', KILLED, str(again)], start_new_session=True)
    assert child.wait() == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # its workers
    before = finished(again)
    assert 1 <= before < 3
    (again / STAGING).mkdir(exist_ok=True)
    (again / STAGING / '.episode-000002.parquet.4711').write_bytes(b'half')  # killed in a write
    steps = []
    assert collect(again, FEW, lambda done, total: steps.append(done)) == 3
    # What was finished is not played again.
    assert steps[0] == before
    ours, wanted = files(again), files(folder)
    assert ours.keys() == wanted.keys()
    assert [str(path) for path in ours if ours[path] != wanted[path]] == []


def finished(folder):
    """Episodes that an interruption at this moment keeps."""
    try:
        joined = json.loads((folder / 'meta/info.json').read_text())['total_episodes']
    except FileNotFoundError:
        joined = 0
    # One that was joined a moment ago may still lie there too.
    staged = [int(p.stem.split('-')[1]) for p in (folder / STAGING).glob('episode-*.parquet')]
    return joined + sum(number >= joined for number in staged)


def test_other_settings_in_the_same_folder_are_refused(folder):
    other = CollectSettings(episodes=4, per_file=2, keep=0.5, label_goals=2)
    with pytest.raises(ConfigError, match=r'collection.*another folder'):
        collect(folder, other)


def test_a_policy_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"collect\.policy = '/nowhere'"):
        CollectSettings(episodes=1, policy='/nowhere')


class Upwards:
    """A policy that always lifts the arm a little, and counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, images, joints, instructions):
        self.asked += 1
        chunk = np.zeros((1, 8, 7), np.float32)
        chunk[..., 2] = 0.002 * self.asked
        return Answer(chunk, np.zeros(1))


def test_a_policy_plays_and_the_expert_corrects_it():
    cell, policy = Cell(), Upwards()
    spec = EpisodeSpec(5, 'pick', max_actions=10)
    frames = []
    for frame in correction_episode(cell, spec, policy, Timing(4, 1), 2,
                                    np.random.default_rng(0)):  # fmt: skip
        state = cell.world.expert_state((cell.tracker.position, cell.tracker.rotation))
        np.testing.assert_allclose(
            frame.action, expert_action(state, cell.episode.goal).astype(np.float32)
        )
        frames.append(frame)
    assert [frame.number for frame in frames] == list(range(10))
    # A chunk every four actions; each takes over one action late, after the first.
    np.testing.assert_allclose([f.played[2] for f in frames],
                               0.002 * np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 3]))  # fmt: skip
    assert policy.asked == 3
    assert all(f.labels.own.any() for f in frames)


def test_a_new_chunk_takes_over_at_the_action_that_is_due():
    old, new = np.arange(8)[:, None], 100 + np.arange(8)[:, None]
    assert [int(a[0]) for a in following(old, new, Timing(4, 2))] == [4, 5, 102, 103]
    assert [int(a[0]) for a in following(None, new, Timing(4, 2))] == [100, 101, 102, 103]


def with_a_finished_episode(folder, settings):
    """Played as far as one episode, which is not joined yet."""

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(folder, settings, stop)
    assert list((folder / STAGING).glob('episode-*'))


def test_episodes_that_wait_to_be_joined_are_not_mixed_with_those_of_other_seeds(tmp_path):
    begun = replace(FEW, episodes=4, per_file=4)
    with_a_finished_episode(tmp_path / 'data', begun)
    before = files(tmp_path / 'data')
    with pytest.raises(
        ConfigError, match=r'collection\.first_seed = 900: expected 10000000, with'
    ):
        collect(tmp_path / 'data', replace(begun, first_seed=900))
    assert files(tmp_path / 'data') == before
    assert collect(tmp_path / 'data', replace(begun, episodes=2)) == 2, 'fewer are no others'


def test_corrections_of_a_policy_that_was_trained_again_are_refused(tmp_path):
    policy = tmp_path / 'policy.safetensors'
    policy.write_bytes(b'one')
    described = replace(FEW, policy=str(policy))
    first = _player(tmp_path / 'data', described)
    policy.write_bytes(b'another')
    assert first != _player(tmp_path / 'data', described) and first['player']
    (tmp_path / 'data' / 'meta').mkdir(parents=True)
    (tmp_path / 'data' / OURS).write_text('{"format": "begun before this was noted"}')
    assert _player(tmp_path / 'data', described) == {}
