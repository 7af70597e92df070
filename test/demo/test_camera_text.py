"""A picture in character cells: its shape, its colours, its brightness."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.demo.camera_text import camera_text


def image(height=40, width=40):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2] = (250, 10, 20)
    return picture


def test_a_square_picture_is_twice_as_many_cells_wide_as_high():
    lines = camera_text(image(), 80, 10, colour=True).plain.split('\n')
    assert (len(lines), {len(line) for line in lines}) == (10, {20})


def test_a_wide_picture_is_bounded_by_the_columns():
    lines = camera_text(image(20, 80), 20, 30, colour=True).plain.split('\n')
    assert (len(lines), len(lines[0])) == (2, 20)


def test_upper_and_lower_pixels_are_fore_and_background():
    text = camera_text(image(4, 2), 2, 2, colour=True)
    first, last = text.spans[0].style, text.spans[-1].style
    assert (first.color.triplet, first.bgcolor.triplet) == ((250, 10, 20), (250, 10, 20))
    assert (last.color.triplet, last.bgcolor.triplet) == ((0, 0, 0), (0, 0, 0))


def test_without_colour_bright_is_dense_and_black_is_blank():
    text = camera_text(np.repeat(np.array([0, 255], np.uint8), 3).reshape(1, 2, 3), 2, 1, False)
    assert text.plain == ' @'
