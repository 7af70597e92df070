"""A film of an episode: what is kept of it, and the pictures that show it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.film import PICTURE, Film, Frame, joined_masks
from dysl_vla_ros.lab.evaluation.film_pictures import check_target, sheet, write_film


def film(passes=6, success=True, varied=False):
    image = np.full((PICTURE, PICTURE, 3), 90, np.uint8)
    frames = tuple(
        Frame(
            0.2 * k, image + np.uint8(20 * varied * k), '1100' if k else '1111',
            'skipped' if k else 'full', -0.1 if k else None, 'reach' if k < 3 else 'grasp',
        )
        for k in range(passes)
    )  # fmt: skip
    return Film('lift it', success, 0.2 * passes, frames, image)


def test_a_sheet_shows_the_first_picture_of_each_phase_and_the_last_of_all():
    picture = np.asarray(sheet(film()))
    row = picture[100]
    assert (row == 90).all(axis=1).sum() == 3 * (PICTURE * 3 // 4)  # reach, grasp, the end


def test_the_map_colours_layers_by_the_mode_of_their_pass_and_leaves_jumped_ones_pale():
    picture = np.asarray(sheet(film()))
    colours = {tuple(c) for c in picture.reshape(-1, 3)}
    assert {(0x2A, 0x78, 0xB5), (0xE8, 0xA3, 0x3D), (0xE7, 0xEB, 0xEF)} <= colours
    assert (0xB8, 0x47, 0x8F) in colours  # in the legend alone
    rerun = film().frames[0].__class__(0.0, film().last, '1111', 'rerun', None, 'grasp')
    with_rerun = np.asarray(sheet(Film('x', True, 1.0, (rerun,), film().last)))
    count = [(p == (0xB8, 0x47, 0x8F)).all(axis=-1).sum() for p in (picture, with_rerun)]
    assert count[1] > 10 * count[0]


def test_an_animation_has_a_picture_for_each_pass_and_the_end_and_lasts_as_long(tmp_path):
    path = tmp_path / 'film.gif'
    write_film(path, film(passes=6, varied=True))
    with Image.open(path) as animation:
        assert animation.n_frames == 7
        lasts = []
        for index in range(7):
            animation.seek(index)
            lasts.append(animation.info['duration'])
    assert lasts == [200] * 6 + [1500]


def test_layers_of_both_passes_count_where_a_chunk_was_run_again():
    assert joined_masks(['1100', '0011']) == '1111'
    assert joined_masks(['1000']) == '1000'


@pytest.mark.parametrize('name', ['film.png', 'film.gif'])
def test_a_film_replaces_a_film_and_no_other_picture(tmp_path, name):
    path = tmp_path / name
    write_film(path, film())
    write_film(path, film(success=False))
    Image.new('RGB', (4, 4)).save(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match='a film that dysl film made'):
        write_film(path, film())
    assert path.read_bytes() == before


def test_another_ending_is_refused_before_the_work(tmp_path):
    with pytest.raises(ConfigError, match='ends in .mp4 or .gif or .png'):
        check_target(tmp_path / 'film.avi')


def test_an_episode_without_a_pass_is_no_film(tmp_path):
    with pytest.raises(ConfigError, match='one in which the model runs'):
        write_film(tmp_path / 'film.png', Film('x', False, 1.0, (), film().last))


@pytest.mark.slow
def test_the_first_picture_of_the_readme_is_made_by_its_command(tmp_path, capsys):
    path = tmp_path / 'demo.png'
    words = ['put', 'the', 'red', 'cube', 'into', 'the', 'bin']
    assert main(['film', *words, '--out', str(path)]) == 0
    assert 'put the red cube into the bin: done in' in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.width > 900


@pytest.mark.slow
def test_a_video_lasts_as_long_and_is_known_again_as_ours(tmp_path):
    av = pytest.importorskip('av', reason='python3 -m pip install av')
    path = tmp_path / 'film.mp4'
    write_film(path, film(passes=6, varied=True))
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
        rate = video.streams.video[0].average_rate
    assert len(frames) / rate == pytest.approx(1.2 + 1.5, abs=0.1)
    assert frames[0].shape[1] == 760 and np.ptp(frames[0]) > 200
    write_film(path, film())  # may be replaced; somebody else's not
    path.write_bytes(b'\0\0\0\x20ftypisom' + bytes(4000))
    with pytest.raises(ConfigError, match='film'):
        check_target(path)


def recording(folder):
    """A bag of another recorder: the node's `~/chunk_info` and a camera, nothing else."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types = {name.rsplit('/', 1)[1]: store.types[name] for name in (
        'std_msgs/msg/Header', 'builtin_interfaces/msg/Time', 'sensor_msgs/msg/Image',
        'diagnostic_msgs/msg/DiagnosticStatus', 'diagnostic_msgs/msg/KeyValue',
    )}  # fmt: skip
    passes = [('1100', 'skipped', 'accepted'), ('1000', 'skipped', 're-run'),
              ('0111', 'rerun', 'accepted'), ('1111', 'full', 'refused'),
              ('1111', 'full', 'accepted')]  # fmt: skip
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        camera = bag.add_connection('/cell/camera', 'sensor_msgs/msg/Image', typestore=store)
        layers = bag.add_connection('/vla_node/layers', 'sensor_msgs/msg/Image', typestore=store)
        info = bag.add_connection('/vla_node/chunk_info', 'diagnostic_msgs/msg/DiagnosticStatus',
                                  typestore=store)  # fmt: skip
        for number, (mask, mode, outcome) in enumerate(passes):
            at = 10**18 + number * 200_000_000
            header = types['Header'](stamp=types['Time'](sec=0, nanosec=0), frame_id='')
            for topic, value in ((camera, 40 + number), (layers, 255)):
                picture = types['Image'](
                    header=header,
                    height=6,
                    width=12,
                    encoding='bgr8',
                    is_bigendian=0,
                    step=36,
                    data=np.tile(np.array([value, 0, 200], np.uint8), 72),
                )
                kind = 'sensor_msgs/msg/Image'
                bag.write(topic, at, store.serialize_cdr(picture, kind))
            values = {'layer_mask': mask, 'mode': mode, 'outcome': outcome,
                      'continuity': 'n/a -0.2500 -0.3', 'instruction': 'lift it'}  # fmt: skip
            status = types['DiagnosticStatus'](
                level=0,
                name='/vla_node: chunk',
                message='',
                hardware_id='',
                values=[types['KeyValue'](key=key, value=text) for key, text in values.items()],
            )
            bag.write(
                info,
                at + 1_000_000,
                store.serialize_cdr(status, 'diagnostic_msgs/msg/DiagnosticStatus'),
            )


def test_a_recording_is_a_film_of_what_was_executed_with_the_newest_picture_of_each(tmp_path):
    pytest.importorskip('rosbags', reason='make test-all')
    from dysl_vla_ros.lab.evaluation.film_bag import film_of

    recording(tmp_path / 'bag')
    made = film_of(tmp_path / 'bag')
    assert [frame.mask for frame in made.frames] == ['1100', '1111', '1111']
    assert [frame.mode for frame in made.frames] == ['skipped', 'rerun', 'full']
    assert [round(frame.time, 3) for frame in made.frames] == [0.0, 0.4, 0.8]
    assert {frame.continuity for frame in made.frames} == {-0.25}
    assert made.instruction == 'lift it' and made.success is None
    middle = [frame.image[PICTURE // 2, PICTURE // 2].tolist() for frame in made.frames]
    assert middle == [[200, 0, 40], [200, 0, 42], [200, 0, 44]]
    assert made.frames[0].image[5, 5].tolist() == [0, 0, 0]  # its shape is kept
    assert main(['film', '--bag', str(tmp_path / 'bag'), '--out', str(tmp_path / 'a.png')]) == 0
    with Image.open(tmp_path / 'a.png') as sheet_of_it:
        assert sheet_of_it.width >= 900


@pytest.mark.parametrize('words', [
    ['--camera', '/cell/camera'],
    ['--bag', 'nowhere'],
    ['--bag', 'nowhere', 'lift', 'it'],
])  # fmt: skip
def test_a_wrong_call_for_a_recording_ends_in_one_line(words, tmp_path, capsys, monkeypatch):
    pytest.importorskip('rosbags', reason='make test-all')
    monkeypatch.chdir(tmp_path)
    assert main(['film', *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith('dysl film: ') and said.count('\n') == 1
    assert list(tmp_path.iterdir()) == []
