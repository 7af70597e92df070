"""No two episodes of a set may be shown the same stretch of a video."""

from __future__ import annotations

import json

import lerobot_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot import open_lerobot

pytest.importorskip('av')
FRONT = 'observation.images.front'
FILE = f'videos/{FRONT}/chunk-000/file-000.mp4'


def with_times(folder, begins, ends):
    """A set of three episodes of 0.6, 0.8 and 0.6 s whose stretches of the one video are these."""
    lerobot_files.write_set(folder, lengths=(6, 8, 6), cameras=('front',))
    path = folder / 'meta/episodes/chunk-000/file-000.parquet'
    rows = pq.read_table(path).to_pylist()
    for row, begin, end in zip(rows, begins, ends, strict=True):
        row[f'videos/{FRONT}/from_timestamp'] = begin
        if end is None:
            del row[f'videos/{FRONT}/to_timestamp']
        else:
            row[f'videos/{FRONT}/to_timestamp'] = end
    pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


@pytest.mark.parametrize(('begins', 'ends', 'told'), [
    ((0, 0, 0), (0.6, 0.8, 0.6), ('episodes 0 and 2 both claim 0.00 to 0.60 s',
                                  'episodes 0 and 1 both claim 0.00 to 0.60 s')),
    ((0, 0.4, 1.4), (0.6, 1.2, 2.0), ('episodes 0 and 1 both claim 0.40 to 0.60 s',)),
    ((0, 0.6, 1.4), (2.0, 1.4, 2.0), ('episodes 0 and 1 both claim 0.60 to 1.40 s',
                                      'episodes 0 and 2 both claim 1.40 to 2.00 s')),
    ((0, 0.4, 1.4), (None, None, None), ('episodes 0 and 1 both claim 0.40 to 0.60 s',)),
    ((1.4, 0, 0.4), (2.0, 0.8, 1.0), ('episodes 1 and 2 both claim 0.40 to 0.80 s',)),
])  # fmt: skip
def test_two_episodes_that_claim_one_stretch_of_a_video_are_named(tmp_path, begins, ends, told):
    with pytest.raises(ConfigError) as caught:
        open_lerobot(with_times(tmp_path / 'set', begins, ends))
    for words in told:
        assert f'{FRONT}: {words} of {FILE}' in str(caught.value)
    assert str(caught.value).count('both claim') == len(told)


@pytest.mark.parametrize(('begins', 'ends'), [
    ((0, 0.6, 1.4), (0.6, 1.4, 2.0)),
    ((1.4, 0.6, 0), (2.0, 1.4, 0.6)),  # in another order
    ((0, 0.6, 1.4), (0.6, 1.4, None)),
    ((0, 0.6, 1.4), (0.6000001, 1.43, 2.0)),  # rounded
])  # fmt: skip
def test_stretches_beside_each_other_are_taken_in_any_order(tmp_path, begins, ends):
    assert len(open_lerobot(with_times(tmp_path / 'set', begins, ends)).episodes) == 3


def test_a_set_of_version_2_whose_episodes_have_one_video_is_refused(tmp_path):
    folder = lerobot_files.write_set(tmp_path / 'set', 'v2.1', cameras=('front',))
    info = json.loads((folder / 'meta/info.json').read_text())
    info['video_path'] = 'videos/chunk-000/{video_key}/episode_000001.mp4'
    (folder / 'meta/info.json').write_text(json.dumps(info))
    with pytest.raises(ConfigError, match=r'episodes 0 and 1 both claim 0.00 to 0.60 s'):
        open_lerobot(folder)


def test_the_import_of_such_a_set_leaves_nothing(tmp_path, capsys):
    folder = with_times(tmp_path / 'set', (0, 0, 0), (0.6, 0.8, 0.6))
    assert main(['import', str(folder), str(tmp_path / 'out'), '--pictures', 'png']) == 2
    assert 'episodes 0 and 2 both claim' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
