"""Scheduling of a thread and locking of memory: taken where allowed, never an error."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from dysl_vla_ros.hardware import realtime
from dysl_vla_ros.hardware.realtime import PRIORITY, Realtime


def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(10)
    return found[0]


def locked_kib():
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('VmLck')).split()[1])


def test_what_is_said_to_be_obtained_is_what_the_system_says():
    before = os.sched_getscheduler(0)  # the idle or the batch class, if the shell's is

    def work():
        obtained = realtime.claim()
        child = os.fork()  # what it starts is ordinary again
        if child == 0:
            os._exit(os.sched_getscheduler(0))
        return obtained, os.sched_getscheduler(0), os.waitpid(child, 0)[1] >> 8

    try:
        obtained, scheduler, of_child = in_a_thread(work)
        fifo = scheduler & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        assert obtained.fifo is fifo
        assert of_child == (os.SCHED_OTHER if fifo else before)
        assert obtained.locked is (locked_kib() > 0)
        assert bool(obtained.problems) is not (obtained.fifo and obtained.locked)
        assert (f'SCHED_FIFO {PRIORITY}' in obtained.text) is fifo
        assert os.sched_getscheduler(0) == before, 'the other threads stay as they were'
    finally:
        realtime.try_out()


def test_trying_it_out_leaves_everything_as_it_was():
    before = os.sched_getscheduler(0)
    realtime.try_out()
    assert locked_kib() == 0
    assert os.sched_getscheduler(0) == before


@pytest.fixture
def forbidden(monkeypatch):
    def refuse(*arguments):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'sched_setscheduler', refuse)
    monkeypatch.setattr(realtime, '_may_lock_all', lambda: False)
    monkeypatch.setattr(resource, 'getrlimit', lambda which: (2**23, 2**23))


def test_where_it_is_refused_the_reasons_are_said_and_nothing_is_raised(forbidden):
    obtained = in_a_thread(realtime.claim)
    assert (obtained.fifo, obtained.locked) == (False, False)
    assert obtained.text == 'ordinary scheduling, memory not locked'
    assert 'SCHED_FIFO 40 is refused' in obtained.problems[0]
    assert 'the limit memlock is 8192 KiB, not unlimited' in obtained.problems[1]
    assert locked_kib() == 0, 'memory locked under a limit is refused later, in the middle'


def test_a_user_without_limits_may_lock_and_one_with_the_capability_too(monkeypatch):
    calls = []

    class Library:
        def mlockall(self, flags):
            calls.append(flags)
            return 0

    monkeypatch.setattr(realtime.ctypes, 'CDLL', lambda *a, **k: Library())
    for limit, capable in ((resource.RLIM_INFINITY, False), (2**23, True), (2**23, False)):
        monkeypatch.setattr(resource, 'getrlimit', lambda which, limit=limit: (limit, limit))
        monkeypatch.setattr(realtime, '_may_lock_all', lambda capable=capable: capable)
        realtime._lock_memory()
    assert calls == [7, 7]  # current, future, on fault


def test_what_the_kernel_refuses_is_named(monkeypatch):
    class Library:
        def mlockall(self, flags):
            return -1

    monkeypatch.setattr(realtime, '_may_lock_all', lambda: True)
    monkeypatch.setattr(realtime.ctypes, 'CDLL', lambda *a, **k: Library())
    assert realtime._lock_memory()[0].startswith('memory is not locked: ')
    assert Realtime().text == 'ordinary scheduling, memory not locked'
