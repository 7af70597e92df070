"""Where a command may write: its own kind of thing, nothing else, and whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.targets import file_target, folder_target, write_whole


def never(path):
    return False


def ours(path):
    return (path / 'ours').is_file() if path.is_dir() else path.read_bytes() == b'ours'


def tree(folder):
    return {str(p.relative_to(folder)): p.is_file() and p.read_bytes() for p in folder.rglob('*')}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a project in it, which is the current folder."""
    project = tmp_path / 'home' / 'project'
    project.mkdir(parents=True)
    (project / 'thesis.tex').write_text('years')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(project)
    return tmp_path / 'home'


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('.', 'this is the current folder'),
        ('..', 'this is the home folder'),
        ('~', 'this is the home folder'),
        ('../project', 'this is the current folder'),
        ('sub/..', 'this is the current folder'),
        ('../..', 'a folder above the current one'),
        ('/', 'a folder above the current one'),
        ('thesis.tex', 'the name of a folder: this is a file'),
        ('thesis.tex/bundle', 'thesis.tex is a file'),
        ('../link', 'this is a link to project'),
        ('../dangling', 'this is a link to nowhere'),
        ('../other', 'there is a, b, c, d, e and 2 more in this one'),
    ],
)
def test_a_folder_that_is_not_ours_is_refused_in_one_line_and_nothing_is_touched(
    home, path, words
):
    (home / 'project' / 'sub').mkdir()
    (home / 'link').symlink_to('project')
    (home / 'dangling').symlink_to('nowhere')
    (home / 'other').mkdir()
    for name in 'abcdefg':
        (home / 'other' / name).write_text('kept')
    before = tree(home)
    with pytest.raises(ConfigError, match=words) as caught:
        folder_target('bundle', Path(path), never, 'a bundle')
    assert str(caught.value).startswith(f"bundle = '{path}': expected ")
    assert '\n' not in str(caught.value)
    assert tree(home) == before


def test_the_current_folder_is_refused_even_where_it_is_ours(home):
    (home / 'project' / 'ours').write_text('')
    with pytest.raises(ConfigError, match='this is the current folder'):
        folder_target('bundle', Path('.'), ours, 'a bundle')


def test_a_new_an_empty_and_an_own_folder_may_be_written(home):
    (home / 'project' / 'empty').mkdir()
    (home / 'project' / 'own').mkdir()
    (home / 'project' / 'own' / 'ours').write_text('')
    for name in ('new', 'new/below', 'empty', 'own'):
        assert folder_target('bundle', Path(name), ours, 'a bundle') == Path.cwd() / name


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('.', 'this is a folder'),
        ('sub', 'this is a folder'),
        ('/dev/null', 'this is a device or a pipe'),
        ('../link', 'this is a link to project/thesis.tex'),
        ('thesis.tex/out.json', 'thesis.tex is a file'),
        ('thesis.tex', 'a new file or a report: this one is something else'),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_stays(home, path, words):
    (home / 'project' / 'sub').mkdir()
    (home / 'link').symlink_to('project/thesis.tex')
    before = tree(home)
    with pytest.raises(ConfigError, match=words):
        file_target('--json', Path(path), ours, 'a report')
    assert tree(home) == before


def test_a_new_an_empty_and_an_own_file_may_be_written(home):
    Path('empty').write_text('')
    Path('own').write_text('ours')
    for name in ('new', 'folder/new', 'empty', 'own'):
        file_target('--json', Path(name), ours, 'a report')
    assert not Path('folder').exists()


def test_a_file_is_the_old_one_or_the_new_one_and_no_half_is_left(tmp_path):
    path = tmp_path / 'deep' / 'report'
    write_whole(path, b'old')

    def half(place):
        place.write_bytes(b'ne')
        raise OSError(28, 'No space left on device')

    with pytest.raises(OSError, match='No space'):
        write_whole(path, half)
    assert tree(tmp_path) == {'deep': False, 'deep/report': b'old'}
    write_whole(path, b'new')
    assert tree(tmp_path) == {'deep': False, 'deep/report': b'new'}


def test_a_link_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / 'real').write_bytes(b'old')
    os.symlink('real', tmp_path / 'link')
    with pytest.raises(ConfigError, match='this is a link'):
        write_whole(tmp_path / 'link', b'new')
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'real').read_bytes() == b'old'
