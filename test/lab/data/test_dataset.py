"""What is written is what LeRobot's published conventions say, and comes back unchanged."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_dataset
from PIL import Image

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.contract import contract
from dysl_vla_ros.lab.data.dataset_reader import Thinning, load_dataset


@pytest.fixture
def folder(tmp_path):
    return tiny_dataset.write_dataset(tmp_path / 'data')


def read_by_convention(folder):
    """LeRobotDataset v3.0 read from its documentation alone: nothing of this package."""
    info = json.loads((folder / 'meta/info.json').read_text())
    episodes = pa.concat_tables(
        [pq.read_table(p) for p in sorted((folder / 'meta/episodes').glob('*/*.parquet'))]
    ).to_pylist()
    frames = {}
    for entry in episodes:
        path = folder / info['data_path'].format(
            chunk_index=entry['data/chunk_index'], file_index=entry['data/file_index']
        )
        for row in pq.read_table(path).to_pylist():
            frames[row['index']] = row
    tasks = pq.read_table(folder / 'meta/tasks.parquet')
    pandas = json.loads(tasks.schema.metadata[b'pandas'])
    (index,) = pandas['index_columns']
    return info, episodes, frames, dict(zip(
        tasks['task_index'].to_pylist(), tasks[index].to_pylist(), strict=True))  # fmt: skip


def test_a_reader_that_knows_only_the_convention_finds_every_frame(folder):
    info, episodes, frames, tasks = read_by_convention(folder)
    assert info['codebase_version'] == 'v3.0'
    assert info['fps'] == 20
    assert info['total_episodes'] == len(episodes) == 3
    assert info['total_frames'] == len(frames) == 5 + 6 + 7
    assert info['total_tasks'] == len(tasks) == 2
    assert info['splits'] == {'train': '0:3'}
    assert info['video_path'] is None
    assert sorted(frames) == list(range(18))
    for number, entry in enumerate(episodes):
        assert entry['episode_index'] == number
        rows = [frames[i] for i in range(entry['dataset_from_index'], entry['dataset_to_index'])]
        assert len(rows) == entry['length']
        assert {row['episode_index'] for row in rows} == {number}
        assert {tasks[row['task_index']] for row in rows} == set(entry['tasks'])
        wanted = tiny_dataset.episode(number, entry['length'])
        for row, frame in zip(rows, wanted, strict=True):
            assert row['frame_index'] == frame.number
            assert row['timestamp'] == pytest.approx(frame.number / info['fps'], abs=1e-6)
            np.testing.assert_array_equal(np.float32(row['action']), frame.action)
            np.testing.assert_array_equal(np.float32(row['observation.state']), frame.state)
            picture = Image.open(io.BytesIO(row['observation.images.image']['bytes']))
            np.testing.assert_array_equal(np.asarray(picture), frame.images['image'])


def test_every_column_has_the_shape_that_the_description_says(folder):
    info, _, frames, _ = read_by_convention(folder)
    for name, feature in info['features'].items():
        value = frames[0][name]
        if feature['dtype'] == 'image':
            assert np.asarray(Image.open(io.BytesIO(value['bytes']))).shape == tuple(
                feature['shape'])  # fmt: skip
        elif feature['shape'] == [1]:
            assert not isinstance(value, list)
        else:
            assert np.array(value).shape == tuple(feature['shape'])
    assert set(info['features']) == set(frames[0])
    ours = [n for n in info['features'] if n.startswith(('label.', 'played', 'phase'))]
    assert not any(name.startswith(('observation', 'action')) for name in ours)


def test_statistics_are_those_of_all_frames(folder):
    _, episodes, frames, _ = read_by_convention(folder)
    stats = json.loads((folder / 'meta/stats.json').read_text())
    actions = np.array([frames[i]['action'] for i in sorted(frames)])
    for name, wanted in (('mean', actions.mean(0)), ('std', actions.std(0)),
                         ('min', actions.min(0)), ('max', actions.max(0))):  # fmt: skip
        np.testing.assert_allclose(stats['action'][name], wanted, atol=1e-7)
    assert stats['action']['count'] == [18]
    assert np.array(stats['observation.images.image']['mean']).shape == (3, 1, 1)
    assert 0.4 < np.mean(stats['observation.images.image']['mean']) < 0.6
    assert episodes[1]['stats/index/min'] == [5.0]


def test_loading_gives_back_frames_and_labels_bit_for_bit(folder):
    data = load_dataset(folder, contract())
    frames = [f for n in range(3) for f in tiny_dataset.episode(n, 5 + n)]
    assert data.frames == 18
    np.testing.assert_array_equal(
        data.images['image'], np.stack([f.images['image'] for f in frames])
    )
    np.testing.assert_array_equal(data.proprioception, np.stack([f.state for f in frames]))
    counts = [len(f.labels.goal) for f in frames]
    np.testing.assert_array_equal(data.frame, np.repeat(np.arange(18), counts))
    for name in ('goal', 'own', 'chunk', 'point', 'offset'):
        wanted = np.concatenate([getattr(f.labels, name) for f in frames])
        np.testing.assert_array_equal(getattr(data, name), wanted)


def test_thinning_keeps_what_matters_and_keeps_pictures_with_their_labels(folder):
    data = load_dataset(folder, contract(), Thinning(free_motion=1e-9))
    frames = [f for n in range(3) for f in tiny_dataset.episode(n, 5 + n) if f.phase != 'reach']
    np.testing.assert_array_equal(
        data.images['image'], np.stack([f.images['image'] for f in frames])
    )
    np.testing.assert_array_equal(data.goal, np.concatenate([f.labels.goal for f in frames]))
    few = load_dataset(folder, contract(), Thinning(most=4))
    assert few.frames == 4
    states = {tuple(f.state): f.images['image'] for n in range(3)
              for f in tiny_dataset.episode(n, 5 + n)}  # fmt: skip
    for state, image in zip(few.proprioception, few.images['image'], strict=True):
        np.testing.assert_array_equal(image, states[tuple(state)])


def test_a_single_goal_per_frame_is_stored_as_a_number_and_read_back(tmp_path):
    columns = contract(1).columns
    assert columns['label.goal'].shape == (1,)
    frames = [f for f in tiny_dataset.episode(0, 6) if len(f.labels.goal) == 1]
    header = tiny_dataset.EpisodeHeader('pick it up', 0, 'pick', 'train', 'expert', True)
    path = tmp_path / 'one.parquet'
    tiny_dataset.save_episode(path, tiny_dataset.episode_table(frames, header, columns, 20))
    writing = tiny_dataset.DatasetWriter(tmp_path / 'data', columns, 20, 'ur5e', tiny_dataset.OURS)
    writing.append([path])
    data = load_dataset(tmp_path / 'data', contract())
    np.testing.assert_array_equal(data.chunk, np.concatenate([f.labels.chunk for f in frames]))


def test_appending_after_a_reopening_gives_the_same_folder(tmp_path, folder):
    again = tmp_path / 'again'
    for numbers in ((0, 1), (2,)):
        tiny_dataset.writer(again).append([tmp_path / f'e{n}.parquet' for n in numbers])
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes(), path


def test_an_append_that_was_cut_off_counts_for_nothing(tmp_path, folder):
    before = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    # As a kill between the data file and meta/info.json leaves it.
    for kind in ('data', 'meta/episodes'):
        (folder / kind / 'chunk-000/file-002.parquet').write_bytes(b'half a fi')
    assert load_dataset(folder, contract()).frames == 18
    tiny_dataset.writer(folder)
    assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == before


def test_going_on_with_other_settings_is_refused_by_name(folder):
    other = {**tiny_dataset.OURS, 'collection': {'noise': 2.0}}
    with pytest.raises(ConfigError, match=r'collection = .*1\.0.*expected.*2\.0'):
        tiny_dataset.writer(folder, other)
