"""Pictures of a set are of the size that the set says: another one is another view."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robot_files import robot_set

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.data.lerobot import Column
from dysl_vla_ros.pictures.files import encode_png

FRONT = 'observation.images.front'


def one_of_another_size(folder, row):
    """A set of 32x32 in which the picture of a row is 48 across and 64 high."""
    robot_set(folder, ('j1', 'j2', 'gripper'))
    (file,) = (folder / 'data').rglob('*.parquet')
    table = pq.read_table(file)
    pictures = table[FRONT].to_pylist()
    pictures[row] = {'bytes': encode_png(np.full((64, 48, 3), 90, np.uint8)), 'path': None}
    place = table.column_names.index(FRONT)
    pq.write_table(table.set_column(place, FRONT, pa.array(pictures)), file)
    return folder


@pytest.mark.parametrize('words', [
    ['train', 'SET', '--out', 'OUT', '--preset', 'toy'],
    ['import', 'SET', 'OUT', '--pictures', 'png', '--size', '16'],
])  # fmt: skip
def test_a_picture_of_another_size_is_refused_by_its_episode_and_frame(tmp_path, words, capsys):
    folder = one_of_another_size(tmp_path / 'set', 45)  # the first episode has 40 frames
    places = {'SET': str(folder), 'OUT': str(tmp_path / 'out')}
    assert main([places.get(word, word) for word in words]) == 2
    said = capsys.readouterr().err
    assert f"{FRONT}, episode 1, frame 5 = '48x64 pixels': expected 32x32" in said


@pytest.mark.parametrize(('shape', 'names', 'size'), [
    ((48, 64, 3), ('height', 'width', 'channels'), (48, 64)),
    ((3, 48, 64), ('channels', 'height', 'width'), (48, 64)),
    ((64, 48, 3), ('width', 'height', 'channel'), (48, 64)),
    ((48, 64), (), (48, 64)),
    ((1,), (), None),
])  # fmt: skip
def test_rows_and_columns_are_known_whatever_their_order(shape, names, size):
    assert Column('image', shape, names).size == size
