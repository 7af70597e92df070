"""Lost pictures are counted by the stamps of those that came."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.ros
HZ = 30.0


def report(stamps):
    from dysl_vla_ros.ros.losses import Losses

    losses = Losses()
    for stamp in stamps:
        losses.add(1000.0 + stamp)
    return losses.report()


def taken(seconds=5.0, jitter=0.0, seed=0):
    stamps = np.arange(int(seconds * HZ)) / HZ
    return stamps + np.random.default_rng(seed).uniform(-jitter, jitter, len(stamps))


def test_a_camera_of_which_all_arrives_has_lost_nothing():
    found = report(taken())
    assert (found.lost, found.ratio) == (0, 0.0)
    assert found.taken_hz == pytest.approx(HZ)


@pytest.mark.parametrize('share', [0.2, 0.5, 0.75])
@pytest.mark.parametrize('seed', range(5))
def test_of_pictures_that_go_missing_the_share_is_found(share, seed):
    stamps = taken(jitter=0.002, seed=seed)
    came = stamps[np.random.default_rng(seed).random(len(stamps)) >= share]
    found = report(came)
    assert found.ratio == pytest.approx(1.0 - len(came) / len(stamps), abs=0.04)
    assert found.taken_hz == pytest.approx(HZ, rel=0.05)


@pytest.mark.parametrize('seed', range(5))
def test_a_camera_that_trembles_has_lost_nothing(seed):
    found = report(taken(jitter=0.006, seed=seed))
    assert found is None or found.lost == 0


@pytest.mark.parametrize('seed', range(5))
def test_stamps_without_a_rhythm_say_nothing(seed):
    gaps = np.random.default_rng(seed).uniform(0.001, 0.1, 100)
    assert report(np.cumsum(gaps)) is None


def test_few_pictures_repeated_ones_and_a_clock_set_back_say_nothing():
    assert report(taken(0.3)) is None
    assert report(np.repeat(taken(), 2)).lost == 0
    assert report([*taken(), *(taken(0.3) - 100.0)]) is None


def test_only_the_last_seconds_count():
    lossy = taken(20.0)
    lossy = lossy[(lossy > 10.0) | (np.arange(len(lossy)) % 3 == 0)]
    assert report(lossy).lost == 0
