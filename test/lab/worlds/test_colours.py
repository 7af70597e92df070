"""Other colours for a texture: drawn, of the same shape, as bright as they were where turned."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.lab.worlds.libero import colours
from dysl_vla_ros.lab.worlds.libero.colours import recoloured


def label(height=16, width=24):
    """Red, with a white stripe, in blocks that survive being thinned."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:] = (200, 40, 40)
    pixels[4:8] = 230
    return pixels


def draws(number, pixels=None):
    return recoloured(label() if pixels is None else pixels, np.random.default_rng(number))


def test_the_same_seed_draws_the_same_colours_and_another_others():
    assert np.array_equal(draws(1), draws(1))
    assert not np.array_equal(draws(1), draws(2))


@pytest.mark.parametrize('shape', [(16, 24), (17, 30), (1, 1), (4, 3)])
def test_a_texture_of_any_size_keeps_its_size(shape):
    assert draws(3, label(*shape)).shape == (*shape, 3)


def test_every_hue_comes_up_in_place_of_red(monkeypatch):
    monkeypatch.setattr(colours, '_PLAIN', 0.0)
    strongest = {int(draws(number)[0, 0].argmax()) for number in range(30)}
    assert strongest == {0, 1, 2}


def test_a_turned_label_keeps_its_pattern_and_what_is_grey_in_it(monkeypatch):
    monkeypatch.setattr(colours, '_PLAIN', 0.0)
    monkeypatch.setattr(colours, '_TINTED', 0.0)
    for number in range(20):
        found = draws(number)
        assert np.abs(found[5].astype(int) - 230).max() <= 1, 'white stays white'
        assert (found[0] == found[12]).all() and (found[0] != found[5]).any()


def test_some_labels_give_way_to_one_colour(monkeypatch):
    monkeypatch.setattr(colours, '_PLAIN', 1.0)
    found = draws(5)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1
