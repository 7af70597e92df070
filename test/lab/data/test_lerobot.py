"""Data sets of other people are read; a wrong one is refused with all that is wrong with it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_files import TASKS, picture, write_set

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot import flat_names, open_lerobot, version_of
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures, read_rows
from dysl_vla_ros.lab.data.lerobot_video import read_frames

STATE, FRONT = 'observation.state', 'observation.images.front'


def change(folder, edit):
    path = folder / 'meta/info.json'
    info = json.loads(path.read_text())
    edit(info)
    path.write_text(json.dumps(info))


def replace_column(path, column, values):
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values)), path)


@pytest.mark.parametrize('version', ['v2.1', 'v3.0'])
@pytest.mark.parametrize('video', [False, True])
def test_every_frame_is_found_in_its_place(tmp_path, version, video):
    if video:
        pytest.importorskip('av', reason='needs PyAV')
    data = open_lerobot(write_set(tmp_path / 'set', version, video))
    assert (data.fps, data.robot, data.frames, sorted(data.cameras)) == (
        10.0, 'so101_follower', 14, ['front', 'wrist'])  # fmt: skip
    episodes = list(read_rows(data, [STATE]))
    assert [len(rows.instruction) for rows in episodes] == [6, 8]
    for number, rows in enumerate(episodes):
        assert set(rows.instruction) == {TASKS[number]}
        wanted = np.random.default_rng(number).uniform(-0.3, 0.3, (len(rows.instruction), 8))
        np.testing.assert_allclose(rows.numbers[STATE], wanted, atol=1e-6)
        for camera, name in enumerate(('front', 'wrist')):
            chosen = [0, 1, 4, 5]
            found = list(read_pictures(data, rows, f'observation.images.{name}', chosen))
            for frame, image in zip(chosen, found, strict=True):
                wanted = picture(number, frame, camera, 64)
                assert np.abs(image[40:, 40:].mean((0, 1)) - wanted[50, 50]).max() < 5
                assert image[4, 4].min() > 200


def test_versions_and_names_come_in_many_forms():
    assert version_of(3.0) == 'v3.0' == version_of('3.0') and version_of('v2.1') == 'v2.1'
    assert flat_names({'motors': ['a', 'b']}) == ('a', 'b') == flat_names([['a', 'b']])
    assert flat_names(None) == () and flat_names({'left': ['a'], 'right': ['b']}) == ('a', 'b')
    assert flat_names({'gripper': 2, 'x': 0, 'y': 1}) == ('x', 'y', 'gripper'), 'each its place'
    assert flat_names({'x': 1, 'y': 2}) == () == flat_names({}), 'no places of numbers'


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    folder = write_set(tmp_path / 'set', video=False)

    def edit(info):
        info['fps'] = None
        info['features']['action'] = None
        info['features']['observation.state']['shape'] = ['eight']
        del info['features']['task_index']

    change(folder, edit)
    (folder / 'meta/tasks.parquet').unlink()
    (folder / 'data/chunk-000/file-000.parquet').unlink()
    with pytest.raises(ConfigError) as caught:
        open_lerobot(folder)
    for part in ('fps = None', 'features.action', 'features.observation.state', 'no task_index',
                 'tasks.parquet', 'file-000.parquet: missing', '(6)'):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda info: info.update(features=[1]), 'features = .1.: expected an object'),
        (lambda info: info.update(codebase_version='v1.6'), "'v1.6': expected one of v2.0"),
        (lambda info: info.update(data_path='/etc/{chunk_index}'), 'a path inside the set'),
        (lambda info: info.update(data_path='{nothing}'), 'expected a path inside the set'),
        (lambda info: info.update(data_path=None), 'data_path = None'),
        (lambda info: info.update(data_path='{chunk_index:099999d}'), 'a path inside the set'),
        (lambda info: info.update(data_path='{chunk_index[0]}'), 'expected a path inside the set'),
    ],
)
def test_a_description_that_cannot_be_read_is_refused(tmp_path, edit, message):
    folder = write_set(tmp_path / 'set', video=False)
    change(folder, edit)
    with pytest.raises(ConfigError, match=message):
        open_lerobot(folder)


@pytest.mark.parametrize(
    ('name', 'line', 'message'),
    [
        (
            'tasks',
            '{"task_index": "first", "task": "x"}',
            "task_index = 'first': expected a whole",
        ),
        ('tasks', '{"task_index": 1.5, "task": "x"}', 'task_index = 1.5: expected a whole number'),
        ('tasks', '{"task_index": 1, "task": "caf\xe9"}', 'byte 0xe9: expected UTF-8'),
        ('tasks', '{"task_index": 1', 'expected an object with task_index and task'),
        pytest.param('tasks', '[' * 9999, 'expected an object with task_index', id='nested'),
        ('episodes', '{"episode_index": 1, "length": null}', 'length = None: expected a whole'),
        ('episodes', '{"episode_index": true, "length": 8}', 'episode_index = True: expected'),
        ('episodes', '{"episode_index": -1, "length": 8}', 'episode_index = -1: expected a whole'),
        ('episodes', '{"episode_index": 1, "length": Infinity}', 'length = inf: expected a whole'),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_file_and_number(tmp_path, name, line, message):
    folder = write_set(tmp_path / 'set', 'v2.1', video=False)
    path = folder / f'meta/{name}.jsonl'
    first = path.read_bytes().splitlines()[0]
    path.write_bytes(first + b'\n' + line.encode('latin-1') + b'\n')
    with pytest.raises(ConfigError) as caught:
        open_lerobot(folder)
    assert f'meta/{name}.jsonl, line 2: {message}' in str(caught.value)


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    folder = write_set(tmp_path / 'set', 'v2.1', video=False)
    path = folder / 'meta/tasks.jsonl'
    path.write_text('{"task_index": 0.0, "task": "a\u2028b"}\n{"task_index": 1, "task": "c"}\n')
    assert open_lerobot(folder).tasks == {0: 'a\u2028b', 1: 'c'}


@pytest.mark.parametrize(
    ('name', 'column', 'values', 'message'),
    [
        ('tasks', 'task_index', ['a', 'b'], "row 1: task_index = 'a': expected a whole number"),
        ('tasks', 'task_index', [0, None], 'row 2: task_index = None: expected a whole number'),
        ('episodes', 'length', [6, None], 'row 2: length = None: expected a whole number'),
        ('episodes', 'data/chunk_index', ['x', 'y'], "row 1: data/chunk_index = 'x': expected a"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_file_and_number(
    tmp_path, name, column, values, message
):
    folder = write_set(tmp_path / 'set', video=False)
    file = {'tasks': 'tasks.parquet', 'episodes': 'episodes/chunk-000/file-000.parquet'}[name]
    replace_column(folder / 'meta' / file, column, values)
    with pytest.raises(ConfigError) as caught:
        open_lerobot(folder)
    assert f'meta/{file}, {message}' in str(caught.value)


def test_a_task_without_words_is_refused_and_not_called_none(tmp_path):
    old = write_set(tmp_path / 'old', 'v2.1', video=False)
    (old / 'meta/tasks.jsonl').write_text(
        '{"task_index": 0, "task": "a"}\n{"task_index": 1, "task": null}\n'
    )
    with pytest.raises(ConfigError, match='tasks.jsonl: task 1 = None: expected its words'):
        open_lerobot(old)
    new = write_set(tmp_path / 'new', video=False)
    replace_column(new / 'meta/tasks.parquet', '__index_level_0__', ['a', None])
    with pytest.raises(ConfigError, match='tasks.parquet: task 1 = None: expected its words'):
        open_lerobot(new)


def test_a_frame_without_a_picture_is_named_in_words(tmp_path):
    folder = write_set(tmp_path / 'set', video=False, cameras=('front',))
    file = next((folder / 'data').rglob('*.parquet'))
    column = 'observation.images.front'
    held = pq.read_table(file)[column].to_pylist()
    replace_column(file, column, [None, *held[1:]])
    data = open_lerobot(folder)
    with pytest.raises(ConfigError, match="front, episode 0, frame 0 = 'nothing': expected a pic"):
        list(read_pictures(data, next(read_rows(data, ())), column, [0]))


def test_a_video_that_begins_at_no_time_is_refused(tmp_path):
    pytest.importorskip('av', reason='needs PyAV')
    folder, file = write_set(tmp_path / 'set'), 'episodes/chunk-000/file-000.parquet'
    column = f'videos/{FRONT}/from_timestamp'
    replace_column(folder / 'meta' / file, column, [0.0, None])
    with pytest.raises(ConfigError) as caught:
        open_lerobot(folder)
    assert f'{file}, row 2: {column} = None: expected a time from 0 up' in str(caught.value)


@pytest.mark.parametrize('name', ['data/chunk-000/file-000.parquet', 'meta/tasks.parquet'])
def test_a_git_lfs_pointer_is_named(tmp_path, name):
    folder = write_set(tmp_path / 'set', video=False)
    (folder / name).write_text('version https://git-lfs.github.com/spec/v1\noid x\nsize 5\n')
    with pytest.raises(ConfigError, match='Git LFS pointer for 5 bytes'):
        open_lerobot(folder)


def test_rows_that_are_not_what_the_description_says_are_refused(tmp_path):
    folder = write_set(tmp_path / 'set', 'v2.1', video=False)
    lines = (folder / 'meta/episodes.jsonl').read_text().replace('"length": 8', '"length": 9')
    (folder / 'meta/episodes.jsonl').write_text(lines)
    with pytest.raises(ConfigError, match='episode 1 = .8 rows.: expected 9 in a row'):
        list(read_rows(open_lerobot(folder), [STATE]))
    with pytest.raises(ConfigError, match='observation.pose = .missing'):
        list(read_rows(open_lerobot(folder), ['observation.pose']))


def rows_of(folder):
    return list(read_rows(open_lerobot(folder), [STATE], every_frame=True))


@pytest.mark.parametrize('version', ['v2.1', 'v3.0'])
@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda n: n[::-1], 'row 1 = .4.: expected one more than 5 of the row before'),
        (lambda n: [0, 0, *n[2:]], r'frame_index of row 1 = .0.: expected one more than 0'),
        (lambda n: [*n[:3], *(m + 1 for m in n[3:])], 'row 3 = .4.: expected one more than 2'),
    ],
)
def test_rows_that_are_not_the_frames_one_after_the_other_are_refused(
    tmp_path, version, edit, message
):
    folder = write_set(tmp_path / 'set', version, video=False, lengths=(6, 6))
    path = sorted((folder / 'data').rglob('*.parquet'))[0]
    found = pq.read_table(path)['frame_index'].to_pylist()
    replace_column(path, 'frame_index', [*edit(found[:6]), *found[6:]])
    with pytest.raises(ConfigError, match=message):
        rows_of(folder)


@pytest.mark.parametrize('version', ['v2.1', 'v3.0'])
def test_frames_that_are_not_as_far_apart_as_the_set_says_are_refused_with_both(tmp_path, version):
    folder = write_set(tmp_path / 'set', version, video=False)
    path = sorted((folder / 'data').rglob('*.parquet'))[0]
    times = pq.read_table(path)['timestamp'].to_pylist()
    replace_column(path, 'timestamp', [2 * time for time in times])
    with pytest.raises(ConfigError, match=r"'0.2 s apart': expected 0.1 s, which fps = 10 of"):
        rows_of(folder)
    replace_column(path, 'timestamp', [*times[:3], *(time + 0.3 for time in times[3:])])
    with pytest.raises(ConfigError, match=r'timestamp of row 3 = .0.4 s behind'):
        rows_of(folder)
    # A little off, later, or too coarse to say anything: none of these contradicts.
    random = np.random.default_rng(0).uniform(-0.01, 0.01, len(times))
    for edit in (np.array(times) * 1.02 + random, np.array(times) + 5000.0,
                 np.array(times) + 1.7e9):  # fmt: skip
        replace_column(path, 'timestamp', edit.astype(np.float32))
        assert len(rows_of(folder)) == 2


def test_a_thinned_set_lacks_frames_that_only_chunks_need(tmp_path):
    folder = write_set(tmp_path / 'set', 'v2.1', video=False)
    path = sorted((folder / 'data').rglob('*.parquet'))[0]
    replace_column(path, 'frame_index', [0, 3, 4, 9, 10, 11])
    assert len(list(read_rows(open_lerobot(folder), [STATE]))) == 2
    with pytest.raises(ConfigError, match='row 1 = .3.: expected one more than 0'):
        rows_of(folder)
    replace_column(path, 'frame_index', [0, 3, 2, 9, 10, 11])
    with pytest.raises(ConfigError, match='row 2 = .2.: expected more than 3'):
        list(read_rows(open_lerobot(folder), [STATE]))


def test_frames_may_begin_at_another_number(tmp_path):
    folder = write_set(tmp_path / 'set', 'v2.1', video=False)
    path = sorted((folder / 'data').rglob('*.parquet'))[0]
    replace_column(path, 'frame_index', list(range(7, 13)))
    assert len(rows_of(folder)) == 2


@pytest.mark.parametrize('version', ['v2.1', 'v3.0'])
def test_an_episode_that_is_listed_twice_is_refused(tmp_path, version):
    folder = write_set(tmp_path / 'set', version, video=False)
    if version == 'v2.1':
        path = folder / 'meta/episodes.jsonl'
        path.write_text(path.read_text() + path.read_text().splitlines()[0] + '\n')
    else:
        path = folder / 'meta/episodes/chunk-000/file-000.parquet'
        table = pq.read_table(path)
        pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    with pytest.raises(ConfigError, match='episode_index 0 listed twice: expected each once'):
        open_lerobot(folder)


def test_a_video_that_ends_too_early_is_refused(tmp_path):
    pytest.importorskip('av', reason='needs PyAV')
    folder = write_set(tmp_path / 'set', 'v2.1')
    path = folder / 'videos/chunk-000' / FRONT / 'episode_000000.mp4'
    with pytest.raises(ConfigError, match='shorter than its episodes'):
        list(read_frames(path, [0.0, 2.0], 0.05))
    path.write_bytes(b'no video')
    with pytest.raises(ConfigError, match='episode_000000.mp4'):
        list(read_frames(path, [0.0], 0.05))


def test_videos_without_their_library_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ConfigError, match='pip install'):
        list(read_frames(tmp_path / 'x.mp4', [0.0], 0.05))
