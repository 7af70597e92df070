"""A set grows beside its place: of one import at a time, over nothing that is not its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.robot_writer import RobotSetWriter, SetDescription

DESCRIBED = SetDescription('arm', 20, {'wrist': (16, 16)}, ('a', 'b'), ('a', 'b'), {})


def writer(folder):
    return RobotSetWriter(folder, DESCRIBED, 'png')


def add(to, count=1):
    numbers = np.zeros((5, 2), np.float32)
    for _ in range(count):
        to.add(numbers, numbers, {'wrist': [np.zeros((16, 16, 3), np.uint8)] * 5}, 'pick')


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_import_into_one_place_is_refused_until_the_first_has_ended(tmp_path):
    first = writer(tmp_path / 'pick')
    add(first, 2)
    with pytest.raises(ConfigError, match=r'pick.*another import is writing in .*pick\.partial'):
        writer(tmp_path / 'pick')
    other = writer(tmp_path / 'place')
    add(first)
    first.finish()
    assert len(list((tmp_path / 'pick').rglob('data/*/*.parquet'))) == 3
    assert json.loads((tmp_path / 'pick/meta/info.json').read_text())['total_episodes'] == 3
    add(other)
    assert other.finish() == tmp_path / 'place'
    assert names(tmp_path) == ['pick', 'place']


def test_what_an_interrupted_import_left_is_written_over(tmp_path):
    left = tmp_path / '.pick.partial/data/chunk-000'
    left.mkdir(parents=True)
    (left / 'file-007.parquet').write_bytes(b'half')
    again = writer(tmp_path / 'pick')
    add(again)
    again.finish()
    assert not (tmp_path / 'pick/data/chunk-000/file-007.parquet').exists()
    assert names(tmp_path) == ['pick']


def test_after_an_import_that_failed_the_place_is_free(tmp_path):
    with pytest.raises(RuntimeError), writer(tmp_path / 'pick'):
        raise RuntimeError
    assert names(tmp_path) == []
    add(again := writer(tmp_path / 'pick'))
    again.finish()


@pytest.mark.parametrize('name', ['notes.txt', 'data'])
def test_a_folder_of_the_user_where_the_set_would_grow_is_kept(tmp_path, name, capsys):
    own = tmp_path / '.pick.partial'
    own.mkdir()
    (own / name).write_text('mine')
    with pytest.raises(ConfigError, match=f'what an interrupted import left: there is {name}'):
        writer(tmp_path / 'pick')
    # The command says so before it reads anything.
    assert main(['import', str(tmp_path), str(tmp_path / 'pick')]) == 2
    assert name in capsys.readouterr().err
    assert (own / name).read_text() == 'mine'


_ENCODE = """
import sys
from pathlib import Path
import numpy as np
from dysl_vla_ros.lab.data.video_writer import VideoWriter
video = VideoWriter(Path(sys.argv[1]), (64, 64), 20)
for _ in range(3):
    video.add(np.zeros((64, 64, 3), np.uint8))
video.close()
"""


def test_an_encoder_does_not_talk_of_itself_in_the_middle_of_an_import(tmp_path):
    """In a process of its own: the encoder asks once how much it is to say."""
    pytest.importorskip('av')
    path = tmp_path / 'wrist.mp4'
    done = subprocess.run([sys.executable, '-c', _ENCODE, path], capture_output=True, text=True,
                          check=True, cwd=Path(__file__).parents[3])  # fmt: skip
    assert (done.stdout, done.stderr) == ('', '') and path.is_file()
