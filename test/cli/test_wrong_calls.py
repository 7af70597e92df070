"""Calls that nobody could mean end in one line, before anything large is loaded."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_calls import CALLS

from dysl_vla_ros.cli.failures import explain
from dysl_vla_ros.cli.main import COMMANDS
from dysl_vla_ros.errors import BundleError, ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """What each call said, in one process without the large libraries."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('wrong_calls.py')], check=False,
        cwd=tmp_path_factory.mktemp('calls'), capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip([call for call, _, _ in CALLS], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(('call', 'said', 'code'), CALLS, ids=[call for call, _, _ in CALLS])
def test_a_wrong_call_is_one_line_that_says_what_is_right(call, said, code, made):
    found, out, err = made[call]
    assert said in err and len(err.splitlines()) == 1 and 'should not happen' not in err, err
    assert found == code and not out.strip()


def test_every_command_is_among_the_wrong_calls():
    assert {call.split(' ')[0] for call, _, _ in CALLS} >= set(COMMANDS)
    assert len(CALLS) >= 80


def test_a_full_disk_is_said_before_the_work_and_leaves_nothing(tmp_path):
    """A limit of the size of files stands for a full disk."""
    done = subprocess.run(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', 'bench', '--json', 'out.json'],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={
            **os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "--json = 'out.json': expected a place that can be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('error', 'said', 'code'),
    [
        (OSError(errno.ENOSPC, 'No space left on device', 'a/report.json'),
         'a/report.json: No space left on device: make room, or name a place on another disk', 1),
        (PermissionError(errno.EACCES, 'Permission denied', 'x'), 'x: Permission denied: your', 1),
        (MemoryError(), 'not enough memory: close something else', 1),
        (ModuleNotFoundError("No module named 'pinocchio'", name='pinocchio'),
         "needs pinocchio, which is not installed; from the source folder: python -m pip install "
         "-e '.[kinematics]'", 1),
        (ModuleNotFoundError("No module named 'torch'", name='torch'),
         "install -c constraints-cpu.txt -e '.[train]'", 1),
        (ImportError('libGL.so: cannot open', name='mujoco'), 'mujoco cannot be loaded', 1),
        (ConfigError('--x', 3, 'at most 2'), '--x = 3: expected at most 2', 2),
        (ConfigError('time_limit', None, 'seconds'), '--time-limit is missing: expected s', 2),
        (BundleError('broken:\n  copy it again'), 'broken: copy it again', 1),
        (ZeroDivisionError('division by zero'), 'DYSL_TRACEBACK=1 before the command shows', 1),
    ],
)  # fmt: skip
def test_what_stops_a_command_is_one_line_with_what_to_do(error, said, code, capsys):
    text, found = explain(error, {'--time-limit', '--x'})
    assert said in text and '\n' not in text and found == code
    assert capsys.readouterr().err == ''


def test_a_traceback_is_there_for_who_asks_for_it(monkeypatch, capsys):
    monkeypatch.setenv('DYSL_TRACEBACK', '1')
    explain(ZeroDivisionError('division by zero'))
    assert 'ZeroDivisionError' in capsys.readouterr().err


def test_several_values_stand_apart_of_an_option_as_they_were_typed():
    wrong = ConfigError('limits.velocity_scale', [0.3, 0.9], 'one value')
    assert explain(wrong)[0] == 'limits.velocity_scale = 0.3, 0.9: expected one value'
    typed = ConfigError('--weights', [0.3, 0.9], 'seven')
    assert explain(typed)[0] == '--weights = 0.3 0.9: expected seven'
