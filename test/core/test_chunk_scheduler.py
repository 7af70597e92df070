"""Chunks on the progress axis: what is dropped, what counts as executed, how slow."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.chunk_scheduler import ChunkScheduler
from dysl_vla_ros.core.safety import MotionLimits

PERIOD = 0.05
HORIZON = 8
LIMITS = MotionLimits(('a',), [-9.0], [9.0], [3.0], 10.0, 0.3)


def chunk(first=0.0):
    targets = first + 0.01 * np.arange(HORIZON + 1.0)[:, None]
    displacements = np.arange(HORIZON, dtype=float)[:, None]
    return targets, displacements


class Played:
    """A scheduler whose progress grows as told."""

    def __init__(self):
        self.scheduler = ChunkScheduler(PERIOD)
        self.now = 0.0
        self.ended = []

    def accept(self, start, gripper=None, limit=None):
        targets, displacements = chunk()
        return self.scheduler.accept(start, targets, displacements, gripper, LIMITS, limit)

    def play(self, progress, moving=True, seconds=0.1):
        self.now += seconds
        place = np.array([progress])
        self.ended += self.scheduler.note(self.now, progress, moving, place, place - 1.0)
        return self


def test_an_action_counts_once_it_has_ended_and_only_once():
    played = Played()
    played.accept(0.0)
    for progress in (0.4, 0.99, 1.0, 1.0, 2.6):
        played.play(progress)
    assert [float(row[0]) for row in played.ended] == [0.0, 1.0]


def test_a_chunk_that_begins_at_a_fraction_counts_its_own_actions():
    """After a stop at 0.7 its first action ends at 1.7, not at 1."""
    played = Played().play(0.7)
    played.scheduler.anchor()
    played.accept(0.7)
    played.play(1.2)
    assert played.ended == []
    played.play(1.7).play(2.7)
    assert [float(row[0]) for row in played.ended] == [0.0, 1.0]


def test_over_a_seam_no_action_counts_twice():
    played = Played()
    played.accept(0.0)
    played.play(4.1)
    played.accept(2.4)  # observed at 2.4: 1.7 of its actions are played
    played.play(6.0)
    assert [float(row[0]) for row in played.ended] == [0.0, 1.0, 2.0, 3.0, 2.0]


def test_nothing_is_left_of_a_chunk_that_was_overtaken():
    played = Played().play(9.0)
    assert played.accept(0.0) is None
    assert played.scheduler.remaining == 0.0


def test_a_prefix_is_a_shorter_path():
    played = Played()
    path = played.accept(0.0, limit=3)
    assert path.end == 3.0 and played.scheduler.remaining == 3.0


def test_what_was_commanded_and_measured_at_a_past_instant_is_interpolated():
    played = Played().play(1.0).play(2.0)
    progress, commanded, measured = played.scheduler.reference_at(0.15)
    assert progress == pytest.approx(1.5)
    assert commanded == pytest.approx([1.5]) and measured == pytest.approx([0.5])


def test_an_instant_before_the_last_anchor_is_not_known():
    played = Played().play(1.0).play(2.0)
    played.scheduler.anchor()
    assert played.scheduler.reference_at(0.15) is None
    played.play(2.0)
    assert played.scheduler.reference_at(0.1) is None
    assert played.scheduler.reference_at(0.3) is not None


def test_the_gripper_is_that_of_the_action_played_within_0_and_1():
    played = Played()
    played.accept(0.0, gripper=np.array([1.0, 1.0, -0.5, 7.0, 0, 0, 0, 0]))
    assert played.play(0.5).scheduler.gripper == 1.0
    assert played.play(2.5).scheduler.gripper == 0.0
    assert played.play(3.5).scheduler.gripper == 1.0
    assert played.play(4.5, moving=False).scheduler.gripper == 1.0


@pytest.mark.parametrize(('latency', 'stretch'), [(0.0, 1.0), (0.15, 1.0), (0.25, 1.5), (9, 2.0)])
def test_late_passes_slow_playback_down_up_to_a_bound(latency, stretch):
    scheduler = ChunkScheduler(PERIOD, max_stretch=2.0)
    scheduler.stretch_for(latency, 0.5, HORIZON, brake_seconds=0.1)
    assert scheduler.stretch == pytest.approx(stretch)
    assert scheduler.top_speed == pytest.approx(20.0 / stretch)


def test_small_changes_of_the_latency_leave_the_speed_alone():
    scheduler = ChunkScheduler(PERIOD, max_stretch=3.0)
    for latency in (0.350, 0.345):
        scheduler.stretch_for(latency, 0.5, HORIZON, brake_seconds=0.1)
    assert scheduler.stretch == pytest.approx(2.0)
