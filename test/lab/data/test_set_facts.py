"""``dysl import`` of a set: what was said of it, and what its frames say, is there afterwards."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robot_files import robot_set

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot_frames import read_rows
from dysl_vla_ros.lab.data.robot_samples import UNNAMED, read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice

NAMES = ('j1', 'j2', 'j3', 'gripper')


def partly(kind, values):
    """A gripper that the set shows from 30 to 60 mm of its 100."""
    values = values.copy()
    values[:, -1] = 0.03 + 0.03 * values[:, -1]
    return values


def imported(source, out, *options):
    assert main(['import', str(source), str(out), '--pictures', 'png', *options]) == 0
    return out


def read(folder, **choice):
    _, reading, rows = read_set(str(folder), SetChoice(**choice))
    numbers = rows[0].numbers
    return reading, reading.state.read(numbers), reading.action.read(numbers)


def test_the_gripper_range_that_was_said_at_the_import_is_that_of_the_training(tmp_path):
    source = robot_set(tmp_path / 'set', NAMES, edit=partly)
    out = imported(source, tmp_path / 'out', '--gripper-range', '0', '0.1')
    _, stood, said = read(source, gripper_range=(0.0, 0.1))
    reading, again, moved = read(out)
    np.testing.assert_allclose(again, stood, atol=1e-6)
    np.testing.assert_allclose(moved, said, atol=1e-6)
    assert reading.state.gain[-1] == 1.0
    other, _, _ = read(out, gripper_range=(0.0, 0.5))
    assert other.state.gain[-1] == 2.0, 'what the user says now goes before'


def test_a_joint_without_a_name_is_asked_for_before_a_training(tmp_path):
    folder = robot_set(tmp_path / 'set', ['.pos', 'b', 'c', 'gripper'])
    asked = r"joint-names = \['', 'b', 'c'\]: expected a name for each joint, none twice"
    with pytest.raises(ConfigError, match=asked):
        read(folder)
    assert read(folder, joint_names=('a', 'b', 'c'))[0].state.names == ('a', 'b', 'c', 'gripper')
    with pytest.raises(ConfigError, match='none twice'):
        read(folder, joint_names=('b', 'b', 'c'))


def test_radians_of_an_endless_joint_stay_radians_behind_an_import(tmp_path):
    source = robot_set(tmp_path / 'set', NAMES,
                       edit=lambda kind, values: values * [20.0, 20.0, 20.0, 1.0])  # fmt: skip
    out = imported(source, tmp_path / 'out', '--units', 'radians')
    reading, stood, _ = read(out)
    assert reading.state.gain[0] == reading.action.gain[0] == 1.0 and np.abs(stood).max() > 6.3
    assert not any('degrees' in line for line in reading.told)


def test_an_opening_that_is_not_called_one_and_the_space_stay_what_they_were(tmp_path):
    names = ('j1', 'j2', 'j3', 'width')
    source = robot_set(tmp_path / 'set', names)
    out = imported(source, tmp_path / 'out', '--gripper', 'width', '--action-space', 'joint_delta')
    reading, _, _ = read(out)
    assert (reading.space, reading.state.gripper, reading.action.gripper) == (
        'joint_delta', (3,), (3,))  # fmt: skip


def test_an_opening_that_is_no_opening_stays_a_joint(tmp_path):
    out = imported(robot_set(tmp_path / 'set', NAMES), tmp_path / 'out', '--gripper', 'none')
    assert read(out)[0].state.gripper == ()


def test_a_task_that_changes_within_an_episode_changes_there_behind_an_import(tmp_path):
    source = robot_set(tmp_path / 'set', NAMES)
    words = ['pick the cube', 'put it on the plate', '']
    table = pa.table({'task_index': pa.array(range(3), pa.int64()), '__index_level_0__': words})
    pq.write_table(table, source / 'meta/tasks.parquet')
    for file in (source / 'data').rglob('*.parquet'):
        table = pq.read_table(file)
        frame = np.array(table['frame_index'].to_pylist())
        tasks = pa.array(np.where(frame < 20, 0, np.where(frame < 36, 1, 2)))
        place = table.column_names.index('task_index')
        pq.write_table(table.set_column(place, 'task_index', tasks), file)
    for options, frames in (((), 20), (('--fps', '5'), 10)):
        out = imported(source, tmp_path / f'out{frames}', *options)
        data, _, rows = read_set(str(out), SetChoice())
        said = rows[0].instruction
        assert said[:frames] == (words[0],) * frames
        assert {*said[frames:]} == {words[1], UNNAMED}
        assert len(list(read_rows(data, ['action']))) == 3
        episodes = pq.read_table(out / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
        assert episodes[0]['tasks'] == [words[0], words[1], UNNAMED]
    out = imported(source, tmp_path / 'one', '--text', 'tidy up')
    assert {*read_set(str(out), SetChoice())[2][0].instruction} == {'tidy up'}


def test_joints_pictures_and_the_words_of_a_task_without_words_are_told(tmp_path):
    folder = robot_set(tmp_path / 'set', NAMES, cameras=('left-hand', 'top'))
    told = read(folder)[0].told
    assert 'reads j1, j2, j3, gripper; pictures left_hand (left-hand), top' in told
    assert not any(UNNAMED in line for line in told)
    table = pa.table({'task_index': [0], '__index_level_0__': [' ']})
    pq.write_table(table, folder / 'meta/tasks.parquet')
    assert f"frames without words: '{UNNAMED}' asks for them" in read(folder)[0].told


def test_what_a_set_says_of_itself_and_cannot_be_is_refused_by_its_name(tmp_path):
    out = imported(robot_set(tmp_path / 'set', NAMES), tmp_path / 'out')
    path = out / 'meta/dysl.json'
    document = json.loads(path.read_text())
    for name, value in (('units', 'grads'), ('gripper_range', [0.0]), ('gripper', 'all'),
                        ('action_space', 7)):  # fmt: skip
        changed = {**document, 'numbers': {**document['numbers'], name: value}}
        path.write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=rf'dysl\.json: numbers\.{name} = '):
            read(out)
    path.write_text(json.dumps({**document, 'numbers': 3}))
    with pytest.raises(ConfigError, match=r'dysl\.json: numbers = 3'):
        read(out)


def test_a_checkpoint_of_the_source_reads_the_imported_set_as_the_source(tmp_path):
    def degrees(kind, values):
        opening = partly(kind, values)[:, 3:]
        return np.concatenate([5.0 * np.degrees(values[:, :3]), opening], axis=1)

    source = robot_set(tmp_path / 'set', NAMES, edit=degrees)
    known, stood, said = read(source, gripper_range=(0.0, 0.1))
    assert known.state.gain[0] == pytest.approx(np.pi / 180)
    out = imported(source, tmp_path / 'out', '--gripper-range', '0', '0.1')
    _, reading, rows = read_set(str(out), SetChoice(), known)
    np.testing.assert_allclose(reading.state.read(rows[0].numbers), stood, atol=1e-5)
    np.testing.assert_allclose(reading.action.read(rows[0].numbers), said, atol=1e-5)
