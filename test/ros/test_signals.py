"""Signals on the executable, and the end of its starter: clean ends, and an arm at rest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DOMAIN, wait_for

pytestmark = pytest.mark.ros
CHILD = Path(__file__).with_name('child_node.py')
ARGUMENTS = (
    '-p', 'autostart:=true', '-p', 'armed:=true', '-p', 'start_on_instruction:=true',
    '-p', 'instruction:=go',
    # The robot shares this process with the test: on a busy machine it may be late.
    '-p', 'timeout.joint_states_s:=2.0', '-p', 'timeout.image_s:=2.0',
    '-p', 'max_observation_age_s:=2.0',
)  # fmt: skip
BRAKED = '(running|holding|verifying) -> ready: shut down'
"""It was told to stop while it played, and took the time to."""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(CHILD), '--ros-args', *arguments],
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def moving(graph):
    """A child process that moves a fake robot in this one."""
    from fakes import FakeRobot
    from rclpy.node import Node

    robot = FakeRobot(graph.add(Node('robot', context=graph.context)))
    robot.describe()
    child = start(*ARGUMENTS)
    try:
        wait_for(lambda: robot.position[0] > 0.05, 20, 'motion')
        yield child, robot
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(10)
        child.stdout.close()


@pytest.mark.parametrize(
    ('number', 'times'),
    [(signal.SIGINT, 1), (signal.SIGINT, 5), (signal.SIGTERM, 2), (signal.SIGHUP, 1)],
)
def test_a_signal_ends_it_cleanly_with_the_arm_at_rest_also_when_sent_often(moving, number, times):
    child, robot = moving
    for _ in range(times):
        child.send_signal(number)
        time.sleep(0.03)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    assert 'Traceback' not in output
    # It braked before it left.
    assert re.search(BRAKED, output), output
    last = robot.trajectories[-1][1].points[-1]
    assert not any(last.velocities)


def test_after_sigkill_the_arm_is_at_rest_within_the_last_window(moving):
    child, robot = moving
    child.kill()
    child.wait(10)
    time.sleep(0.5)
    before = robot.position
    time.sleep(0.2)
    assert abs(robot.position - before).max() < 1e-3  # the joints trail by 0.1 s


def test_a_signal_before_the_node_is_up_ends_it_cleanly_too():
    child = start(*ARGUMENTS)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    assert 'Traceback' not in output


def test_a_wrong_parameter_ends_it_with_one_line_and_code_1():
    child = start('-p', 'command_rate_hz:=0')
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert 'command_rate_hz = 0.0: expected a number within [20, 500]' in output
    assert 'Traceback' not in output


def test_when_its_starter_is_killed_it_ends_cleanly_with_the_arm_at_rest(graph, tmp_path):
    from fakes import FakeRobot
    from rclpy.node import Node

    robot = FakeRobot(graph.add(Node('robot', context=graph.context)))
    robot.describe()
    log = tmp_path / 'log'
    code = (
        'import os, subprocess, sys, time\n'
        f'words = [sys.executable, {str(CHILD)!r}, "--ros-args", *sys.argv[1:]]\n'
        'child = subprocess.Popen(words, env={**os.environ, "DYSL_ENDS_WITH": str(os.getpid())})\n'
        'print(child.pid, flush=True)\n'
        'time.sleep(100)\n'
    )
    with log.open('w') as stream:
        starter = subprocess.Popen(
            [sys.executable, '-c', code, *ARGUMENTS], stdout=stream, stderr=stream,
            env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'OMP_NUM_THREADS': '1'},
        )  # fmt: skip
    try:
        wait_for(lambda: robot.position[0] > 0.05, 20, 'motion')
        node = int(log.read_text().split()[0])
    finally:
        starter.kill()
        starter.wait(10)
    wait_for(lambda: not alive(node), 15, 'the end of the node')
    assert re.search(BRAKED, log.read_text())
    assert not any(robot.trajectories[-1][1].points[-1].velocities)


def alive(process_id):
    try:
        return '\nState:\tZ' not in Path(f'/proc/{process_id}/status').read_text()
    except FileNotFoundError:
        return False
