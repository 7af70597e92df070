"""What stands aside is not walked; what was dropped meanwhile is found the next time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dysl_vla_ros.hardware import garbage

RESIDENT = """
from pathlib import Path

def resident():
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096
"""
SWEEP = """
import weakref
from dysl_vla_ros.hardware.garbage import Sweep, set_aside

class Ring:
    def __init__(self):
        self.own = self

sweep = Sweep(10.0)
assert not sweep.if_due(100.0), 'nothing stands aside'
set_aside()
found = weakref.ref(Ring())
assert found() is not None
assert sweep.if_due(100.0) and found() is None
assert not sweep.if_due(109.0) and sweep.if_due(110.0)
"""
ROOM = """
from dysl_vla_ros.hardware.garbage import set_aside

set_aside()
before = resident()
many = [str(number) * 20 for number in range(10_000)]  # about 2 MB
assert resident() - before < 300_000, resident() - before
"""
LARGE = """
from dysl_vla_ros.hardware.garbage import give_back_large_blocks

def hole():
    # Of glibc's heap the middle is not given back: a small block stands above it.
    large = [bytearray(b'x') * (2 << 20) for _ in range(8)]
    small = [bytearray(1000) for _ in range(200)]
    del large
    return small

if not give_back_large_blocks():
    raise SystemExit(0)  # another C library
before = resident()
kept = [hole() for _ in range(3)]
assert resident() - before < 4 << 20, resident() - before
"""
CYCLE = """
import gc, weakref
from dysl_vla_ros.hardware.garbage import set_aside

class Ring:
    def __init__(self):
        self.own = self

old = Ring()
found = weakref.ref(old)
aside = set_aside()
assert 1000 < aside == gc.get_freeze_count()
assert not any(x is old for x in gc.get_objects())
del old
gc.collect()
assert found() is not None, 'it stands aside'
set_aside()
assert found() is None, 'dropped since the last time'
"""


def test_what_stands_aside_is_not_walked_and_what_was_dropped_is_found_the_next_time():
    run(CYCLE)


def test_waste_in_cycles_is_collected_at_short_intervals_once_something_stands_aside():
    run(SWEEP)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_large_blocks_go_back_to_the_system():
    run(RESIDENT + LARGE)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_the_memory_of_later_peaks_is_taken_at_the_start():
    run(RESIDENT + ROOM)


def run(program):
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_executables_of_node_and_arm_set_aside_what_they_made(monkeypatch):
    pytest.importorskip('rclpy')
    from dysl_vla_ros.ros import lifecycle_node, sim_arm, vla_node

    monkeypatch.setattr(lifecycle_node, 'VlaNode', lambda settle: settle)
    assert vla_node._make() is garbage.set_aside
    pytest.importorskip('mujoco')
    from dysl_vla_ros.ros import sim_node

    done = []

    class Arm:
        def start(self):
            done.append('started')

    monkeypatch.setattr(sim_node, 'SimNode', Arm)
    monkeypatch.setattr(garbage, 'set_aside', lambda: done.append('set aside'))
    monkeypatch.setattr(garbage, 'give_back_large_blocks', lambda: done.append('large'))
    sim_arm._make()
    assert done == ['large', 'set aside', 'started']
