"""Which windows a slowed controller is sent: those that say something new, and soon enough."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dysl_vla_ros.core.resend import AGAIN_S, Resend

SPEED = np.array([0.3, -0.1])


def window(at, stamp=0.0, gripper=None, speed=SPEED, hold=False, more_grippers=()):
    """A window that begins where a constant speed has led after ``at`` seconds."""
    times = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25])
    positions = at * SPEED + np.minimum(times, 0.2)[:, None] * speed
    velocities = np.repeat(np.asarray(speed)[None], len(times), axis=0)
    velocities[-1] = 0.0
    return SimpleNamespace(
        stamp=stamp, gripper=gripper, more_grippers=more_grippers, hold=hold, armed=True,
        window_times=times, window_positions=positions, window_velocities=velocities,
    )  # fmt: skip


@pytest.fixture
def told():
    resend = Resend(0.2)
    assert resend.is_due(5.0, window(0.0))
    resend.sent(5.0, window(0.0))
    return resend


def test_what_says_the_same_is_kept_back_until_half_of_the_look_ahead_is_over(told):
    assert not told.is_due(5.006, window(0.006, 0.02))
    assert not told.is_due(5.09, window(0.09, 0.29))
    assert told.is_due(5.11, window(0.11, 0.29))


def test_what_says_something_new_is_due_at_once(told):
    assert told.is_due(5.006, window(0.006, 0.02, speed=0.5 * SPEED))
    assert told.is_due(5.006, window(0.006, 0.02, speed=0.0 * SPEED))
    assert told.is_due(5.006, window(0.02, 0.02))
    assert told.is_due(5.006, window(0.006, 0.02, gripper=0.4))
    assert told.is_due(5.006, window(0.006, 0.02, more_grippers=(0.4,)))


def test_that_it_rests_is_due_at_once_however_little_differs(told):
    assert told.is_due(5.006, window(0.006, 0.02, hold=True))
    told.sent(5.006, window(0.006, 0.02, hold=True))
    assert not told.is_due(5.007, window(0.007, 0.03, hold=True))


def test_a_controller_that_hardly_moves_is_told_again_after_a_moment_all_the_same(told):
    assert not told.is_due(5.0, window(0.0, AGAIN_S - 0.01))
    assert told.is_due(5.0, window(0.0, AGAIN_S + 0.01))


def test_after_a_silence_everything_is_new(told):
    told.forget()
    assert told.is_due(5.006, window(0.006, 0.02))
