"""Recordings: what was executed of each chunk, from the loop's counters and from a bag."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.guidance.bag import read_bag
from dysl_vla_ros.lab.guidance.recordings import AcceptedChunk, check_recording, episodes_of


def chunk(number: int) -> np.ndarray:
    return np.arange(16.0).reshape(8, 2) / 100 + number


def test_what_was_executed_is_the_difference_of_the_counters():
    chunks = [AcceptedChunk(0, chunk(0), 0, 0), AcceptedChunk(0, chunk(1), 2, 5),
              AcceptedChunk(0, chunk(2), 1, 8)]  # fmt: skip
    (episode,) = episodes_of(chunks, counter=10)
    assert [entry.played for entry in episode] == [5, 3, 2]
    np.testing.assert_array_equal(episode[1].chunk, chunk(1)[2:])


def test_a_new_epoch_and_a_hold_end_a_run_of_motion():
    chunks = [AcceptedChunk(0, chunk(0), 0, 0), AcceptedChunk(1, chunk(1), 0, 3),
              AcceptedChunk(1, chunk(2), 0, 11)]  # fmt: skip
    runs = episodes_of(chunks)
    # The second chunk was played to its end: the arm held before the third.
    assert [[entry.played for entry in run] for run in runs] == [[3], [8], [0]]


def test_an_episode_without_a_chunk_is_no_run_of_motion():
    assert episodes_of([], counter=0) == []


def test_nothing_played_is_refused():
    with pytest.raises(ConfigError, match='1 chunks, 0 actions played'):
        check_recording(episodes_of([AcceptedChunk(0, chunk(0), 0, 0)]), 2, 'bag')


def test_another_policys_recording_is_refused():
    runs = episodes_of([AcceptedChunk(0, chunk(0), 0, 0), AcceptedChunk(0, chunk(1), 0, 5)], 9)
    with pytest.raises(ConfigError, match='chunks of 7 numbers per action'):
        check_recording(runs, 7, 'bag')


STORE = get_typestore(Stores.ROS2_JAZZY)
STATUS = STORE.types['diagnostic_msgs/msg/DiagnosticStatus']
VALUE = STORE.types['diagnostic_msgs/msg/KeyValue']


def values(number: int, counter: int, dropped: int = 0, **changes: str) -> dict[str, str]:
    rows = '; '.join(' '.join(f'{v:.5f}' for v in row) for row in chunk(number))
    return {
        'outcome': 'accepted', 'epoch': '3', 'actions_played': str(counter),
        'continuity': ' '.join(['n/a'] * (8 - dropped)), 'displacements': rows,
        'scores': '1:0.250 2:0.750', **changes,
    }  # fmt: skip


def write_bag(path, messages, topic='/vla_node/chunk_info'):
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection(topic, STATUS.__msgtype__, typestore=STORE)
        other = bag.add_connection('/other', 'std_msgs/msg/Float64', typestore=STORE)
        for stamp, entry in enumerate(messages, start=1):
            status = STATUS(level=0, name='chunk', message='', hardware_id='',
                            values=[VALUE(key=k, value=v) for k, v in entry.items()])  # fmt: skip
            bag.write(connection, stamp, STORE.serialize_cdr(status, STATUS.__msgtype__))
            number = STORE.types['std_msgs/msg/Float64'](data=1.0)
            bag.write(other, stamp, STORE.serialize_cdr(number, 'std_msgs/msg/Float64'))
    return path


@pytest.mark.parametrize('bare', [False, True])
def test_a_bag_gives_the_accepted_chunks_in_order(tmp_path, bare):
    refused = {'outcome': 'refused', 'reason': 'too late'}
    folder = write_bag(tmp_path / 'bag', [
        values(0, 0), refused, values(1, 4, dropped=1, outcome='re-run'), values(1, 5, dropped=1),
    ])  # fmt: skip
    path = next(folder.glob('*.mcap')) if bare else folder
    found = read_bag(path)
    assert [(c.epoch, c.dropped, c.counter) for c in found] == [(3, 0, 0), (3, 1, 5)]
    np.testing.assert_allclose(found[1].displacements, chunk(1), atol=1e-5)
    assert found[1].scores == {1: 0.25, 2: 0.75}


def test_a_bag_of_an_older_node_says_what_is_missing(tmp_path):
    old = values(0, 0)
    del old['displacements']
    path = write_bag(tmp_path / 'bag', [old])
    with pytest.raises(ConfigError, match=r'chunk_info\[0\]\.displacements.*record with'):
        read_bag(path)


def test_a_bag_without_the_topic_names_those_it_has(tmp_path):
    path = write_bag(tmp_path / 'bag', [values(0, 0)], topic='/elsewhere')
    with pytest.raises(ConfigError, match='/elsewhere'):
        read_bag(path)
    assert len(read_bag(path, '/elsewhere')) == 1


def test_a_bag_of_a_policy_of_other_depth_is_refused(tmp_path):
    path = write_bag(tmp_path / 'bag', [{**values(0, 0), 'layers_total': '20'}])
    assert len(read_bag(path, layers=20)) == 1
    with pytest.raises(ConfigError, match='this policy of 6 layers: that one has 20'):
        read_bag(path, layers=6)
    older = write_bag(tmp_path / 'older', [values(0, 0)])
    assert len(read_bag(older, layers=6)) == 1, 'one that does not tell is taken'


def test_a_file_that_is_no_bag_is_refused(tmp_path):
    path = tmp_path / 'notes.mcap'
    path.write_text('not a bag')
    with pytest.raises(ConfigError, match='neither MCAP nor sqlite3'):
        read_bag(path)
