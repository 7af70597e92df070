"""The launch file under the real `ros2 launch`: it comes up, and ends cleanly whatever ends it.

Where ROS 2 comes from wheels there is no launch: skipped there, and failing where
DYSL_REQUIRE_LAUNCH=1 says that there must be one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dysl_vla_ros.demo.domain import ReservedDomain

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]
ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch' / 'manipulation.launch.py'
SMOKE = Path(__file__).with_name('manipulation_smoke.py')


RESTED = re.compile('-> ready: (shut down|nobody subscribes)')  # whichever node ends first
_RESERVED = []


def has(module):
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


@pytest.fixture(scope='module')
def env(tmp_path_factory):
    """Of a sourced ROS 2 in which this package is installed, in a domain of its own."""
    from dysl_vla_ros.ros_packages import prefix_of

    missing = [name for name in ('launch_ros', 'ros2launch', 'launch_testing') if not has(name)]
    if prefix_of('dysl_vla_ros') is None:
        missing.append('dysl_vla_ros itself (colcon build, source install/setup.bash)')
    if missing:
        reason = f'not there: {", ".join(missing)}'
        if os.environ.get('DYSL_REQUIRE_LAUNCH'):
            pytest.fail(reason)
        pytest.skip(f'{reason}; DYSL_REQUIRE_LAUNCH=1 makes this a failure')
    reserved = ReservedDomain()
    _RESERVED.append(reserved)  # until the process ends
    return {
        **os.environ, 'ROS_DOMAIN_ID': str(reserved.number), 'OMP_NUM_THREADS': '1',
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'PYTHONUNBUFFERED': '1',
        'ROS_LOG_DIR': str(tmp_path_factory.mktemp('log')),
    }  # fmt: skip


class Launch:
    """A running `ros2 launch`, in a session of its own."""

    def __init__(self, env, folder, *arguments):
        self.log = folder / 'launch.log'
        self.env = env
        code = 'import sys; from ros2cli.cli import main; sys.exit(main())'
        with self.log.open('w') as stream:
            self.process = subprocess.Popen(
                [sys.executable, '-c', code, 'launch', str(LAUNCH), *arguments], env=env,
                cwd=folder, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip

    @property
    def text(self):
        return self.log.read_text(errors='replace')

    def wait_for(self, words, seconds=60.0):
        until = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < until, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.1)

    def end(self, seconds=30.0):
        """Its exit code, once it and everything that it started are gone."""
        try:
            code = self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while left := self.members():
            assert time.monotonic() < until, (left, self.text)
            time.sleep(0.1)
        return code

    def members(self):
        found = []
        for folder in Path('/proc').glob('[0-9]*'):
            try:
                words = (folder / 'stat').read_text().rpartition(')')[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(words[3]) == self.process.pid and words[0] != 'Z':
                found.append(int(folder.name))
        return found


@pytest.fixture
def moving(env, tmp_path):
    """The simulated arm under a policy that moves it."""
    launch = Launch({**env, 'ROS_LOG_DIR': str(tmp_path / 'log')}, tmp_path, 'engine:=fake')
    try:
        launch.wait_for('ready -> holding: waiting for the first chunk')
        time.sleep(1.0)
        yield launch
    finally:
        if launch.process.poll() is None:
            os.killpg(launch.process.pid, signal.SIGKILL)
            launch.process.wait(10)


@pytest.mark.parametrize('times', [1, 5])
def test_ctrl_c_ends_it_cleanly_with_the_arm_at_rest(moving, times):
    for _ in range(times):
        if moving.process.poll() is None:
            os.killpg(moving.process.pid, signal.SIGINT)  # as a terminal does
        time.sleep(0.2)
    assert moving.end() == 0, moving.text
    assert RESTED.search(moving.text)
    assert 'process has died' not in moving.text and 'Traceback' not in moving.text


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_launch_that_dies_leaves_nothing_behind_and_the_arm_at_rest(moving, number):
    moving.process.send_signal(number)
    moving.end()
    # What the nodes print goes through launch: after its end the files have it.
    files = [path.read_text() for path in Path(moving.env['ROS_LOG_DIR']).rglob('*.log')]
    ends = [text for text in files if RESTED.search(text)]
    assert len(ends) == 1, files


@pytest.mark.parametrize('node', ['vla_node', 'sim_arm'])
def test_the_end_of_one_of_the_two_ends_everything_and_nothing_is_started_again(moving, node):
    (victim,) = [
        process for process in moving.members()
        if f'/{node}\0' in Path(f'/proc/{process}/cmdline').read_text()
        and '__node' in Path(f'/proc/{process}/cmdline').read_text()
    ]  # fmt: skip
    os.kill(victim, signal.SIGKILL)
    moving.end()
    assert moving.text.count('process started with pid') == 2
    assert f'{node} ended' in moving.text or 'process has died' in moving.text


def test_a_wrong_launch_line_is_one_sentence_and_starts_nothing(env, tmp_path):
    for words, said in (
        (['command_topic:=/jtc'], "command_topic = '/jtc': expected nothing of a real arm"),
        (['rviz:=true'], "rviz = 'true': expected the package rviz2"),
        (['robot:=custom'], 'a file with the parameters of the arm'),
    ):
        launch = Launch(env, tmp_path, *words)
        assert launch.end() == 1
        assert said in launch.text and 'process started' not in launch.text


@pytest.mark.parametrize('text', ['pick: up "it"', '12'])
def test_an_instruction_reaches_a_node_in_a_namespace_as_it_is_written(env, tmp_path, text):
    launch = Launch(env, tmp_path, 'engine:=fake', 'namespace:=left', f'instruction:={text}')
    launch.wait_for(f'[left.vla_node]: instruction {text!r}')
    launch.wait_for('ready -> holding')
    os.killpg(launch.process.pid, signal.SIGINT)
    assert launch.end() == 0, launch.text


def test_the_smoke_test_of_launch_testing_passes(env, tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(SMOKE)], env=env, cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
