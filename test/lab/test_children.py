"""Ctrl-C in a terminal reaches every process; the workers leave it to their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from dysl_vla_ros.lab.children import deaf_to_ctrl_c

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
