"""One tiny published checkpoint for all tests of a session; tests that break it copy it."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope='session')
def upstream():
    from tiny_oft import UpstreamOft

    return UpstreamOft(layers=4)


@pytest.fixture(scope='session')
def published(tmp_path_factory, upstream):
    from tiny_oft import save_oft

    folder = tmp_path_factory.mktemp('published') / 'oft'
    save_oft(upstream, folder)
    return folder


@pytest.fixture
def breakable(tmp_path, published):
    """A copy of the small files; the weights are linked."""
    folder = tmp_path / 'copy'
    folder.mkdir()
    for path in published.iterdir():
        if path.suffix in ('.safetensors', '.pt'):
            (folder / path.name).symlink_to(path)
        else:
            shutil.copy(path, folder / path.name)
    return folder
