"""Films of evaluated episodes: played, written, read back; no more than were asked for."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from PIL import Image
from test_episode_film import film
from test_world_episodes import Toy

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.film import PICTURE
from dysl_vla_ros.lab.evaluation.film_pictures import is_film
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.videos import Shelf, Videos, taken_places
from dysl_vla_ros.lab.evaluation.world import play_episode
from dysl_vla_ros.lab.evaluation.world_film import film_of
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.sim.world import World


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def evaluate(bundle, folder, *words):
    return main([
        'evaluate', '--engine', str(bundle), '--episodes', '1', '--families', 'push', '--latency',
        '0.05', '--time-limit', '1.5', '--videos', str(folder), *words,
    ])  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_lost_episode_is_a_video_for_each_mode_that_plays_what_happened(
    bundle, tmp_path, capsys
):
    av = pytest.importorskip('av', reason="pip install -e '.[film]'")
    folder = tmp_path / 'videos'
    assert evaluate(bundle, folder, '--modes', 'full', 'auto', '--json', str(tmp_path / 'r')) == 0
    assert f'films of 2 of 2 failures in {folder}' in capsys.readouterr().out
    assert names(folder) == ['1000000-push-auto-lost.mp4', '1000000-push-full-lost.mp4']
    found = json.loads((tmp_path / 'r').read_text())
    for mode in ('full', 'auto'):
        path = folder / f'1000000-push-{mode}-lost.mp4'
        with av.open(str(path)) as video:
            frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
            rate = video.streams.video[0].average_rate
        (episode,) = found['episodes'][mode]
        first = found['traces'][mode]['time_s'][0] if found['traces'][mode] else 0.0
        # Shown from the first pass to the end of the episode, and the end for a while.
        assert len(frames) / rate == pytest.approx(episode['seconds'] - first + 1.5, abs=0.15)
        table = frames[0][44 : 44 + PICTURE, 14 : 14 + PICTURE].astype(int)
        assert np.ptp(table) > 100  # the world, not a blank
        assert is_film(path)


def test_the_picture_of_a_snapshot_is_the_one_that_was_to_be_seen_then():
    world = World()
    world.reset(5, 'bin')
    world.command_trajectory(np.array([0.5]), world.joint_positions[None] + 0.3, np.zeros((1, 6)))
    world.advance(0.2)
    then, seen = world.snapshot(), world.render('image', 48)
    world.advance(0.4)
    assert np.array_equal(world.render('image', 48, at=then), seen)
    assert not np.array_equal(world.render('image', 48), seen)


def test_only_failures_are_filmed_unless_all_are_wanted(tmp_path):
    assert Videos(tmp_path).wants(False) and not Videos(tmp_path).wants(True)
    assert Videos(tmp_path, of='all').wants(True)


def test_workers_together_write_no_more_films_than_the_limit(tmp_path):
    videos = Videos(tmp_path / 'new', limit=3, kind='png')
    taken = taken_places(videos)
    shelves = [Shelf(videos, taken) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(
            lambda n: shelves[n % 4].open_for(f'{n}-push', 'auto', False), range(40)
        ))  # fmt: skip
    assert sum(given) == 3


def test_films_that_are_there_count_and_one_of_the_same_episode_is_replaced(tmp_path):
    videos = Videos(tmp_path, limit=1, kind='png')
    Shelf(videos, taken_places(videos)).put('7-push', 'auto', film(success=False))
    assert names(tmp_path) == ['7-push-auto-lost.png']
    shelf = Shelf(videos, taken_places(videos))
    assert not shelf.open_for('8-push', 'auto', False)
    assert shelf.open_for('7-push', 'auto', False)
    Shelf(Videos(tmp_path, of='all', kind='png'), None).put('7-push', 'auto', film(success=True))
    assert names(tmp_path) == ['7-push-auto-won.png']


def test_a_row_s_name_becomes_part_of_a_file_s():
    videos = Videos(Path('v'), kind='gif')
    assert str(videos.place('7-push', 'fixed 8', True)) == 'v/7-push-fixed_8-won.gif'
    assert str(videos.place('7-push', 'remote 0.1,cut=0.2', False)) == (
        'v/7-push-remote_0.1_cut=0.2-lost.gif'
    )


def test_a_folder_with_anything_else_in_it_is_refused_before_the_first_episode(
    bundle, tmp_path, capsys
):
    folder = tmp_path / 'videos'
    folder.mkdir()
    Image.new('RGB', (4, 4)).save(folder / 'holiday.png')
    before = (folder / 'holiday.png').read_bytes()
    assert evaluate(bundle, folder, '--video-kind', 'png') == 2
    said = capsys.readouterr().err
    assert 'there is holiday.png in this one' in said and said.count('\n') == 1
    assert names(folder) == ['holiday.png']
    assert (folder / 'holiday.png').read_bytes() == before


def test_what_a_killed_run_left_half_written_is_no_hindrance(bundle, tmp_path, capsys):
    folder = tmp_path / 'videos'
    folder.mkdir()
    (folder / '.1-push-auto-lost.png.77').write_bytes(b'\x89PNG')
    assert evaluate(bundle, folder, '--modes', 'full', '--video-kind', 'png') == 0
    assert '1000000-push-full-lost.png' in names(folder)


@pytest.mark.parametrize(('words', 'said'), [
    (['--video-of', 'all'], '--video-of = \'all\': expected --videos FOLDER beside it'),
    (['--video-limit', '0', '--videos', 'v'], '--video-limit'),
    (['--video-kind', 'avi', '--videos', 'v'], '--video-kind'),
    (['--modes', 'broker', '--links', '0', '--latency', '0', '--video-kind', 'png',
      '--videos', 'v'], 'broker'),
])  # fmt: skip
def test_a_wrong_call_ends_in_one_line(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', *words]) == 2
    found = capsys.readouterr().err
    assert said in found and found.count('\n') == 1 and not (tmp_path / 'v').exists()


def test_an_error_of_a_worker_can_be_sent_to_its_parent():
    sent = pickle.loads(pickle.dumps(ConfigError('--videos', 'v', 'a new folder')))
    assert isinstance(sent, ConfigError)
    assert str(sent) == "--videos = 'v': expected a new folder" and sent.field == '--videos'


@pytest.mark.slow
def test_two_workers_film_too(bundle, tmp_path, capsys):
    folder = tmp_path / 'videos'
    words = ['--modes', 'full', 'auto', '--workers', '2', '--video-kind', 'png']
    assert evaluate(bundle, folder, *words) == 0
    assert len(names(folder)) == 2


def test_an_evaluation_without_films_does_not_need_pillow():
    """Some robots have none: the options are imported by every evaluation."""
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['PIL'] = None; import dysl_vla_ros.cli.evaluate, "
        'dysl_vla_ros.lab.evaluation.workers'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=False, cwd=Path(__file__).resolve().parents[3])  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_episode_of_another_world_is_a_film_of_its_chunks(bundle):
    policy = open_policy(EngineConfig(path=str(bundle)))
    world, row = Toy(policy.manifest, enough=10), Row('no_pre_skip')
    config = with_bundle(mode_config(NodeConfig(), row), policy.manifest)
    chunks = []
    played = play_episode(world, policy, config, 3, world.instruction, 4, on_chunk=chunks.append)
    camera = policy.manifest.cameras[0].name
    made = film_of(chunks, played, world.instruction, camera, 0.05,
                   world.look().images[camera])  # fmt: skip
    assert [round(frame.time, 3) for frame in made.frames] == [0.0, 0.2, 0.4]
    assert made.success and made.seconds == pytest.approx(0.5)
    assert made.frames[0].image.shape == (PICTURE, PICTURE, 3)
    ran = sum(len(result.trace.layers_run) for one in chunks for result in one.passes)
    assert ran == played.layers_run
    for frame, one in zip(made.frames, chunks, strict=True):
        both = {layer for result in one.passes for layer in result.trace.layers_run}
        assert {k for k, bit in enumerate(frame.mask) if bit == '1'} == both
    policy.engine.close()


def test_the_limit_and_the_folder_are_options_of_the_evaluation_alone(tmp_path):
    with pytest.raises(ConfigError, match='without the control loop|the control loop'):
        EvaluateOptions(modes=('broker',), links=('0',), latency=0.0, videos=Videos(tmp_path))
