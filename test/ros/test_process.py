"""The loop of an executable: no callback ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import DOMAIN

pytestmark = pytest.mark.ros


class Panic(BaseException):
    """As a library in Rust raises: no Exception."""


@pytest.mark.parametrize('error', [ValueError, Panic])
def test_a_callback_that_raises_is_logged_and_the_next_ones_run(error):
    from dysl_vla_ros.ros.process import _spin

    stop, errors, turns = threading.Event(), [], []

    def spin_once(timeout_sec):
        turns.append(timeout_sec)
        if len(turns) == 4:
            stop.set()
        raise error('broken')

    node = SimpleNamespace(
        failed=False, context=SimpleNamespace(ok=lambda: True),
        get_logger=lambda: SimpleNamespace(error=errors.append),
    )  # fmt: skip
    _spin(node, SimpleNamespace(spin_once=spin_once), stop)
    assert len(turns) == len(errors) == 4
    assert all(text.startswith('a callback raised\nTraceback') for text in errors)


@pytest.mark.parametrize('end', ['failed', 'context'])
def test_a_node_that_failed_and_a_context_that_ended_end_it(end):
    from dysl_vla_ros.ros.process import _spin

    node = SimpleNamespace(failed=False, context=SimpleNamespace(alive=True), errors=[])
    node.context.ok = lambda: node.context.alive
    node.get_logger = lambda: SimpleNamespace(error=node.errors.append)

    def spin_once(timeout_sec):
        if end == 'failed':
            node.failed = True
        else:
            node.context.alive = False
            raise RuntimeError('the context is gone')

    _spin(node, SimpleNamespace(spin_once=spin_once), threading.Event())
    assert node.errors == []


PROGRAM = """
import os, signal, sys
from dysl_vla_ros.ros.process import run_node

def make():
    from rclpy.node import Node
    node = Node('made')
    node.failed = sys.argv[1] == 'failed'
    os.kill(os.getpid(), signal.SIGTERM)
    return node

sys.exit(run_node('made', make, lambda node: None, []))
"""


@pytest.mark.parametrize(('how', 'code'), [('failed', 1), ('ended', 0)])
def test_a_node_that_failed_ends_its_process_with_1_and_one_that_was_ended_with_0(how, code):
    ended = subprocess.run(
        [sys.executable, '-c', PROGRAM, how], cwd=Path(__file__).parents[2], timeout=120,
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
