"""The thread that commands: its rhythm, and that nothing ends it."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from dysl_vla_ros.hardware import realtime
from dysl_vla_ros.ros import command_thread
from dysl_vla_ros.ros.command_thread import SWITCH_INTERVAL_S, CommandThread


def test_the_command_thread_survives_an_exception_and_reports_it():
    ticks, errors, done = [], [], threading.Event()

    def tick(now):
        ticks.append(now)
        if len(ticks) == 2:
            raise ValueError('broken')
        if len(ticks) == 4:
            done.set()
        return True

    thread = CommandThread(tick, lambda now, reason: errors.append(reason), 0.005)
    thread.start()
    assert done.wait(5)
    thread.finish(0.0)
    assert errors == ["the command tick failed: ValueError('broken')"]


def test_the_command_thread_ticks_on_until_the_arm_rests_and_gives_up_in_time():
    left = iter([True] * 5)
    resting = CommandThread(lambda now: next(left, False), lambda *_: None, 0.005)
    resting.start()
    assert resting.finish(5.0)
    restless = CommandThread(lambda now: True, lambda *_: None, 0.005)
    restless.start()
    assert not restless.finish(0.02)


def test_the_command_thread_survives_that_nobody_can_be_told_of_its_failure(caplog):
    ticks, done = [], threading.Event()

    def tick(now):
        ticks.append(now)
        if len(ticks) == 5:
            done.set()
        raise ValueError('broken')

    def report(now, reason):
        raise RuntimeError('the publisher is gone')

    thread = CommandThread(tick, report, 0.005)
    thread.start()
    assert done.wait(5)
    assert thread._on_error.failures >= 4
    thread.finish(0.0)
    assert 'what follows a failed tick failed' in caplog.text


def test_the_command_thread_says_what_it_obtained_and_asks_for_nothing_when_told_so(monkeypatch):
    asked = []

    def claim():
        asked.append(threading.current_thread().name)
        return realtime.Realtime(True, True)

    monkeypatch.setattr(realtime, 'claim', claim)
    for wanted in (False, True):
        done = threading.Event()
        thread = CommandThread(lambda now: done.set(), lambda *_: None, 0.005, wanted)  # noqa: B023
        thread.start()
        assert done.wait(5)
        thread.finish(1.0)
        assert thread.realtime.fifo is wanted
    assert asked == ['commands']


def test_a_late_tick_is_told_the_time_at_which_it_runs():
    ticks, done = [], threading.Event()

    def tick(now):
        ticks.append((now, time.monotonic()))
        if len(ticks) == 1:
            time.sleep(0.1)
        if len(ticks) == 3:
            done.set()
        return True

    thread = CommandThread(tick, lambda *_: None, 0.02)
    thread.start()
    assert done.wait(5)
    thread.finish(0.0)
    told = [now for now, _ in ticks]
    assert told[1] - told[0] >= 0.1
    assert all(now <= real for now, real in ticks)
    # Not the deadline that was missed, which lies whole periods back.
    assert ticks[1][1] - ticks[1][0] < 0.5 * (told[1] - told[0])


def test_a_late_tick_is_not_made_up_for_by_a_burst():
    ticks, done = [], threading.Event()

    def tick(now):
        ticks.append(now)
        if len(ticks) == 1:
            time.sleep(0.055)
        if len(ticks) == 6:
            done.set()
        return True

    thread = CommandThread(tick, lambda *_: None, 0.02)
    thread.start()
    assert done.wait(5)
    thread.finish(0.0)
    phase = (np.array(ticks[1:]) - ticks[0]) / 0.02
    assert phase[0] >= 2.75  # the first deadline that was not missed
    assert np.diff(phase).min() > 0.5


def ticking(tick, count=4, period=0.005, on_error=lambda *_: None):
    """A thread that has ticked ``count`` times and is told to end."""
    ticks, done = [], threading.Event()

    def counted(now):
        ticks.append(now)
        if len(ticks) == count:
            done.set()
        return tick(now)

    thread = CommandThread(counted, on_error, period)
    thread.start()
    assert done.wait(5)
    thread.finish(0.0)
    return thread, ticks


def test_ticks_keep_to_multiples_of_the_period_whatever_a_tick_takes(monkeypatch):
    """With a clock that only ticks and waits advance: 12 ms of work, once 50 ms."""
    clock = SimpleNamespace(now=5.0, ticks=[])

    def wait(seconds):
        clock.now += seconds
        return len(clock.ticks) == 8

    def tick(now):
        clock.ticks.append(now)
        clock.now += 0.05 if len(clock.ticks) == 3 else 0.012
        return True

    monkeypatch.setattr(command_thread, 'time', SimpleNamespace(monotonic=lambda: clock.now))
    thread = CommandThread(tick, lambda *_: None, 0.02)
    thread._abort = SimpleNamespace(wait=wait)
    thread._run()
    whole = (np.array(clock.ticks) - 5.0) / 0.02
    assert whole == pytest.approx([0, 1, 2, 5, 6, 7, 8, 9])  # at 90 ms two were missed


def test_a_tick_that_failed_counts_as_rest_so_that_the_thread_can_end():
    def fail(now):
        raise ValueError('broken')

    thread, _ = ticking(fail)
    assert not thread.alive


def test_the_same_error_is_logged_once_and_another_one_again(caplog):
    broken = iter(['one', 'one', 'two', 'two'])
    told = []

    def fail(now):
        raise ValueError(next(broken, 'two'))

    ticking(fail, on_error=lambda now, reason: told.append((now, reason)))
    assert len([r for r in caplog.records if 'the command tick failed' in r.message]) == 2
    assert [reason for _, reason in told][:3] == [
        "the command tick failed: ValueError('one')",
        "the command tick failed: ValueError('one')",
        "the command tick failed: ValueError('two')",
    ]
    assert all(isinstance(now, float) for now, _ in told)


def test_it_is_alive_until_it_is_told_to_end_and_has_stopped():
    thread = CommandThread(lambda now: True, lambda *_: None, 0.005)
    assert not thread.alive
    thread.start()
    assert thread.alive
    thread.finish(0.0)
    assert not thread.alive


def test_other_threads_keep_the_interpreter_for_a_millisecond_at_most(monkeypatch):
    asked = []
    monkeypatch.setattr(sys, 'setswitchinterval', asked.append)
    monkeypatch.setattr(sys, 'getswitchinterval', lambda: 0.005)
    ticking(lambda now: False)
    monkeypatch.setattr(sys, 'getswitchinterval', lambda: 0.0002)
    ticking(lambda now: False)
    assert asked == [SWITCH_INTERVAL_S, 0.0002]


def test_a_tick_that_comes_late_is_told_the_time_at_which_it_runs():
    from dysl_vla_ros.ros.command_thread import CommandThread

    class Late(threading.Event):
        waits = 0

        def wait(self, timeout=None):
            self.waits += 1
            ended = super().wait(timeout)
            if self.waits == 3:
                time.sleep(0.2)  # the system gave the processor to others
            return ended

    ticks, done = [], threading.Event()

    def tick(now):
        ticks.append(now)
        if len(ticks) == 4:
            done.set()
        return True

    thread = CommandThread(tick, lambda *_: None, 0.02)
    thread._abort = Late()
    thread.start()
    assert done.wait(5)
    thread.finish(0.0)
    assert ticks[2] - ticks[1] >= 0.2
