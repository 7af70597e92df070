"""Pictures must show what tasks are about, and be the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.sim.camera import CAMERAS, COLOURS
from dysl_vla_ros.sim.world import World


def _pixels_of(picture: np.ndarray, colour: str) -> int:
    """How many pixels are nearer in hue to ``colour`` than to any other or to grey."""
    values = picture.reshape(-1, 3).astype(float)
    values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-9
    names = [*COLOURS, 'grey', 'brown']
    table = np.array([*COLOURS.values(), (0.6, 0.6, 0.62), (0.36, 0.26, 0.20)])
    table = table / np.linalg.norm(table, axis=1, keepdims=True)
    return int((np.argmax(values @ table.T, axis=1) == names.index(colour)).sum())


@pytest.mark.parametrize('seed', range(8))
def test_the_third_person_camera_sees_every_object(world: World, seed: int) -> None:
    episode = world.reset(seed)
    picture = world.render('image', CAMERAS['image'])
    present = {thing.colour for thing in episode.things}
    for colour in COLOURS:
        count = _pixels_of(picture, colour)
        assert (count >= 25) if colour in present else (count < 15), (colour, count)


def test_the_wrist_camera_sees_what_lies_between_the_fingers(world: World) -> None:
    episode = world.reset(3)
    x, y, z = episode.target.position
    joints = world.inverse(np.array((x, y, z + 0.06)), world.commanded_pose()[1])
    world.command_trajectory(np.array((2.0,)), joints[None], np.zeros((1, 6)))
    world.advance(2.5)
    picture = world.render('wrist_image', CAMERAS['wrist_image'])
    assert _pixels_of(picture, episode.target.colour) > 150


def test_the_picture_has_the_size_that_was_asked_for(world: World) -> None:
    for size in (32, 96, 128):
        picture = world.render('image', size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8


def test_light_and_camera_differ_between_episodes(world: World) -> None:
    corners = []
    for seed in range(4):
        world.reset(seed)
        corners.append(world.render('image', 96)[80, 2])
    assert len({tuple(corner) for corner in corners}) == 4


def test_a_picture_follows_the_arm(world: World) -> None:
    before = world.render('image', 96)
    joints = world.joint_positions + np.array((0.3, 0.0, 0.0, 0.0, 0.0, 0.0))
    world.command_trajectory(np.array((1.0,)), joints[None], np.zeros((1, 6)))
    world.advance(1.5)
    assert (world.render('image', 96) != before).any(axis=2).sum() > 300


def test_a_wide_picture_shows_more_beside_and_its_middle_is_the_square_one(world: World) -> None:
    world.reset(5)
    square, wide = world.render('image', 96), world.render('image', 96, 128)
    assert wide.shape == (96, 128, 3)
    assert np.abs(wide[:, 16:112].astype(int) - square).max() <= 1  # rays rounded otherwise
    assert world.render('image', 64, 32).shape == (64, 32, 3)
