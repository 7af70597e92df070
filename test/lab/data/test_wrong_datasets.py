"""A wrong dataset fails before the first step, with the field and the fix."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_dataset

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.data.contract import contract
from dysl_vla_ros.lab.data.dataset_format import to_column

DATA = 'data/chunk-000/file-001.parquet'


@pytest.fixture
def folder(tmp_path):
    return tiny_dataset.write_dataset(tmp_path / 'data')


def change_info(folder, change):
    path = folder / 'meta/info.json'
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_column(folder, name, change):
    """Rewrite one column of the second file as its numbers changed by ``change``."""
    path = folder / DATA
    table = pq.read_table(path)
    feature = contract(tiny_dataset.GOALS).columns[name]
    values = np.array(table[name].to_pylist(), dtype=feature.dtype)
    values = change(values)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, to_column(values, feature)), path)


def drop(name):
    return lambda folder: pq.write_table(
        pq.read_table(folder / DATA).drop_columns([name]), folder / DATA
    )


def spoil(name, value):
    def change(values):
        values = values.copy()
        values.reshape(len(values), -1)[2, 1] = value
        return values

    return lambda folder: change_column(folder, name, change)


def info(path, value):
    def change(document):
        *parents, last = path
        for key in parents:
            document = document[key]
        if value is None:
            del document[last]
        else:
            document[last] = value

    return lambda folder: change_info(folder, change)


def joints(folder):
    info(('features', 'action', 'names'), [f'joint_{n}' for n in range(7)])(folder)


def no_png(folder):
    path = folder / DATA
    table = pq.read_table(path)
    name = 'observation.images.image'
    rows = [{'bytes': b'not a picture', 'path': ''}] * len(table)
    column = pa.array(rows, table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


def other_goals(folder):
    path = folder / 'meta/dysl.json'
    document = json.loads(path.read_text())
    document['goals'][3] = 'juggle: red cube'
    path.write_text(json.dumps(document))


WRONG = {
    'no dataset at all': (
        lambda f: (f / 'meta/info.json').unlink(), ['meta/info.json', 'in this one there is']),
    'a missing key of the description': (
        info(('fps',), None), ['info.json: fps', "'missing'"]),
    'another rate': (
        info(('fps',), 30), ['info.json: fps = 30', 'expected 20', 'resample']),
    'another version': (
        info(('codebase_version',), 'v2.1'), ["codebase_version = 'v2.1'", 'convert']),
    'a column that is not described': (
        info(('features', 'label.chunk'), None), ['features.label.chunk', 'missing']),
    'joint actions': (joints, ['features.action.names', 'another action space', 'joint_0']),
    'actions of another size': (
        info(('features', 'label.chunk', 'shape'), [3, 8, 6]),
        ['features.label.chunk.shape', '3, 8, 6', 'another action space']),
    'pictures of another size': (
        info(('features', 'observation.images.image', 'shape'), [64, 64, 3]),
        ['observation.images.image.shape', '64, 64, 3', '(96, 96, 3)']),
    'videos': (
        info(('features', 'observation.images.image', 'dtype'), 'video'),
        ['observation.images.image.dtype', "'video'", 'export the videos as images']),
    'a missing column': (drop('label.chunk'), ['file-001.parquet: label.chunk', 'missing']),
    'a missing file': (lambda f: (f / DATA).unlink(), ['file-001.parquet', 'copy it again']),
    'rows of another size': (
        info(('features', 'label.chunk', 'shape'), [2, 8, 7]), ['label.chunk', 'per row']),
    'NaN in the joints': (spoil('observation.state', np.nan), ['observation.state, frame 13',
                                                               'finite numbers']),
    'infinity in a label': (spoil('label.chunk', np.inf), ['label.chunk, frame 13', 'finite']),
    'absolute poses': (spoil('label.chunk', 0.45), ['chunk = 0.44', 'not absolute poses']),
    'a goal that does not exist': (spoil('label.goal', 9999), ['label.goal = 9999', 'below']),
    'another set of tasks': (other_goals, ['goals[3]', 'juggle', 'collect it again']),
    'a broken picture': (no_png, ['observation.images.image, row 0', 'a PNG picture']),
    'more episodes than are listed': (
        info(('total_episodes',), 7), ['total_episodes = 7', 'as listed in meta/episodes']),
}  # fmt: skip


@pytest.mark.parametrize('name', list(WRONG))
def test_training_refuses_a_wrong_dataset_before_the_first_step(
    name, folder, tmp_path, capsys, monkeypatch
):
    spoil_it, expected = WRONG[name]
    spoil_it(folder)

    def step(*_: object, **__: object) -> None:
        raise AssertionError('training began')

    monkeypatch.setattr('dysl_vla_ros.lab.learn.dense.train', step)
    monkeypatch.setattr('dysl_vla_ros.lab.learn.dense.ground', step)
    code = main(['train', '--dataset', str(folder), '--out', str(tmp_path / 'out'),
                 '--preset', 'toy', '--device', 'cpu', '--free-motion', '1'])  # fmt: skip
    error = capsys.readouterr().err
    assert code == 2
    for part in expected:
        assert part in error, error
    assert not (tmp_path / 'out' / 'dense.safetensors').exists()


def test_the_unspoilt_dataset_is_accepted(folder, tmp_path):
    """Otherwise the tests above would prove nothing."""
    arguments = [
        'train',
        '--dataset',
        str(folder),
        '--out',
        str(tmp_path / 'out'),
        '--preset',
        'toy',
        '--device',
        'cpu',
        '--steps',
        '1',
        '--ground-steps',
        '0',
        '--batch',
        '2',
    ]
    assert main(arguments) == 0
    assert (tmp_path / 'out' / 'dense.safetensors').is_file()
