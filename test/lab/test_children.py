"""Ctrl-C in a terminal reaches every process; the workers leave it to their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from dysl_vla_ros.lab.children import deaf_to_ctrl_c, starter_is_there

WAITS = 'import sys; print("here", flush=True); sys.stdin.read()'


def test_a_worker_says_nothing_and_goes_on_when_ctrl_c_is_pressed():
    before = signal.getsignal(signal.SIGINT)
    with deaf_to_ctrl_c():
        child = subprocess.Popen([sys.executable, '-c', WAITS], stdin=subprocess.PIPE, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert signal.getsignal(signal.SIGINT) is before
    assert child.stdout.readline() == 'here\n'
    os.kill(child.pid, signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 0 and error == ''


def test_the_first_of_all_processes_always_has_its_starter():
    assert starter_is_there()


ORPHAN = """
import multiprocessing, sys, time
from dysl_vla_ros.lab.children import starter_is_there

def work(file):
    with open(file, 'w') as out:
        for _ in range(600):
            print(int(starter_is_there()), file=out, flush=True)
            if not starter_is_there():
                return
            time.sleep(0.1)

if __name__ == '__main__':
    process = multiprocessing.get_context('spawn').Process(target=work, args=(sys.argv[1],))
    process.start()
    time.sleep(600)
"""


def test_a_worker_sees_that_its_starter_was_killed(tmp_path):
    script, out = tmp_path / 'starts.py', tmp_path / 'out'
    script.write_text(ORPHAN)
    starter = subprocess.Popen([sys.executable, str(script), str(out)])

    def said():
        return out.read_text().split() if out.is_file() else []

    deadline = time.monotonic() + 120
    while not said() and time.monotonic() < deadline:
        time.sleep(0.1)
    starter.kill()
    starter.wait()
    while '0' not in said() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert said()[0] == '1' and said()[-1] == '0'
