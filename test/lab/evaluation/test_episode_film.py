"""A film of an episode: what is kept of it, and the pictures that show it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.film import PICTURE, Film, Frame, _joined
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
    assert _joined(['1100', '0011']) == '1111'
    assert _joined(['1000']) == '1000'


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
    with pytest.raises(ConfigError, match='ends in .png or .gif'):
        check_target(tmp_path / 'film.mp4')


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
