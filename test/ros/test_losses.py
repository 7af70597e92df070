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


@pytest.mark.parametrize('share', [0.2, 0.5, 0.75, 0.85])
@pytest.mark.parametrize('seed', range(5))
def test_of_pictures_that_go_missing_the_share_is_found(share, seed):
    stamps = taken(10.0, jitter=0.004, seed=seed)
    came = stamps[np.random.default_rng(seed).random(len(stamps)) >= share]
    found = report(came)
    lost = 1.0 - min(len(came), 120) / (1.0 + HZ * (came[-1] - came[-120:][0]))
    assert found.ratio == pytest.approx(lost, abs=0.03)
    assert found.taken_hz == pytest.approx(HZ, abs=0.02)


def test_a_camera_that_catches_up_after_being_late_is_understood():
    stamps = taken(10.0)
    for late in range(5, 290, 23):  # late by two pictures, which then come at once
        stamps[late : late + 2] = stamps[late + 2] - np.array([0.004, 0.002])
    came = stamps[np.random.default_rng(0).random(len(stamps)) >= 0.8]
    found = report(came)
    assert found.taken_hz == pytest.approx(HZ, rel=0.02)
    assert found.ratio == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize('seed', range(5))
def test_a_camera_that_trembles_has_lost_nothing(seed):
    found = report(taken(jitter=0.006, seed=seed))
    assert found is None or found.lost == 0


@pytest.mark.parametrize('seed', range(5))
def test_stamps_without_a_rhythm_say_nothing(seed):
    gaps = np.random.default_rng(seed).uniform(0.001, 0.1, 100)
    assert report(np.cumsum(gaps)) is None  # chance would find a rhythm in one of a hundred


def test_few_pictures_repeated_ones_and_a_clock_set_back_say_nothing():
    assert report(taken(0.3)) is None
    assert report(np.repeat(taken(3.0), 2)).arrived == 90
    assert report([*taken(), *(taken(0.3) - 100.0)]) is None


def test_only_the_last_seconds_count():
    lossy = taken(30.0)
    lossy = lossy[(lossy > 15.0) | (np.arange(len(lossy)) % 3 == 0)]
    assert report(lossy).lost == 0
    slow = 6.0 * taken(10.0)  # 5 Hz
    slow = slow[(slow > 45.0) | (np.arange(len(slow)) % 3 == 0)]
    assert report(slow).lost == 0
